/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * rr and wrr: they remember where they were. The list is walked as ip_vs_rr.c and ip_vs_wrr.c walk theirs.
 */
#ifndef SLUICE_SHARED_SCHEDULE_TURN_H
#define SLUICE_SHARED_SCHEDULE_TURN_H
#include "walk.h"

static inline __u32 sluice_pick_rr(__u32 view_line, const struct sluice_view *view, __u64 *cursor)
{
	__u32 start = sluice_cursor_start(*cursor), count = view->count;
	__u64 found = sluice_seek_usable(view_line, start, count, 1);

	if (!found)
		found = sluice_seek_usable(view_line, 0, start < count ? start : count, 1);
	if (found)
		*cursor = sluice_cursor_moved(*cursor, (__u32)(found >> 32) + 1, 0);
	return (__u32)found;
}

/* The greatest weight of a usable real server, 0 without one. */
struct sluice_greatest {
	__u32 ids;
	__u32 weight;
};

static inline long sluice_greatest_step(__u32 at, void *context)
{
	struct sluice_greatest *greatest = (struct sluice_greatest *)context;
	const struct sluice_cell *cell = sluice_cell_at(sluice_word_at(greatest->ids, at));

	if (cell && sluice_usable(cell) && (__u32)cell->weight > greatest->weight)
		greatest->weight = (__u32)cell->weight;
	return 0;
}

SLUICE_GLOBAL __u32 sluice_greatest_weight(__u32 view_line)
{
	const struct sluice_view *view = sluice_view_at(view_line);
	struct sluice_greatest greatest = { 0, sluice_zero() };

	if (!view)
		return 0;
	greatest.ids = view->ids;
	sluice_loop(view->count, sluice_greatest_step, &greatest);
	return greatest.weight;
}

/* The highest level below `level` that a real server reaches, or 0 where the levels end before. */
static inline __u32 sluice_lower_level(__u32 level, __u32 step, __u32 reach)
{
	__u32 steps = level > reach ? (level - reach + step - 1) / step : 1;

	return steps * step < level ? level - steps * step : 0;
}

/* The kernel lowers the level by one step at a time and walks the list at each. Here the levels that none reaches are
 * left out. What stays is when it gives up: a search that has walked from the head ends where the levels do; one that
 * began in the middle of the list at the lowest level begins again at the top, and ends where it began.
 */
static inline __u32 sluice_pick_wrr(__u32 view_line, const struct sluice_view *view, __u64 *cursor)
{
	__u32 start = sluice_cursor_start(*cursor), level = sluice_cursor_level(*cursor);
	__u32 step = view->step, top = view->top, end = view->count, greatest;
	__u64 found;

	if (!top || !step || !level)
		return 0;
	found = sluice_seek_usable(view_line, start, end, level);
	if (!found) {
		__u32 began_at = level;

		greatest = sluice_greatest_weight(view_line);
		level = sluice_lower_level(began_at, step, greatest);
		if (!level) {
			if (began_at > step || !start) {
				*cursor = sluice_cursor_moved(*cursor, 0, top);
				return 0;
			}
			level = top <= greatest ? top : sluice_lower_level(top, step, greatest);
			if (!level)
				level = (top - 1) % step + 1;
			if (level <= step)
				end = start;
		}
		found = sluice_seek_usable(view_line, 0, end, level);
	}
	*cursor = sluice_cursor_moved(*cursor, found ? (__u32)(found >> 32) + 1 : start, level);
	return (__u32)found;
}

#endif
