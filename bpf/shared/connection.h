/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * One entry of the connection table: a connection, or a template that binds a client to a real server. Two lines of 64 bytes: what
 * a request is found by stands in the first, what a reply is found by in the second. Compiled by clang -target bpf (C11) and by
 * C++20.
 */
#ifndef SLUICE_SHARED_CONNECTION_H
#define SLUICE_SHARED_CONNECTION_H
#ifndef __VMLINUX_H__ /* vmlinux.h already has these types */
#include <linux/types.h>
#endif
#ifndef __cplusplus
#define static_assert _Static_assert
#ifndef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)
#endif
#else
#include <cstddef>
#endif

/* A packet's two ends. IPv4 is ::ffff:a.b.c.d; `family` distinguishes an IPv6 packet with such an address from an IPv4 one. */
struct sluice_flow {
	__u8 source[16];
	__u8 target[16];
	__be16 source_port;
	__be16 target_port;
	__u8 protocol; /* IPPROTO_*; 0: the template of a firewall mark */
	__u8 family;   /* 4 or 6 */
	__u16 use;     /* 0: of packets; 1: a template's, which no packet has */
} __attribute__((aligned(8)));
static_assert(sizeof(struct sluice_flow) == 40, "sluice_flow is map ABI");

/* Value of `sluice_connection`, by the entry's id. 0 is no entry's id. */
struct sluice_connection {
	struct sluice_flow request; /* client to virtual server */
	__u64 word;                 /* what it is: below */
	__u64 seen_ns;              /* its last packet; CLOCK_MONOTONIC_COARSE */
	__u32 next[2];              /* the chains of requests and of replies: links, see connection_table.h */
	struct sluice_flow reply;   /* real server to client, or to the node where it is masqueraded */
	__u32 timeout_s;
	__u32 real; /* id */
	__u32 real_generation;
	__u32 parent; /* the template that controls it, or 0 */
	/* Of a connection: sluice_origin_word(), the generation of its parent and the device where it was rewritten first, if it is LATE.
	 * Of a template: sluice_children_word(), its own generation and how many connections it controls; changed by compare-and-swap only, so
	 * that none counts in an entry that is another connection by now. */
	__u64 origin;
};
static_assert(sizeof(struct sluice_connection) == 128, "sluice_connection is map ABI");
static_assert(offsetof(struct sluice_connection, origin) == 120, "sluice_connection is map ABI");

/* What sluice_find() has seen. */
struct sluice_search {
	__u64 head; /* what the bucket was, where the flow was not found; sluice_put() needs it */
	__u64 word; /* that of the entry that was found */
	__u32 bucket;
	__u32 link; /* of the entry, or 0 */
};

#define SLUICE_BUCKET_TAKING (1ull << 63)
#define SLUICE_BUCKET_VERSION (1ull << 32)

static inline __u64 sluice_bucket_word(__u64 before, __u32 first)
{
	__u64 version = ((before & ~SLUICE_BUCKET_TAKING) + SLUICE_BUCKET_VERSION) & ~SLUICE_BUCKET_TAKING;

	return (version & ~0xffffffffull) | first;
}

#define SLUICE_FREE_LISTS 64u

/* Value of `sluice_pool`. */
struct sluice_pool {
	__u64 hash_key;
	__u32 fresh;   /* entries from here on were never used; the first is 1 */
	__u32 end;     /* and there are none from here on */
	__u32 buckets; /* a power of two */
	__u32 wanted;  /* raised by packets that found no entry: a process that looks makes the table larger */
	__u64 spare[5];
};
static_assert(sizeof(struct sluice_pool) == 64, "sluice_pool is map ABI");

/* The word: phase in bits 0 to 7, state in 8 to 15 (SLUICE_TCP_* and so on), flags in 16 to 31, generation in 32 to 63. Code that changes any
 * of them does it by compare-and-swap, and only the one that succeeds counts. The generation grows whenever the entry is given
 * to another connection: what was read of an entry is good if the generation was the same before and after.
 */
enum {
	SLUICE_PHASE_FREE,
	SLUICE_PHASE_FRESH, /* being put into the table: its place is taken, packets may not use it yet */
	SLUICE_PHASE_LIVE,
	SLUICE_PHASE_DYING, /* being taken out by the CPU that made it so: for packets it is gone */
	SLUICE_PHASE_LEFT,  /* could not be taken out; the sweep makes it DYING and tries again */
};

/* Flags of the word. */
#define SLUICE_CONNECTION_ACTIVE 0x1u       /* its real server counts it as active; otherwise as inactive */
#define SLUICE_CONNECTION_LATE 0x2u         /* its requests are rewritten where they leave, not where they come in */
#define SLUICE_CONNECTION_TEMPLATE 0x4u     /* binds a client to a real server */
#define SLUICE_CONNECTION_ASSURED 0x8u      /* of a template: one of its connections was established */
#define SLUICE_CONNECTION_MASQUERADED 0x10u /* its real server sees an address of the node */
#define SLUICE_CONNECTION_COMPANION \
	0x20u /* the other half of a masqueraded one: client to real server, real server to node */
#define SLUICE_CONNECTION_FILTERED 0x40u /* its virtual server lets only some sources in */

static inline __u32 sluice_phase(__u64 word)
{
	return word & 0xffu;
}

static inline __u32 sluice_state(__u64 word)
{
	return word >> 8 & 0xffu;
}

static inline __u32 sluice_connection_flags(__u64 word)
{
	return word >> 16 & 0xffffu;
}

static inline __u32 sluice_generation(__u64 word)
{
	return (__u32)(word >> 32);
}

static inline __u64 sluice_connection_word(__u32 generation, __u32 flags, __u32 state, __u32 phase)
{
	return (__u64)generation << 32 | (__u64)(flags & 0xffffu) << 16 | (__u64)(state & 0xffu) << 8 | phase;
}

/* The two forms of sluice_connection::origin. Bit 31 distinguishes a template's from a connection's: device numbers are below it. */
#define SLUICE_CHILDREN (1ull << 31)

static inline __u64 sluice_children_word(__u32 generation, __u32 children)
{
	return (__u64)generation << 32 | SLUICE_CHILDREN | children;
}

static inline __u32 sluice_children(__u64 origin)
{
	return origin & SLUICE_CHILDREN ? (__u32)(origin & (SLUICE_CHILDREN - 1)) : 0;
}

/* Whether it is a template's of that generation. */
static inline int sluice_is_children_of(__u64 origin, __u32 generation)
{
	return (origin & SLUICE_CHILDREN) && origin >> 32 == generation;
}

static inline __u64 sluice_origin_word(__u32 parent_generation, __u32 device)
{
	return (__u64)parent_generation << 32 | (device & (SLUICE_CHILDREN - 1));
}

static inline __u32 sluice_parent_generation(__u64 origin)
{
	return (__u32)(origin >> 32);
}

static inline __u32 sluice_origin_device(__u64 origin)
{
	return (__u32)origin & (SLUICE_CHILDREN - 1);
}

#endif
