/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Which real server a new connection goes to: every scheduler of IPVS, with the kernel's choice for the same history
 * (net/netfilter/ipvs/ip_vs_*.c). Compiled by clang -target bpf (C11) for packets, and by C++20 for tests, fuzzers and
 * the program that builds the tables.
 *
 * A Service's real servers are a *view*: lines of 64 bytes that user space builds, never changes, and replaces as a
 * whole. Its first line is struct sluice_view; then come
 *   ids      the real servers in the order of the kernel's list, which is the newest first;
 *   tree     their weights in that order, 16 to a line; the level above has the greatest weight of each line, and so on
 *            up to a level of one line. "The next one from here with a weight of at least w" is then at most seven lines
 *            away, however many there are and however unequal their weights: rr and wrr pick in constant time.
 *   slots    the hash table of sh, dh (256) or mh (4093).
 * What changes by itself, the counts and the overload flag, is in struct sluice_cell. Weights are in both: the
 * cell's is the one that counts, the tree only leads there.
 *
 * The includer has defined before
 *   const struct sluice_line *sluice_line_at(__u32 line);	or 0
 *   struct sluice_cell *sluice_cell_at(__u32 id);		or 0
 *   long sluice_loop(__u32 rounds, long (*step)(__u32 round, void *context), void *context);	as bpf_loop(): until not 0
 *   __u32 sluice_zero(void);					0, which the verifier cannot derive
 * The last one: the verifier of 6.1 follows a step of bpf_loop() once, with what the context holds at first, and takes out
 * branches that then cannot be reached. What a step finds again in its context must not begin as a constant.
 */
#ifndef SLUICE_SHARED_SCHEDULE_H
#define SLUICE_SHARED_SCHEDULE_H
#include "schedule_compare.h"
#include "schedule_destination.h"
#include "schedule_hash.h"
#include "schedule_turn.h"

/* The real server for a new connection, 0 for none. `cursor` is changed by rr and wrr, and is then to be written back
 * where no other CPU was faster. */
static inline __u32 sluice_pick(__u32 view_line, const struct sluice_ask *ask, __u64 *cursor)
{
	const struct sluice_view *view = sluice_view_at(view_line);

	if (!view || !view->count)
		return 0;
	switch (view->scheduler) {
	case SLUICE_SCHED_NONE:
		return 0;
	case SLUICE_SCHED_RR:
		return sluice_pick_rr(view_line, view, cursor);
	case SLUICE_SCHED_WRR:
		return sluice_pick_wrr(view_line, view, cursor);
	case SLUICE_SCHED_DH:
	case SLUICE_SCHED_SH:
	case SLUICE_SCHED_MH:
		return sluice_pick_hash(view_line, ask->client, ask->client_port, ask->destination);
	case SLUICE_SCHED_TWOS:
		return sluice_pick_twos(view_line, ask->random[0], ask->random[1]);
	default:
		return sluice_pick_best(view_line, view->scheduler);
	}
}

#endif
