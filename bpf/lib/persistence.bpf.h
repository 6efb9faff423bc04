/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Persistence: the template that leads a client to its real server again (net/netfilter/ipvs/ip_vs_core.c).
 */
#ifndef SLUICE_LIB_PERSISTENCE_H
#define SLUICE_LIB_PERSISTENCE_H
#include "new_connection.bpf.h"

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
