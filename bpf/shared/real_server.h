/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What a scheduler reads of one real server, and how connections are counted in it. Compiled by clang -target bpf (C11)
 * and by C++20: packets count on every CPU while a program in user space edits the weight, in the same memory.
 *
 * Both counts are one word, so that a scheduler never sees a connection in neither or in both of them, and so that one
 * atomic addition moves a connection from one to the other. The rules are those of net/netfilter/ipvs (bind and unbind in
 * ip_vs_conn.c, update_dest in ip_vs_ctl.c) of 6.1.192 and 7.2.
 */
#ifndef SLUICE_SHARED_REAL_SERVER_H
#define SLUICE_SHARED_REAL_SERVER_H
#ifndef __VMLINUX_H__ /* vmlinux.h already has these types */
#include <linux/types.h>
#endif
#ifndef __cplusplus
#define static_assert _Static_assert
#endif

/* Value of `sluice_cell`, by the id of a real server. 0 is no real server's id. */
struct sluice_cell {
	__u64 load;       /* active connections << 32 | all connections */
	__s32 weight;     /* 0: keeps its connections and gets no new ones */
	__u32 flags;      /* SLUICE_REAL_* */
	__u32 upper;      /* connections at which new ones stop; 0: no limit */
	__u32 lower;      /* below which they are accepted again; 0: three quarters of upper, rounded up */
	__u32 persistent; /* templates that point here */
	__u32 generation; /* changes when the id is given to another real server */
};
static_assert(sizeof(struct sluice_cell) == 32, "sluice_cell is map ABI");

#define SLUICE_REAL_CONFIGURED 1u /* cleared when it is removed: it may still have connections */
#define SLUICE_REAL_OVERLOADED 2u

#define SLUICE_ACTIVE_ONE (1ull << 32)

static inline __u32 sluice_active(__u64 load)
{
	return (__u32)(load >> 32);
}

static inline __u32 sluice_total(__u64 load)
{
	return (__u32)load;
}

static inline __u32 sluice_lower_limit(const struct sluice_cell *cell)
{
	return cell->lower ? cell->lower : cell->upper - (cell->upper >> 2);
}

/* One connection more. */
static inline void sluice_count_in(struct sluice_cell *cell, __u32 active)
{
	__u64 more = 1 + (active ? SLUICE_ACTIVE_ONE : 0);
	__u32 total = sluice_total(__sync_fetch_and_add(&cell->load, more)) + 1;

	if (cell->upper && total == cell->upper)
		__sync_fetch_and_or(&cell->flags, SLUICE_REAL_OVERLOADED);
}

/* One connection less; `active`: how it was counted last. */
static inline void sluice_count_out(struct sluice_cell *cell, __u32 active)
{
	__u64 less = 1 + (active ? SLUICE_ACTIVE_ONE : 0);
	__u32 total = sluice_total(__sync_fetch_and_sub(&cell->load, less)) - 1;

	if (!(cell->flags & SLUICE_REAL_OVERLOADED))
		return;
	if (total + 1 == sluice_lower_limit(cell) && total < cell->upper)
		__sync_fetch_and_and(&cell->flags, ~SLUICE_REAL_OVERLOADED);
}

/* A connection became active, or ceased to be. */
static inline void sluice_count_turn(struct sluice_cell *cell, __u32 active)
{
	if (active)
		__sync_fetch_and_add(&cell->load, SLUICE_ACTIVE_ONE);
	else
		__sync_fetch_and_sub(&cell->load, SLUICE_ACTIVE_ONE);
}

/* After an edit that changed one of the limits. */
static inline void sluice_limits_changed(struct sluice_cell *cell)
{
	__u32 total = sluice_total(cell->load);

	if (cell->upper && total >= cell->upper)
		__sync_fetch_and_or(&cell->flags, SLUICE_REAL_OVERLOADED);
	else if (!cell->upper || total < sluice_lower_limit(cell))
		__sync_fetch_and_and(&cell->flags, ~SLUICE_REAL_OVERLOADED);
}

static inline int sluice_usable(const struct sluice_cell *cell)
{
	__u32 state = cell->flags & (SLUICE_REAL_CONFIGURED | SLUICE_REAL_OVERLOADED);

	return cell->weight > 0 && state == SLUICE_REAL_CONFIGURED;
}

#endif
