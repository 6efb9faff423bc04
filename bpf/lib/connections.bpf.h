/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What packets do to connections: a new one, its states, its end. The kernel's rules (net/netfilter/ipvs/ip_vs_conn.c, ip_vs_core.c).
 */
#ifndef SLUICE_LIB_CONNECTIONS_H
#define SLUICE_LIB_CONNECTIONS_H
#include "tables.bpf.h"

#include "../shared/schedule.h"
#include "rules.bpf.h"

#define SLUICE_SECOND 1000000000ull
#define SLUICE_ADOPT_TRIES 64u

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

/* ------------------------------------------------------------------ a new connection */

/* The virtual server of a packet to this end, 0 for none. */
SLUICE_GLOBAL __u32 sluice_service_of(const struct sluice_flow *flow, __u32 mark)
{
	struct sluice_service_key key;
	__u32 *id;

	if (!flow)
		return 0;
	if (mark) {
		__builtin_memset(&key, 0, sizeof(key));
		__builtin_memcpy(key.address, &mark, 4);
		key.family = flow->family;
		id = bpf_map_lookup_elem(&sluice_service_id, &key);
		if (id)
			return *id;
	}
	__builtin_memcpy(key.address, flow->target, 16);
	key.port = flow->target_port;
	key.protocol = flow->protocol;
	key.family = flow->family;
	id = bpf_map_lookup_elem(&sluice_service_id, &key);
	if (id)
		return *id;
	key.port = 0;
	id = bpf_map_lookup_elem(&sluice_service_id, &key);
	return id ? *id : 0;
}

static __always_inline __u32 sluice_word_of(const __u8 *address, __u32 family)
{
	__u32 word[4];

	__builtin_memcpy(word, address, 16);
	if (family == 4)
		return bpf_ntohl(word[3]);
	return bpf_ntohl(word[0] ^ word[1] ^ word[2] ^ word[3]);
}

static __always_inline __u64 sluice_first_cursor(__u64 word)
{
	const struct sluice_view *view = sluice_view_at(sluice_view_line(word));
	__u32 level = view && view->scheduler == SLUICE_SCHED_WRR ? view->top : 0;

	return sluice_cursor_word(0, level, sluice_view_generation(word));
}

/* The real server that a virtual server's scheduler chooses; 0 for none. */
SLUICE_GLOBAL __u32 sluice_choose(__u32 service_id, const struct sluice_flow *flow)
{
	struct sluice_service *service = sluice_service_at(service_id);
	struct sluice_ask ask;

	if (!service || !flow)
		return 0;
	ask.client = sluice_word_of(flow->source, flow->family);
	ask.client_port = bpf_ntohs(flow->source_port);
	ask.destination = sluice_word_of(flow->target, flow->family);
	ask.random[0] = bpf_get_prandom_u32();
	ask.random[1] = bpf_get_prandom_u32();
	for (__u32 tries = 0; tries < SLUICE_TRIES; tries++) {
		__u64 view = SLUICE_READ(service->view), cursor = SLUICE_READ(service->cursor), moved = cursor;
		__u32 real;

		/* A new view is there before its cursor. A packet in between begins at the beginning. */
		if (sluice_view_generation(view) != sluice_cursor_generation(cursor))
			moved = sluice_first_cursor(view);
		real = sluice_pick(sluice_view_line(view), &ask, &moved);
		if (moved != cursor && __sync_val_compare_and_swap(&service->cursor, cursor, moved) != cursor)
			continue;
		if (SLUICE_READ(service->view) == view)
			return real;
	}
	return 0;
}

static const struct sluice_destination_set sluice_no_set;

static __always_inline struct sluice_destination_set *sluice_set_for(__u32 service_id, const struct sluice_flow *flow)
{
	struct sluice_destination_key key;
	struct sluice_destination_set *set;

	__builtin_memcpy(key.address, flow->target, 16);
	key.service = service_id;
	key.family = flow->family;
	set = bpf_map_lookup_elem(&sluice_destination, &key);
	if (set)
		return set;
	bpf_map_update_elem(&sluice_destination, &key, &sluice_no_set, BPF_NOEXIST);
	return bpf_map_lookup_elem(&sluice_destination, &key);
}

/* Whether an id that was remembered still is a real server of this virtual server. */
static __always_inline int sluice_serves(__u32 real_id, __u32 service_id)
{
	const struct sluice_real *real = sluice_real_at(real_id);

	return real && real->service_id == service_id;
}

/* lblc and lblcr: by what is remembered of the destination. */
SLUICE_GLOBAL __u32 sluice_choose_by_destination(__u32 service_id, const struct sluice_flow *flow)
{
	const struct sluice_service *service = sluice_service_at(service_id);
	__u32 now_s = (__u32)(bpf_ktime_get_coarse_ns() / SLUICE_SECOND);
	struct sluice_destination_set *set;

	if (!service || !flow)
		return 0;
	set = sluice_set_for(service_id, flow);
	if (!set)
		return sluice_pick_best(sluice_view_line(SLUICE_READ(service->view)), SLUICE_SCHED_WLC);
	for (__u32 tries = 0; tries < SLUICE_TRIES; tries++) {
		__u64 word = SLUICE_READ(service->view);
		const struct sluice_view *view = sluice_view_at(sluice_view_line(word));
		__u32 real;

		if (!view || !view->count)
			return 0;
		if (view->scheduler == SLUICE_SCHED_LBLC) {
			real = sluice_pick_lblc(sluice_view_line(word),
						sluice_serves(set->id[0], service_id) ? set->id[0] : 0);
			set->id[0] = real;
		} else {
			real = sluice_pick_lblcr(sluice_view_line(word), set, now_s, SLUICE_DESTINATION_EXPIRATION_S);
		}
		if (SLUICE_READ(service->view) != word)
			continue;
		if (!real || sluice_serves(real, service_id))
			return real;
		/* A member's id was given to another virtual server's. */
		__builtin_memset(set, 0, sizeof(*set));
	}
	return 0;
}

static __always_inline __u32 sluice_scheduler_of(const struct sluice_service *service)
{
	const struct sluice_view *view = sluice_view_at(sluice_view_line(SLUICE_READ(service->view)));

	return view ? view->scheduler : SLUICE_SCHED_NONE;
}

/* The port on a real server. A persistent virtual server's connections keep the port that they were made to, unless it is the
 * virtual server's own: so one template can stand for all ports. */
static __always_inline __be16 sluice_port_on(const struct sluice_real *real, const struct sluice_service *service,
					     const struct sluice_flow *flow)
{
	if (!real->port)
		return flow->target_port;
	if ((service->flags & SLUICE_SERVICE_PERSISTENT) && flow->target_port != service->key.port)
		return flow->target_port;
	return real->port;
}

/* Takes an entry and makes it FRESH; its flows are still to be set. Its id, or 0. */
static __always_inline __u32 sluice_new_entry(__u32 real_id, __u32 flags, __u32 state, __u32 timeout_s)
{
	const struct sluice_cell *cell = sluice_cell_at(real_id);
	__u32 id = cell ? sluice_take_free(bpf_get_smp_processor_id()) : 0;
	struct sluice_connection *entry = id ? sluice_connection_at(id) : 0;
	__u32 generation;

	if (!cell || !entry)
		return 0;
	generation = sluice_generation(SLUICE_READ(entry->word)) + 1;
	entry->seen_ns = bpf_ktime_get_coarse_ns();
	entry->timeout_s = timeout_s;
	entry->real = real_id;
	entry->real_generation = cell->generation;
	entry->parent = 0;
	SLUICE_WRITE(entry->origin, flags & SLUICE_CONNECTION_TEMPLATE ? sluice_children_word(generation, 0)
								       : sluice_origin_word(0, 0));
	SLUICE_WRITE(entry->word, sluice_connection_word(generation, flags, state, SLUICE_PHASE_FRESH));
	return id;
}

/* An entry that did not get into the table: into none of its chains, or only into the first. */
static __always_inline void sluice_discard(struct sluice_connection *entry, __u32 id, int entered)
{
	__u64 word = SLUICE_READ(entry->word);

	if (!entered) {
		/* Its chains are left alone: whoever is in the way of this one enters there now. */
		sluice_release(entry);
		SLUICE_WRITE(entry->word, (word & ~0xffffffffull) | SLUICE_PHASE_FREE);
		sluice_give_back(id, bpf_get_smp_processor_id());
		return;
	}
	SLUICE_WRITE(entry->word, (word & ~0xffull) | SLUICE_PHASE_DYING);
	sluice_release(entry);
	sluice_bury(entry, id, word);
}

static __always_inline __u64 sluice_live(struct sluice_connection *entry)
{
	__u64 word = (SLUICE_READ(entry->word) & ~0xffull) | SLUICE_PHASE_LIVE;

	SLUICE_WRITE(entry->word, word);
	return word;
}

/* A connection is controlled by the packet's template from now on, if it still is that one. Where it was rewritten first is remembered,
 * too. */
static __always_inline void sluice_attach(struct sluice_connection *entry, const struct sluice_packet *packet)
{
	if (packet->parent && sluice_count_child(packet->parent, packet->parent_generation, 1))
		entry->parent = packet->parent;
	SLUICE_WRITE(entry->origin, sluice_origin_word(packet->parent_generation, packet->device));
}

/* An entry of ours could not enter, because another has one of its flows. Whether it is worth another try: the other one's time was over; or it
 * has our replies, as when a client uses one port for two virtual servers with the same real server. Then the real server is to see another port. */
static __always_inline int sluice_make_way(__u32 id, __u32 there)
{
	struct sluice_connection *entry = sluice_connection_at(id), *other = sluice_connection_at(there >> 1);
	__u64 word;

	if (!entry || !other)
		return 0;
	/* It has entered the chain of requests: that is left before the next try. */
	if ((there & 1) && !sluice_leave(id))
		return 0;
	word = SLUICE_READ(other->word);
	if (sluice_phase(word) == SLUICE_PHASE_LIVE && sluice_expired(other, bpf_ktime_get_coarse_ns()))
		return sluice_end(there >> 1, word);
	if (!(there & 1) || entry->request.protocol == SLUICE_SCTP)
		return 0;
	SLUICE_WRITE(entry->reply.target_port, bpf_htons(1024 + bpf_get_prandom_u32() % (65536 - 1024)));
	return 1;
}

#define SLUICE_LINK_AGAIN 0xfffffffeu

/* As sluice_enter(), or SLUICE_LINK_AGAIN. */
SLUICE_GLOBAL __u32 sluice_try_to_enter(__u32 id)
{
	__u32 there = sluice_enter(id);

	if (!there || there == SLUICE_LINK_ENTERED)
		return there;
	return sluice_make_way(id, there) ? SLUICE_LINK_AGAIN : there;
}

/* Four times. Not a loop: clang would lay it out so that its end falls into its beginning, which the verifier of 6.1 does not allow. */
static __always_inline __u32 sluice_enter_somehow(__u32 id)
{
	__u32 there = sluice_try_to_enter(id);

	if (there == SLUICE_LINK_AGAIN)
		there = sluice_try_to_enter(id);
	if (there == SLUICE_LINK_AGAIN)
		there = sluice_try_to_enter(id);
	if (there == SLUICE_LINK_AGAIN)
		there = sluice_try_to_enter(id);
	return there == SLUICE_LINK_AGAIN ? 0 : there;
}

/* Another CPU opens the packet's connection at the same time: it is that one. A moment later it is LIVE; where that takes longer, packets are
 * forwarded by what is FRESH, without a change of its state. Whether it is there. */
SLUICE_GLOBAL int sluice_adopt(struct sluice_packet *packet, __u32 link)
{
	struct sluice_connection *entry = sluice_connection_at(link >> 1);
	__u64 word = 0;

	if (!packet || !entry)
		return 0;
	for (__u32 tries = 0; tries < SLUICE_ADOPT_TRIES; tries++) {
		word = SLUICE_READ(entry->word);
		if (sluice_phase(word) != SLUICE_PHASE_FRESH)
			break;
	}
	packet->search.link = link;
	packet->search.word = word;
	if (sluice_phase(word) != SLUICE_PHASE_LIVE && sluice_phase(word) != SLUICE_PHASE_FRESH)
		return 0;
	return sluice_same_flow(&entry->request, &packet->outer.flow) &&
	       sluice_generation(SLUICE_READ(entry->word)) == sluice_generation(word);
}

enum {
	SLUICE_NOT_CONNECTED,
	SLUICE_CONNECTED,
	SLUICE_ADOPTED,
};

/* A new connection to that real server, with these flags, or the one that another CPU has just made of it: the packet's. Otherwise the reason is in
 * packet->drop. */
SLUICE_GLOBAL __u32 sluice_connect(struct sluice_packet *packet, __u32 real_id, __u32 service_id, __u32 flags)
{
	const struct sluice_service *service = sluice_service_at(service_id);
	const struct sluice_real *real = sluice_real_at(real_id);
	struct sluice_cell *cell = sluice_cell_at(real_id);
	__u32 id, state, there = 0;
	struct sluice_connection *entry;
	struct sluice_flow flow;

	if (!packet || !cell || !real || !service)
		return 0;
	packet->drop = SLUICE_DROP_TABLE_FULL;
	state = sluice_next_state(packet->outer.protocol, 0, SLUICE_IN, packet->event);
	if (sluice_active_state(packet->outer.protocol, state))
		flags |= SLUICE_CONNECTION_ACTIVE;
	id = sluice_new_entry(real_id, flags, state, sluice_timeout_s(packet->outer.protocol, state));
	entry = id ? sluice_connection_at(id) : 0;
	if (!entry)
		return 0;
	sluice_set_flow(&entry->request, &packet->outer.flow);
	sluice_turn_flow(&flow, &packet->outer.flow);
	__builtin_memcpy(flow.source, real->address, 16);
	flow.source_port = sluice_port_on(real, service, &packet->outer.flow);
	sluice_set_flow(&entry->reply, &flow);
	sluice_attach(entry, packet);
	there = sluice_enter_somehow(id);
	if (there != SLUICE_LINK_ENTERED) {
		packet->drop = !there || (there & 1) ? SLUICE_DROP_PORT_TAKEN : SLUICE_DROP_BUSY;
		sluice_discard(entry, id, !there || (there & 1));
		return there && !(there & 1) && sluice_adopt(packet, there) ? SLUICE_ADOPTED : SLUICE_NOT_CONNECTED;
	}
	sluice_count_in(cell, flags & SLUICE_CONNECTION_ACTIVE);
	packet->search.word = sluice_live(entry);
	packet->search.link = id << 1;
	return SLUICE_CONNECTED;
}

/* ------------------------------------------------------------------ persistence */

/* By what a client's template is found. Whatever the client's ports are, and all of its network. */
static __always_inline void sluice_template_flow(struct sluice_flow *flow, const struct sluice_flow *packet,
						 const struct sluice_service *service)
{
	__u32 word[4], mask;

	__builtin_memset(flow, 0, sizeof(*flow));
	flow->use = 1;
	flow->family = packet->family;
	__builtin_memcpy(word, packet->source, 16);
	if (packet->family == 4) {
		word[3] &= bpf_htonl(service->persistence_mask);
	} else {
		for (__u32 i = 0; i < 4; i++) {
			__u32 prefix = service->persistence_mask > 32 * i ? service->persistence_mask - 32 * i : 0;

			mask = prefix >= 32 ? 0xffffffffu : ~(0xffffffffu >> (prefix & 31));
			word[i] &= bpf_htonl(mask);
		}
	}
	__builtin_memcpy(flow->source, word, 16);
	if (!service->key.protocol) {
		/* A firewall mark stands for all protocols, addresses and ports; it is listed as the address 0.0.0.MARK. */
		__builtin_memcpy(&mask, service->key.address, 4);
		mask = bpf_htonl(mask);
		__builtin_memset(word, 0, sizeof(word));
		word[packet->family == 4 ? 3 : 0] = mask;
		if (packet->family == 4)
			word[2] = bpf_htonl(0xffff);
		__builtin_memcpy(flow->target, word, 16);
		return;
	}
	flow->protocol = packet->protocol;
	__builtin_memcpy(flow->target, packet->target, 16);
	/* Active FTP comes from another port than the one that was requested. */
	if (service->key.port && service->key.port != bpf_htons(21))
		flow->target_port = packet->target_port;
}

static __always_inline int sluice_template_is_good(const struct sluice_connection *entry)
{
	const struct sluice_cell *cell = sluice_cell_of(entry);

	if (!cell || !(SLUICE_READ(cell->flags) & SLUICE_REAL_CONFIGURED))
		return 0;
	return SLUICE_READ(cell->weight) > 0 || !sluice_has_rules(entry->request.family, SLUICE_RULES_EXPIRE_QUIESCENT);
}

/* The real server of the template of the packet's client; 0: it has none. The template is packet->parent then. */
SLUICE_GLOBAL __u32 sluice_find_template(struct sluice_packet *packet, __u32 service_id)
{
	const struct sluice_service *service = sluice_service_at(service_id);
	struct sluice_search search = { 0, 0, 0, 0 };
	struct sluice_connection *entry;
	struct sluice_flow flow;
	__u32 link, real;

	if (!packet || !service)
		return 0;
	packet->parent = 0;
	sluice_template_flow(&flow, &packet->outer.flow, service);
	link = sluice_find(&flow, &search);
	entry = link ? sluice_connection_at(link >> 1) : 0;
	if (!entry)
		return 0;
	if (!sluice_expired(entry, bpf_ktime_get_coarse_ns()) && sluice_template_is_good(entry)) {
		real = entry->real;
		SLUICE_WRITE(entry->seen_ns, bpf_ktime_get_coarse_ns());
		SLUICE_WRITE(entry->timeout_s, service->persistence_s);
		packet->parent = link >> 1;
		packet->parent_generation = sluice_generation(search.word);
		/* What was read was of that template. */
		return sluice_generation(SLUICE_READ(entry->word)) == packet->parent_generation ? real : 0;
	}
	sluice_end(link >> 1, search.word);
	return 0;
}

/* A template that leads the packet's client to that real server. Whether it could be made; where not, packet->drop says why. */
SLUICE_GLOBAL int sluice_make_template(struct sluice_packet *packet, __u32 service_id, __u32 real_id)
{
	const struct sluice_service *service = sluice_service_at(service_id);
	const struct sluice_real *real = sluice_real_at(real_id);
	struct sluice_cell *cell = sluice_cell_at(real_id);
	struct sluice_connection *entry;
	struct sluice_flow flow;
	__u32 id;

	if (!packet || !service || !real || !cell)
		return 0;
	packet->drop = SLUICE_DROP_TABLE_FULL;
	id = sluice_new_entry(real_id, SLUICE_CONNECTION_TEMPLATE, 0, service->persistence_s);
	entry = id ? sluice_connection_at(id) : 0;
	if (!entry)
		return 0;
	sluice_template_flow(&flow, &packet->outer.flow, service);
	sluice_set_flow(&entry->request, &flow);
	/* No packet is looked for by it, so it is in one chain only; lists show it. */
	__builtin_memcpy(flow.target, flow.source, 16);
	__builtin_memcpy(flow.source, real->address, 16);
	flow.source_port = flow.target_port ? real->port : 0;
	flow.target_port = 0;
	sluice_set_flow(&entry->reply, &flow);
	if (sluice_enter_chain(id << 1) != SLUICE_LINK_ENTERED) {
		packet->drop = SLUICE_DROP_BUSY;
		sluice_discard(entry, id, 0);
		return 0;
	}
	__sync_fetch_and_add(&cell->persistent, 1);
	packet->parent = id;
	packet->parent_generation = sluice_generation(sluice_live(entry));
	return 1;
}

#endif
