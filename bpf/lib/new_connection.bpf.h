/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * How a packet makes a connection: its virtual server, its real server, its entry (net/netfilter/ipvs/ip_vs_core.c, ip_vs_conn.c).
 */
#ifndef SLUICE_LIB_NEW_CONNECTION_H
#define SLUICE_LIB_NEW_CONNECTION_H
#include "connections.bpf.h"

#define SLUICE_ADOPT_TRIES 64u

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
		/* Its chains are left alone: another packet that is in the way of this one enters there now. */
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

#endif
