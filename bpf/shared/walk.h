/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Finding one's way in a view: a line, a word, and the next real server from a place on that can take a connection. What
 * schedule.h requires of its includer holds here.
 */
#ifndef SLUICE_SHARED_WALK_H
#define SLUICE_SHARED_WALK_H
#include "view.h"

static inline const struct sluice_view *sluice_view_at(__u32 view)
{
	return (const struct sluice_view *)sluice_line_at(view);
}

static inline __u32 sluice_word_at(__u32 line, __u32 index)
{
	const struct sluice_line *found = sluice_line_at(line + index / SLUICE_LINE_WORDS);

	return found ? found->word[index % SLUICE_LINE_WORDS] : 0;
}

/* Keeps clang from seeing that an arithmetic result is a comparison: it would make a branch of it, and the verifier would follow
 * both sides of sixteen in a row.
 */
#define SLUICE_HIDE(x) __asm__("" : "+r"(x))

/* Bit j: word j is at least w. */
static inline __u32 sluice_at_least(const struct sluice_line *line, __u32 w)
{
	__u64 bits = 0;

#ifdef __clang__
#pragma unroll
#endif
	for (__u32 j = 0; j < SLUICE_LINE_WORDS; j++) {
		__u64 below = (__u64)line->word[j] - w;

		SLUICE_HIDE(below);
		below >>= 63;
		SLUICE_HIDE(below);
		bits |= (below ^ 1) << j;
	}
	return (__u32)bits;
}

/* The lowest bit that is set, of 16 (not 0). By a de Bruijn sequence: clang 14 has no __builtin_ctz() for BPF. */
static inline __u32 sluice_lowest(__u32 bits)
{
	__u32 index = ((bits & (0u - bits)) * 0x09afu & 0xffffu) >> 12;

	return (__u32)(0xcd7ea84fb6935210ull >> (4 * index)) & 15;
}

/* The first position from `from` on whose weight is at least w (> 0), or the view's count. */
SLUICE_GLOBAL __u32 sluice_next(__u32 view_line, __u32 from, __u32 w)
{
	const struct sluice_view *view = sluice_view_at(view_line);
	__u32 index = from, level = 0;

	if (!view)
		return 0;
	for (__u32 hop = 0; hop < 2 * SLUICE_TREE_LEVELS; hop++) {
		__u32 entries = (view->count + (1u << (4 * level)) - 1) >> (4 * level);
		const struct sluice_line *line;
		__u32 bits;

		if (index >= entries)
			return view->count;
		line = sluice_line_at(view->tree[level] + index / SLUICE_LINE_WORDS);
		if (!line)
			return view->count;
		bits = sluice_at_least(line, w) & (0xffffu << (index % SLUICE_LINE_WORDS));
		if (bits) {
			index = index / SLUICE_LINE_WORDS * SLUICE_LINE_WORDS + sluice_lowest(bits);
			if (!level)
				return index < view->count ? index : view->count;
			level--;
			index *= SLUICE_LINE_WORDS;
		} else {
			level++;
			index = index / SLUICE_LINE_WORDS + 1;
			if (level >= SLUICE_TREE_LEVELS)
				return view->count;
		}
	}
	return view->count;
}

/* The first usable real server from position `at` on, before `end`, with a weight of at least w. */
struct sluice_seek {
	__u32 view;
	__u32 at; /* where it was found, or `end` */
	__u32 end;
	__u32 w;
	__u32 id; /* 0 where none was found */
};

static inline long sluice_seek_step(__u32 round, void *context)
{
	struct sluice_seek *seek = (struct sluice_seek *)context;
	const struct sluice_view *view = sluice_view_at(seek->view);
	const struct sluice_cell *cell;
	__u32 at, id;

	(void)round;
	at = sluice_next(seek->view, seek->at, seek->w);
	if (!view || at >= seek->end) {
		seek->at = seek->end;
		return 1;
	}
	id = sluice_word_at(view->ids, at);
	cell = sluice_cell_at(id);
	if (!cell)
		return 1;
	/* The cell's own weight: a 0 that was set a moment ago holds at once. */
	if (sluice_usable(cell) && (__u32)cell->weight >= seek->w) {
		seek->at = at;
		seek->id = id;
		return 1;
	}
	seek->at = at + 1;
	return 0;
}

/* position << 32 | id of the first usable one in [from, end) with a weight of at least w; 0 for none. */
SLUICE_GLOBAL __u64 sluice_seek_usable(__u32 view_line, __u32 from, __u32 end, __u32 w)
{
	struct sluice_seek seek = { view_line, from, end, w, sluice_zero() };

	if (from < end)
		sluice_loop(end - from + 1, sluice_seek_step, &seek);
	return seek.id ? (__u64)seek.at << 32 | seek.id : 0;
}

#endif
