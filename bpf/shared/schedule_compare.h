/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * lc, wlc, sed, nq, fo and ovf: they compare all real servers, in the order of the list; and twos, which compares two of them.
 */
#ifndef SLUICE_SHARED_SCHEDULE_COMPARE_H
#define SLUICE_SHARED_SCHEDULE_COMPARE_H
#include "walk.h"

struct sluice_scan {
	__u32 ids;
	__u32 scheduler;
	__u32 id; /* the best so far */
	__u32 weight;
	__s64 cost;
};

static inline __s64 sluice_overhead(__u64 load)
{
	/* 32 bits, as ip_vs_dest_conn_overhead() has it. */
	return (__s32)((sluice_active(load) << 8) + sluice_total(load));
}

static inline long sluice_scan_step(__u32 at, void *context)
{
	struct sluice_scan *scan = (struct sluice_scan *)context;
	__u32 id = sluice_word_at(scan->ids, at);
	const struct sluice_cell *cell = sluice_cell_at(id);
	__s64 cost, weight;
	__u64 load;

	if (!cell || !sluice_usable(cell))
		return 0;
	load = cell->load;
	weight = cell->weight;
	switch (scan->scheduler) {
	case SLUICE_SCHED_OVF:
		if ((__s64)sluice_active(load) > weight)
			return 0;
		/* fallthrough */
	case SLUICE_SCHED_FO:
		cost = -weight; /* the greatest weight is the least cost */
		weight = 1;
		break;
	case SLUICE_SCHED_LC:
		cost = sluice_overhead(load);
		weight = 1;
		break;
	case SLUICE_SCHED_SED:
	case SLUICE_SCHED_NQ:
		cost = (__s64)sluice_active(load) + 1;
		break;
	default:
		cost = sluice_overhead(load);
	}
	if (!scan->id || scan->cost * weight > cost * scan->weight) {
		scan->id = id;
		scan->cost = cost;
		scan->weight = (__u32)weight;
	}
	if (scan->scheduler == SLUICE_SCHED_NQ && !sluice_active(load)) {
		scan->id = id;
		return 1;
	}
	return 0;
}

SLUICE_GLOBAL __u32 sluice_pick_best(__u32 view_line, __u32 scheduler)
{
	const struct sluice_view *view = sluice_view_at(view_line);
	__u32 zero = sluice_zero();
	struct sluice_scan scan = { 0, scheduler, zero, zero, zero };

	if (!view)
		return 0;
	scan.ids = view->ids;
	sluice_loop(view->count, sluice_scan_step, &scan);
	return scan.id;
}

/* twos: the less loaded of two, drawn by weight. */

struct sluice_twos {
	__u32 ids;
	__u32 draw; /* drawn from 0 to `sum`; what is left of it */
	__u64 sum;
	__u32 id;
};

static inline long sluice_twos_sum_step(__u32 at, void *context)
{
	struct sluice_twos *twos = (struct sluice_twos *)context;
	const struct sluice_cell *cell = sluice_cell_at(sluice_word_at(twos->ids, at));

	/* Read once more: of a weight that it knows to be above 0 the verifier would add up the least sum, round by round. */
	if (cell && sluice_usable(cell))
		twos->sum += *(const volatile __u32 *)&cell->weight;
	return 0;
}

static inline long sluice_twos_draw_step(__u32 at, void *context)
{
	struct sluice_twos *twos = (struct sluice_twos *)context;
	__u32 id = sluice_word_at(twos->ids, at);
	const struct sluice_cell *cell = sluice_cell_at(id);

	if (!cell || !sluice_usable(cell))
		return 0;
	twos->id = id;
	if (twos->draw <= (__u32)cell->weight)
		return 1;
	twos->draw -= (__u32)cell->weight;
	return 0;
}

SLUICE_GLOBAL __u32 sluice_pick_twos(__u32 view_line, __u32 random1, __u32 random2)
{
	const struct sluice_view *view = sluice_view_at(view_line);
	__u32 zero = sluice_zero();
	struct sluice_twos one = { 0, 0, zero, zero }, other = { 0, 0, zero, zero };
	const struct sluice_cell *a, *b;

	if (!view)
		return 0;
	one.ids = other.ids = view->ids;
	sluice_loop(view->count, sluice_twos_sum_step, &one);
	if (!one.sum)
		return 0;
	one.draw = (__u32)(random1 % (one.sum + 1));
	other.draw = (__u32)(random2 % (one.sum + 1));
	sluice_loop(view->count, sluice_twos_draw_step, &one);
	sluice_loop(view->count, sluice_twos_draw_step, &other);
	a = sluice_cell_at(one.id);
	b = sluice_cell_at(other.id);
	if (!a || !b)
		return 0;
	return b->weight * sluice_overhead(a->load) > a->weight * sluice_overhead(b->load) ? other.id : one.id;
}

#endif
