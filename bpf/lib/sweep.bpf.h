/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What is done without a packet, by a timer: connections whose time is over end, and rates are estimated.
 */
#ifndef SLUICE_LIB_SWEEP_H
#define SLUICE_LIB_SWEEP_H
#include "connections.bpf.h"

static long sluice_sweep_step(__u32 round, void *context)
{
	__u32 id = *(__u32 *)context + round;
	struct sluice_connection *entry = sluice_connection_at(id);
	__u64 word;
	__u32 phase;

	if (!entry)
		return 1;
	word = SLUICE_READ(entry->word);
	phase = sluice_phase(word);
	if (phase == SLUICE_PHASE_LIVE && sluice_expired(entry, bpf_ktime_get_coarse_ns())) {
		sluice_end(id, word);
	} else if (phase == SLUICE_PHASE_LEFT) {
		__u64 dying = (word & ~0xffull) | SLUICE_PHASE_DYING;

		if (__sync_val_compare_and_swap(&entry->word, word, dying) == word)
			sluice_bury(entry, id, word);
	}
	return 0;
}

#define SLUICE_SWEEP_NS 50000000ull
#define SLUICE_SWEEPS_PER_S 20u

/* A part of the table, so that all of it is seen once a second. */
static __always_inline void sluice_sweep_some(void)
{
	struct sluice_settings *settings = sluice_settings_here();
	const struct sluice_pool *pool = sluice_pool_here();
	__u32 from, count;

	if (!settings || !pool)
		return;
	from = settings->sweep;
	count = pool->fresh / SLUICE_SWEEPS_PER_S + 1;
	if (from >= pool->fresh)
		from = 0;
	bpf_loop(count, sluice_sweep_step, &from, 0);
	settings->sweep = from + count;
}

static __always_inline void sluice_move(__s64 *rate, __u64 counted, __u64 last, __u32 shift)
{
	*rate += ((__s64)((counted - last) << shift) - *rate) >> 2;
}

static long sluice_estimate_step(__u32 round, void *context)
{
	const struct sluice_settings *settings = sluice_settings_here();
	__u32 id = *(__u32 *)context + round;
	struct sluice_estimate *estimate = sluice_estimate_at(id);
	struct sluice_counts all = { 0, 0, 0, 0, 0 };

	if (!settings || !estimate)
		return 1;
	for (__u32 stripe = 0; stripe < SLUICE_STRIPES_MAX; stripe++) {
		const struct sluice_count *count =
			stripe < settings->stripes ? sluice_count_at(id * settings->stripes + stripe) : 0;

		if (!count)
			break;
		all.connections += count->counts.connections;
		all.packets_in += count->counts.packets_in;
		all.bytes_in += count->counts.bytes_in;
		all.packets_out += count->counts.packets_out;
		all.bytes_out += count->counts.bytes_out;
	}
	sluice_move(&estimate->connections, all.connections, estimate->last.connections, 9);
	sluice_move(&estimate->packets_in, all.packets_in, estimate->last.packets_in, 9);
	sluice_move(&estimate->bytes_in, all.bytes_in, estimate->last.bytes_in, 4);
	sluice_move(&estimate->packets_out, all.packets_out, estimate->last.packets_out, 9);
	sluice_move(&estimate->bytes_out, all.bytes_out, estimate->last.bytes_out, 4);
	estimate->last = all;
	return 0;
}

/* A part of the real servers, so that a round lasts two seconds, however few there are. */
static __always_inline void sluice_estimate_some(void)
{
	struct sluice_settings *settings = sluice_settings_here();
	__u32 from, count;
	__u64 now = bpf_ktime_get_ns();

	if (!settings)
		return;
	if (settings->estimate >= settings->reals) {
		if (now - settings->estimated_ns < SLUICE_ESTIMATE_NS)
			return;
		settings->estimate = 1;
		settings->estimated_ns = now;
	}
	from = settings->estimate;
	count = settings->reals / (2 * SLUICE_SWEEPS_PER_S) + 1;
	bpf_loop(count, sluice_estimate_step, &from, 0);
	settings->estimate = from + count;
}

static int sluice_sweep_tick(void *map, __u32 *key, struct sluice_timer *timer)
{
	struct sluice_settings *settings = sluice_settings_here();

	(void)map;
	(void)key;
	if (settings)
		settings->swept_ns = bpf_ktime_get_ns();
	sluice_sweep_some();
	sluice_estimate_some();
	bpf_timer_start(&timer->timer, SLUICE_SWEEP_NS, 0);
	return 0;
}

#endif
