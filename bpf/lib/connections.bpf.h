/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What packets do to connections: their states, their end. The kernel's rules (net/netfilter/ipvs/ip_vs_conn.c, ip_vs_core.c).
 */
#ifndef SLUICE_LIB_CONNECTIONS_H
#define SLUICE_LIB_CONNECTIONS_H
#include "tables.bpf.h"

#include "../shared/schedule.h"
#include "rules.bpf.h"

#define SLUICE_SECOND 1000000000ull

static __always_inline void sluice_count_drop(__u32 reason)
{
	__u64 *count = bpf_map_lookup_elem(&sluice_drop, &reason);

	if (count)
		__sync_fetch_and_add(count, 1);
}

/* ------------------------------------------------------------------ states */

SLUICE_GLOBAL __u32 sluice_next_state(__u32 protocol, __u32 state, __u32 direction, __u32 event)
{
	if (protocol == SLUICE_TCP)
		return sluice_tcp_next_state(state, direction, event, 0);
	return protocol == SLUICE_SCTP ? sluice_sctp_next_state(state, direction, event) : SLUICE_UDP_NORMAL;
}

static __always_inline __u32 sluice_active_state(__u32 protocol, __u32 state)
{
	if (protocol == SLUICE_TCP)
		return sluice_tcp_active(state);
	return protocol == SLUICE_SCTP ? sluice_sctp_active(state) : 0;
}

static __always_inline int sluice_established(__u32 protocol, __u32 state)
{
	return state == (protocol == SLUICE_TCP ? (__u32)SLUICE_TCP_ESTABLISHED : (__u32)SLUICE_SCTP_ESTABLISHED);
}

SLUICE_GLOBAL __u32 sluice_timeout_s(__u32 protocol, __u32 state)
{
	const struct sluice_settings *settings = sluice_settings_here();

	if (!settings || state >= SLUICE_STATE_ROW)
		return SLUICE_FRESH_S;
	if (protocol == SLUICE_TCP)
		return settings->tcp_s[state];
	return protocol == SLUICE_SCTP ? settings->sctp_s[state] : settings->udp_s;
}

/* ------------------------------------------------------------------ the end */

static __always_inline int sluice_over(const struct sluice_connection *entry, __u64 now)
{
	return (__s64)(now - SLUICE_READ(entry->seen_ns)) > (__s64)(SLUICE_READ(entry->timeout_s) * SLUICE_SECOND);
}

/* Whether its time is over. A template that still controls connections lasts another minute, as often as need be. */
static __always_inline int sluice_expired(struct sluice_connection *entry, __u64 now)
{
	if (!sluice_over(entry, now))
		return 0;
	if (!(sluice_connection_flags(SLUICE_READ(entry->word)) & SLUICE_CONNECTION_TEMPLATE) ||
	    !sluice_children(SLUICE_READ(entry->origin)))
		return 1;
	SLUICE_WRITE(entry->timeout_s, SLUICE_STILL_NEEDED_S);
	SLUICE_WRITE(entry->seen_ns, now);
	return 0;
}

/* The real server of an entry, if the id is still its. */
static __always_inline struct sluice_cell *sluice_cell_of(const struct sluice_connection *entry)
{
	struct sluice_cell *cell = sluice_cell_at(entry->real);

	return cell && SLUICE_READ(cell->generation) == entry->real_generation ? cell : 0;
}

/* Whether it ends with the client's next packet, because its real server was removed. */
static __always_inline int sluice_is_abandoned(const struct sluice_connection *entry)
{
	const struct sluice_cell *cell = sluice_cell_of(entry);

	if (cell && (SLUICE_READ(cell->flags) & SLUICE_REAL_CONFIGURED))
		return 0;
	return !!sluice_has_rules(entry->request.family, SLUICE_RULES_EXPIRE_GONE);
}

/* The template of an entry, if it still is. */
static __always_inline struct sluice_connection *sluice_parent_of(const struct sluice_connection *entry)
{
	struct sluice_connection *parent = entry->parent ? sluice_connection_at(entry->parent) : 0;

	return parent && sluice_generation(SLUICE_READ(parent->word)) == sluice_parent_generation(entry->origin)
		       ? parent
		       : 0;
}

/* A template controls one connection more (1), or one less (-1). Whether it still is that template. */
SLUICE_GLOBAL int sluice_count_child(__u32 id, __u32 generation, __s32 change)
{
	struct sluice_connection *parent = sluice_connection_at(id);

	if (!parent)
		return 0;
	for (__u32 tries = 0; tries < 64; tries++) {
		__u64 origin = SLUICE_READ(parent->origin);

		if (!sluice_is_children_of(origin, generation))
			return 0;
		if (__sync_val_compare_and_swap(&parent->origin, origin, origin + (__u64)(__s64)change) == origin)
			return 1;
	}
	return 0;
}

static __always_inline void sluice_release(const struct sluice_connection *entry)
{
	if (entry->parent)
		sluice_count_child(entry->parent, sluice_parent_generation(entry->origin), -1);
}

/* One of a template's connections was established: it is not the first to go where room is needed. */
static __always_inline void sluice_assure(const struct sluice_connection *entry)
{
	struct sluice_connection *parent = sluice_parent_of(entry);
	const __u64 assured = (__u64)SLUICE_CONNECTION_ASSURED << 16;
	__u64 word = parent ? SLUICE_READ(parent->word) : 0;

	/* Once: code that changes the word meanwhile ends it. */
	if (parent && sluice_phase(word) == SLUICE_PHASE_LIVE && !(word & assured))
		__sync_val_compare_and_swap(&parent->word, word, word | assured);
}

/* Of an entry that the caller has made DYING. */
static __always_inline void sluice_bury(struct sluice_connection *entry, __u32 id, __u64 word)
{
	__u64 gone = word & ~0xffffffffull;

	if (!sluice_leave(id)) {
		SLUICE_WRITE(entry->word, gone | SLUICE_PHASE_LEFT);
		return;
	}
	SLUICE_WRITE(entry->word, gone | SLUICE_PHASE_FREE);
	sluice_give_back(id, bpf_get_smp_processor_id());
}

/* Ends a connection whose word was this one, unless another CPU does something to it. Whether it did. */
SLUICE_GLOBAL int sluice_end(__u32 id, __u64 word)
{
	struct sluice_connection *entry = sluice_connection_at(id);
	struct sluice_cell *cell;
	__u64 dying = (word & ~0xffull) | SLUICE_PHASE_DYING;

	if (!entry || __sync_val_compare_and_swap(&entry->word, word, dying) != word)
		return 0;
	cell = sluice_cell_of(entry);
	if (cell && (sluice_connection_flags(word) & SLUICE_CONNECTION_TEMPLATE))
		__sync_fetch_and_sub(&cell->persistent, 1);
	else if (cell)
		sluice_count_out(cell, sluice_connection_flags(word) & SLUICE_CONNECTION_ACTIVE);
	sluice_release(entry);
	sluice_bury(entry, id, word);
	return 1;
}

/* ------------------------------------------------------------------ a packet of a connection */

/* What it does to the connection's state and time. Whether it still is the connection that was found. */
SLUICE_GLOBAL int sluice_advance(__u32 id, __u64 found, __u32 direction, __u32 event)
{
	struct sluice_connection *entry = sluice_connection_at(id);
	__u32 protocol, state = 0, timeout;
	__u64 now;

	if (!entry)
		return 0;
	protocol = entry->request.protocol;
	for (__u32 tries = 0; tries < SLUICE_TRIES; tries++) {
		__u64 word = SLUICE_READ(entry->word), next;
		__u32 flags, active;

		if (sluice_phase(word) != SLUICE_PHASE_LIVE || sluice_generation(word) != sluice_generation(found))
			return 0;
		state = sluice_next_state(protocol, sluice_state(word), direction, event);
		active = sluice_active_state(protocol, state) ? SLUICE_CONNECTION_ACTIVE : 0;
		flags = (sluice_connection_flags(word) & ~SLUICE_CONNECTION_ACTIVE) | active;
		next = sluice_connection_word(sluice_generation(word), flags, state, SLUICE_PHASE_LIVE);
		if (next == word)
			break;
		if (__sync_val_compare_and_swap(&entry->word, word, next) == word) {
			struct sluice_cell *cell = sluice_cell_of(entry);

			if (cell && active != (sluice_connection_flags(word) & SLUICE_CONNECTION_ACTIVE))
				sluice_count_turn(cell, active);
			break;
		}
	}
	if (protocol == SLUICE_UDP ? direction == SLUICE_OUT : sluice_established(protocol, state))
		sluice_assure(entry);
	now = bpf_ktime_get_coarse_ns();
	if (SLUICE_READ(entry->seen_ns) != now)
		SLUICE_WRITE(entry->seen_ns, now);
	timeout = sluice_timeout_s(protocol, state);
	if (entry->timeout_s != timeout)
		SLUICE_WRITE(entry->timeout_s, timeout);
	return 1;
}

/* Whether the packet's connection still is the one that was found. One that is FRESH gets its state from the packet that opens it. */
static __always_inline int sluice_advance_found(const struct sluice_packet *packet, __u32 direction)
{
	const struct sluice_connection *entry = sluice_connection_at(packet->search.link >> 1);

	if (sluice_phase(packet->search.word) != SLUICE_PHASE_FRESH)
		return sluice_advance(packet->search.link >> 1, packet->search.word, direction, packet->event);
	return entry && sluice_generation(SLUICE_READ(entry->word)) == sluice_generation(packet->search.word);
}

static __always_inline void sluice_count_packet(__u32 real, __u32 outwards, __u64 bytes, __u32 connections)
{
	const struct sluice_settings *settings = sluice_settings_here();
	struct sluice_count *count;
	__u32 stripes, stripe;

	if (!settings)
		return;
	stripes = settings->stripes;
	stripe = bpf_get_smp_processor_id() & (stripes - 1);
	count = sluice_count_at(real * stripes + stripe);
	if (!count)
		return;
	/* Atomically: there may be more CPUs than stripes. */
	if (connections)
		__sync_fetch_and_add(&count->counts.connections, 1);
	__sync_fetch_and_add(outwards ? &count->counts.packets_out : &count->counts.packets_in, 1);
	__sync_fetch_and_add(outwards ? &count->counts.bytes_out : &count->counts.bytes_in, bytes);
}

#endif
