/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * A virtual server's real servers, as packets read them: lines of 64 bytes in one large array (`sluice_line`). How they
 * are used is described in schedule.h, how they are built in src/ipvs/ebpf/view.h. Compiled by clang -target bpf (C11) and by
 * C++20.
 */
#ifndef SLUICE_SHARED_VIEW_H
#define SLUICE_SHARED_VIEW_H
#include "real_server.h"

/* A function that the verifier follows once, however often it is called: its arguments are anything to it, and so is what it
 * returns. Without it the schedulers are more than the million instructions that it follows. */
#ifdef __cplusplus
#define SLUICE_GLOBAL inline
#else
#define SLUICE_GLOBAL __attribute__((noinline))
#endif

#define SLUICE_LINE_WORDS 16u

/* Value of `sluice_line`. Line 0 is no view's. */
struct sluice_line {
	__u32 word[SLUICE_LINE_WORDS];
};
static_assert(sizeof(struct sluice_line) == 64, "sluice_line is map ABI");

/* X(NAME, number, text): the schedulers, by the names that ipvsadm has for them. */
#define SLUICE_SCHEDULERS(X) \
	X(NONE, 0, "none")   \
	X(RR, 1, "rr")       \
	X(WRR, 2, "wrr")     \
	X(LC, 3, "lc")       \
	X(WLC, 4, "wlc")     \
	X(LBLC, 5, "lblc")   \
	X(LBLCR, 6, "lblcr") \
	X(DH, 7, "dh")       \
	X(SH, 8, "sh")       \
	X(SED, 9, "sed")     \
	X(NQ, 10, "nq")      \
	X(FO, 11, "fo")      \
	X(OVF, 12, "ovf")    \
	X(MH, 13, "mh")      \
	X(TWOS, 14, "twos")

enum {
#define X(name, number, text) SLUICE_SCHED_##name = number,
	SLUICE_SCHEDULERS(X)
#undef X
};

/* Of struct sluice_view::flags: the bits of IP_VS_SVC_F_SCHED*, as sh and mh read them. */
#define SLUICE_SCHED_FALLBACK 0x8u
#define SLUICE_SCHED_PORT 0x10u

#define SLUICE_TREE_LEVELS 4u
#define SLUICE_REALS_MAX 65536u /* of one virtual server: what a tree of four levels holds */

/* The first line of a view. Line numbers are those of `sluice_line`. */
struct sluice_view {
	__u32 count;     /* real servers */
	__u32 scheduler; /* SLUICE_SCHED_* */
	__u32 flags;
	__u32 ids;                      /* first line of the real servers' ids */
	__u32 tree[SLUICE_TREE_LEVELS]; /* first line of each level of weights; 0: there is none */
	__u32 slots;                    /* first line of the hash table; 0: nothing is in it */
	__u32 step;                     /* wrr: the weights' greatest common divisor */
	__u32 top;                      /* wrr: the level at which a round begins; 0: no weight is above 0 */
	__u32 lines;                    /* of the whole view */
	__u32 zero[4];
};
static_assert(sizeof(struct sluice_view) == sizeof(struct sluice_line), "sluice_view is one line");

/* sh and dh: 2^8 buckets, as the kernel is built by default. mh: the prime of its table index 12. */
#define SLUICE_SH_BITS 8u
#define SLUICE_SH_SLOTS (1u << SLUICE_SH_BITS)
#define SLUICE_MH_SLOTS 4093u
#define SLUICE_MH_SHIFT_BITS 6u
#define SLUICE_MH_KEY1 2654435761u
#define SLUICE_MH_KEY2 2654446892u

/* Where rr and wrr are: one word, so that one compare-and-swap moves it on.
 *   start       the position after the real server that was chosen last; 0: none was, or the list's head
 *   level       wrr: the weight from which on real servers are served in this turn
 *   generation  of the view that the position is in
 */
static inline __u64 sluice_cursor_word(__u32 start, __u32 level, __u32 generation)
{
	return start | (__u64)(level & 0x7fffffffu) << 17 | (__u64)generation << 48;
}

static inline __u32 sluice_cursor_start(__u64 cursor)
{
	return cursor & 0x1ffffu;
}

static inline __u32 sluice_cursor_level(__u64 cursor)
{
	return (__u32)(cursor >> 17) & 0x7fffffffu;
}

static inline __u32 sluice_cursor_generation(__u64 cursor)
{
	return (__u32)(cursor >> 48);
}

static inline __u64 sluice_cursor_moved(__u64 cursor, __u32 start, __u32 level)
{
	return sluice_cursor_word(start, level, sluice_cursor_generation(cursor));
}

/* What a scheduler knows of the packet. Address words: sluice_address_word(). */
struct sluice_ask {
	__u32 client;
	__u32 client_port; /* host order; 0 for a protocol without ports */
	__u32 destination;
	__u32 random[2]; /* twos */
};

/* lblcr: the real servers of one destination, the newest first. The kernel's sets have no limit; a destination that 62
 * real servers serve at once lets the oldest go. */
#define SLUICE_SET_MAX 62u
struct sluice_destination_set {
	__u32 count;
	__u32 changed_s;
	__u32 id[SLUICE_SET_MAX];
};
static_assert(sizeof(struct sluice_destination_set) == 256, "sluice_destination_set is map ABI");

#endif
