/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * lblc and lblcr: they remember which real servers had a destination, and choose as wlc does otherwise. Where it is remembered is
 * the business of the caller.
 */
#ifndef SLUICE_SHARED_SCHEDULE_DESTINATION_H
#define SLUICE_SHARED_SCHEDULE_DESTINATION_H
#include "schedule_compare.h"

struct sluice_idle {
	__u32 ids;
	__u32 found;
};

static inline long sluice_idle_step(__u32 at, void *context)
{
	struct sluice_idle *idle = (struct sluice_idle *)context;
	const struct sluice_cell *cell = sluice_cell_at(sluice_word_at(idle->ids, at));

	if (!cell || (__s64)sluice_active(cell->load) * 2 >= cell->weight)
		return 0;
	idle->found = 1;
	return 1;
}

/* More active connections than weight, while another one has less than half of its own. */
SLUICE_GLOBAL __u32 sluice_overrun(__u32 view_line, __u32 id)
{
	const struct sluice_view *view = sluice_view_at(view_line);
	const struct sluice_cell *cell = sluice_cell_at(id);
	struct sluice_idle idle = { 0, sluice_zero() };

	if (!view || !cell || (__s64)sluice_active(cell->load) <= cell->weight)
		return 0;
	idle.ids = view->ids;
	sluice_loop(view->count, sluice_idle_step, &idle);
	return idle.found;
}

/* `remembered`: the real server of this destination, or 0. Whether what comes back has to be remembered is whether it
 * differs. */
static inline __u32 sluice_pick_lblc(__u32 view_line, __u32 remembered)
{
	const struct sluice_cell *cell = sluice_cell_at(remembered);

	if (remembered && cell && (cell->flags & SLUICE_REAL_CONFIGURED) && cell->weight > 0 &&
	    !sluice_overrun(view_line, remembered))
		return remembered;
	return sluice_pick_best(view_line, SLUICE_SCHED_WLC);
}

struct sluice_set_scan {
	const struct sluice_destination_set *set;
	struct sluice_scan least;
	__u32 most; /* the most loaded member */
	__u32 most_weight;
	__s64 most_cost;
};

static inline long sluice_set_scan_step(__u32 at, void *context)
{
	struct sluice_set_scan *scan = (struct sluice_set_scan *)context;
	const struct sluice_cell *cell;
	__s64 cost;
	__u32 id;

	if (at >= SLUICE_SET_MAX)
		return 1;
	id = scan->set->id[at];
	cell = sluice_cell_at(id);
	if (!cell || cell->weight <= 0)
		return 0;
	cost = sluice_overhead(cell->load);
	if (!scan->most || cost * scan->most_weight > scan->most_cost * cell->weight) {
		scan->most = id;
		scan->most_weight = (__u32)cell->weight;
		scan->most_cost = cost;
	}
	if (!sluice_usable(cell))
		return 0;
	if (!scan->least.id || scan->least.cost * cell->weight > cost * scan->least.weight) {
		scan->least.id = id;
		scan->least.weight = (__u32)cell->weight;
		scan->least.cost = cost;
	}
	return 0;
}

/* 1 where both are the same, without a branch: the verifier would follow two to the power of 62 ways through a set. */
static inline __u32 sluice_same(__u32 a, __u32 b)
{
	__u64 below = (__u64)(a ^ b) - 1;

	SLUICE_HIDE(below);
	below >>= 63;
	SLUICE_HIDE(below);
	return (__u32)below;
}

/* Takes a member out. What is behind the last member stays 0. */
static inline void sluice_set_erase(struct sluice_destination_set *set, __u32 gone)
{
	__u32 moving = 0;

	for (__u32 at = 0; at < SLUICE_SET_MAX; at++) {
		__u32 id = set->id[at], next = at + 1 < SLUICE_SET_MAX ? set->id[at + 1] : 0;

		moving |= sluice_same(id, gone);
		set->id[at] = (next & (0u - moving)) | (id & (moving - 1));
	}
	set->count--;
}

/* At the head, unless it is a member; the oldest of a full set makes room. Whether the set is another one now. By hand: of a
 * plain loop clang makes memmove(), which BPF has not. */
static inline int sluice_set_insert(struct sluice_destination_set *set, __u32 id)
{
	__u32 carried = id, known = 0;

	for (__u32 at = 0; at < SLUICE_SET_MAX; at++)
		known |= sluice_same(set->id[at], id);
	if (known)
		return 0;
	for (__u32 at = 0; at < SLUICE_SET_MAX; at++) {
		__u32 old = set->id[at];

		set->id[at] = carried;
		carried = old;
	}
	if (set->count < SLUICE_SET_MAX)
		set->count++;
	return 1;
}

/* `set` is the destination's own: empty at first, changed here. `now_s` and `expiration_s` decide when its most loaded
 * member is let go. */
SLUICE_GLOBAL __u32 sluice_pick_lblcr(__u32 view_line, struct sluice_destination_set *set, __u32 now_s,
				      __u32 expiration_s)
{
	__u32 zero = sluice_zero();
	struct sluice_set_scan scan = { set, { 0, SLUICE_SCHED_WLC, zero, zero, zero }, zero, zero, zero };
	__u32 id;

	if (!set)
		return 0;
	sluice_loop(set->count, sluice_set_scan_step, &scan);
	if (set->count > 1 && now_s - set->changed_s > expiration_s && scan.most) {
		sluice_set_erase(set, scan.most);
		set->changed_s = now_s;
	}
	if (scan.least.id && !sluice_overrun(view_line, scan.least.id))
		return scan.least.id;
	id = sluice_pick_best(view_line, SLUICE_SCHED_WLC);
	if (id && sluice_set_insert(set, id))
		set->changed_s = now_s;
	return id;
}

#endif
