/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * The engine's programs on TC's two hooks of every device, and the one that starts the sweep.
 *
 * Clients elsewhere: a request is rewritten where it comes in, its reply where it goes out. The node's own: a request is rewritten where it
 * goes out, its reply where it comes in. In between the stack, and nf_conntrack in it, sees one whole connection: of the client with the
 * real server, or of the node with the virtual server.
 */
#include "lib/tables.bpf.h"

#include <bpf/bpf_endian.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include "lib/connections.bpf.h"
#include "lib/late.bpf.h"
#include "lib/new_connection.bpf.h"
#include "lib/persistence.bpf.h"
#include "lib/refuse.bpf.h"
#include "lib/rewrite.bpf.h"
#include "lib/rules.bpf.h"
#include "lib/sweep.bpf.h"
#include "lib/tag.bpf.h"

#define SLUICE_ETHERNET_SIZE 14u
#define SLUICE_PACKET_HOST 0 /* PACKET_HOST of <linux/if_packet.h> */

static __always_inline int sluice_dropped(__u32 reason)
{
	sluice_count_drop(reason);
	return TC_ACT_SHOT;
}

/* Whether a frame that a port of a bridge has received is the bridge's, and so this node's. It is served here, before the bridge: where br_netfilter
 * is on, nf_conntrack has seen it as it is when it reaches the bridge's own hook, and translations of what was rewritten after that go wrong. */
static __always_inline int sluice_is_for_bridge(struct __sk_buff *skb)
{
	__u32 index = skb->ifindex;
	const struct sluice_device *port = bpf_map_lookup_elem(&sluice_device, &index);
	__u8 target[6];
	int i;

	if (!port || !(port->flags & SLUICE_DEVICE_BRIDGE_PORT) || bpf_skb_load_bytes(skb, 0, target, sizeof(target)))
		return 0;
	for (i = 0; i < 6; i++)
		if (target[i] != port->bridge[i])
			return 0;
	return 1;
}

static __always_inline int sluice_not_routed(struct __sk_buff *skb, const struct sluice_packet *packet, int route)
{
	return route == SLUICE_ROUTE_ANSWERED ? sluice_answer(skb, packet) : sluice_dropped(SLUICE_DROP_NO_ROUTE);
}

/* An ICMP error about a packet of a connection: to the sender of that packet, about the one that it has sent. `towards_real`:
 * for an error about a reply. */
static __always_inline int sluice_pass_error(struct __sk_buff *skb, struct sluice_packet *packet, __u32 towards_real,
					     __u32 late)
{
	struct sluice_connection *entry = sluice_connection_at(packet->search.link >> 1);
	const struct sluice_cell *cell;
	__be16 port, client_port;
	struct sluice_address address;
	int failed, device = 0;

	if (!entry)
		return TC_ACT_UNSPEC;
	cell = sluice_cell_of(entry);
	if (!cell || !(SLUICE_READ(cell->flags) & SLUICE_REAL_CONFIGURED))
		return towards_real ? sluice_dropped(SLUICE_DROP_REAL_SERVER_GONE) : TC_ACT_UNSPEC;
	if (towards_real) {
		__builtin_memcpy(address.bytes, entry->reply.source, 16);
		if (late)
			device = sluice_route(skb, &address);
		if (late && device <= 0)
			return sluice_not_routed(skb, packet, device);
		port = entry->reply.source_port;
		client_port = entry->reply.target_port;
		failed = sluice_rewrite_inner(skb, packet, SLUICE_REWRITE_SOURCE, address.bytes, port, client_port) ||
			 sluice_rewrite(skb, &packet->outer, SLUICE_REWRITE_TARGET, address.bytes, port);
	} else {
		__builtin_memcpy(address.bytes, entry->request.target, 16);
		port = entry->request.target_port;
		client_port = entry->request.source_port;
		failed = sluice_rewrite_inner(skb, packet, SLUICE_REWRITE_TARGET, address.bytes, port, client_port) ||
			 sluice_rewrite(skb, &packet->outer, SLUICE_REWRITE_SOURCE, address.bytes, port);
	}
	if (failed)
		return sluice_dropped(SLUICE_DROP_MALFORMED);
	if (towards_real && (sluice_connection_flags(packet->search.word) & SLUICE_CONNECTION_MASQUERADED))
		sluice_ask_to_masquerade(skb, packet);
	sluice_count_packet(entry->real, !towards_real, packet->bytes, 0);
	if (towards_real)
		return late ? sluice_send_on(skb, packet->outer.l3, (__u32)device) : TC_ACT_UNSPEC;
	return late ? TC_ACT_UNSPEC : sluice_put_back_late(skb, packet->outer.l3, entry);
}

/* From the client: to its real server. The first packet of a connection, with which `connections` is 1, goes to the one that it has chosen even
 * if that was removed meanwhile. */
static __always_inline int sluice_forward(struct __sk_buff *skb, struct sluice_packet *packet, __u32 late,
					  __u32 connections)
{
	struct sluice_connection *entry = sluice_connection_at(packet->search.link >> 1);
	const struct sluice_cell *cell;
	__be16 port, client_port;
	struct sluice_address address;
	int device = 0;

	if (!entry)
		return TC_ACT_UNSPEC;
	cell = sluice_cell_of(entry);
	if (!cell || (!connections && !(SLUICE_READ(cell->flags) & SLUICE_REAL_CONFIGURED)))
		return sluice_dropped(SLUICE_DROP_REAL_SERVER_GONE);
	__builtin_memcpy(address.bytes, entry->reply.source, 16);
	port = entry->reply.source_port;
	client_port = entry->reply.target_port;
	if (late) {
		device = sluice_route(skb, &address);
		if (device <= 0)
			return sluice_not_routed(skb, packet, device);
		sluice_note_device(entry, skb->ifindex);
	}
	sluice_count_packet(entry->real, 0, packet->bytes, connections);
	/* Last, so that what was read above was of this connection. */
	if (!connections && !packet->outer.later && !sluice_advance_found(packet, SLUICE_IN))
		return sluice_dropped(SLUICE_DROP_BUSY);
	if (sluice_rewrite(skb, &packet->outer, SLUICE_REWRITE_TARGET, address.bytes, port) ||
	    sluice_rewrite_other_port(skb, &packet->outer, SLUICE_REWRITE_SOURCE, client_port))
		return sluice_dropped(SLUICE_DROP_MALFORMED);
	if (sluice_connection_flags(packet->search.word) & SLUICE_CONNECTION_MASQUERADED)
		sluice_ask_to_masquerade(skb, packet);
	if (late)
		return sluice_send_on(skb, packet->outer.l3, (__u32)device);
	skb->tc_index = sluice_tag(SLUICE_TAG_DONE);
	return TC_ACT_UNSPEC;
}

/* From the real server: as if from the virtual server. */
static __always_inline int sluice_return(struct __sk_buff *skb, struct sluice_packet *packet, __u32 egress)
{
	struct sluice_connection *entry = sluice_connection_at(packet->search.link >> 1);
	const struct sluice_cell *cell;
	__be16 port, client_port;
	struct sluice_address address;

	if (!entry)
		return TC_ACT_UNSPEC;
	__builtin_memcpy(address.bytes, entry->request.target, 16);
	port = entry->request.target_port;
	client_port = entry->request.source_port;
	cell = sluice_cell_of(entry);
	if (cell && (SLUICE_READ(cell->flags) & SLUICE_REAL_CONFIGURED))
		sluice_count_packet(entry->real, 1, packet->bytes, 0);
	if (!packet->outer.later &&
	    !sluice_advance(packet->search.link >> 1, packet->search.word, SLUICE_OUT, packet->event))
		return sluice_dropped(SLUICE_DROP_BUSY);
	if (sluice_rewrite(skb, &packet->outer, SLUICE_REWRITE_SOURCE, address.bytes, port) ||
	    sluice_rewrite_other_port(skb, &packet->outer, SLUICE_REWRITE_TARGET, client_port))
		return sluice_dropped(SLUICE_DROP_MALFORMED);
	if (!egress)
		return sluice_put_back_late(skb, packet->outer.l3, entry);
	skb->tc_index = sluice_tag(SLUICE_TAG_LEFT);
	return TC_ACT_UNSPEC;
}

/* The connection of a later fragment: that of the first one, if it was here before. */
static __always_inline __u32 sluice_find_fragment(struct sluice_packet *packet)
{
	const struct sluice_connection *entry;
	const struct sluice_fragment *first;

	sluice_name_fragment(packet);
	first = bpf_map_lookup_elem(&sluice_fragment, &packet->fragment);
	if (!first)
		return 0;
	entry = sluice_connection_at(first->link >> 1);
	packet->search.link = first->link;
	packet->search.word = entry ? SLUICE_READ(entry->word) : 0;
	return entry && sluice_phase(packet->search.word) == SLUICE_PHASE_LIVE &&
			       sluice_generation(packet->search.word) == first->generation
		       ? first->link
		       : 0;
}

/* After a first fragment was let through. */
static __always_inline void sluice_remember_fragment(struct sluice_packet *packet)
{
	struct sluice_fragment first = { packet->search.link, sluice_generation(packet->search.word) };

	sluice_name_fragment(packet);
	bpf_map_update_elem(&sluice_fragment, &packet->fragment, &first, BPF_ANY);
}

/* One packet, and no entry: one-packet scheduling. Its reply is not rewritten. */
static __always_inline int sluice_forward_once(struct __sk_buff *skb, struct sluice_packet *packet,
					       const struct sluice_service *service, __u32 real_id, __u32 flags)
{
	const struct sluice_real *real = sluice_real_at(real_id);
	struct sluice_address address;
	__u32 late = flags & SLUICE_CONNECTION_LATE;
	int device = 0;

	if (!real)
		return sluice_dropped(SLUICE_DROP_NO_REAL_SERVER);
	__builtin_memcpy(address.bytes, real->address, 16);
	if (late) {
		device = sluice_route(skb, &address);
		if (device <= 0)
			return sluice_not_routed(skb, packet, device);
	}
	sluice_count_packet(real_id, 0, packet->bytes, 1);
	if (sluice_rewrite(skb, &packet->outer, SLUICE_REWRITE_TARGET, address.bytes,
			   sluice_port_on(real, service, &packet->outer.flow)))
		return sluice_dropped(SLUICE_DROP_MALFORMED);
	if (flags & SLUICE_CONNECTION_MASQUERADED)
		sluice_ask_to_masquerade(skb, packet);
	if (late)
		return sluice_send_on(skb, packet->outer.l3, (__u32)device);
	skb->tc_index = sluice_tag(SLUICE_TAG_DONE);
	return TC_ACT_UNSPEC;
}

static __always_inline __u32 sluice_schedule(const struct sluice_service *service, __u32 id,
					     const struct sluice_flow *flow)
{
	__u32 scheduler = sluice_scheduler_of(service);

	return scheduler == SLUICE_SCHED_LBLC || scheduler == SLUICE_SCHED_LBLCR
		       ? sluice_choose_by_destination(id, flow)
		       : sluice_choose(id, flow);
}

static __always_inline int sluice_is_masqueraded(__u32 real_id)
{
	const struct sluice_real *real = sluice_real_at(real_id);

	return real && !real->method;
}

/* Whether a virtual server's key is that of the packet. */
static __always_inline int sluice_is_served_by(const struct sluice_packet *packet, __u32 mark,
					       const struct sluice_service *service)
{
	const struct sluice_flow *flow = &packet->outer.flow;
	__u64 wanted[2], there[2];
	__u32 there_mark;

	if (service->key.family != flow->family)
		return 0;
	__builtin_memcpy(there, service->key.address, 16);
	if (!service->key.protocol) {
		there_mark = (__u32)there[0];
		return there_mark == mark;
	}
	__builtin_memcpy(wanted, flow->target, 16);
	return service->key.protocol == flow->protocol && there[0] == wanted[0] && there[1] == wanted[1] &&
	       (!service->key.port || service->key.port == flow->target_port);
}

static __always_inline int sluice_is_within(const struct sluice_packet *packet)
{
	return packet->kind == SLUICE_PACKET_CONNECTION && packet->outer.protocol == SLUICE_TCP && !packet->syn_only;
}

/* Of a TCP connection that is not known here (any more), nor to anything else: nf_conntrack would have led it to where it was begun by
 * rules, those of another proxy mode say. Not passed on: a load balancer's address would be sent back here, again and again. */
static __always_inline int sluice_end_unknown(struct __sk_buff *skb, const struct sluice_packet *packet)
{
	__u32 id = sluice_service_of(&packet->outer.flow, skb->mark);
	const struct sluice_service *service = id ? sluice_service_at(id) : 0;

	return !service || !service->key.protocol || sluice_has_socket(skb) ? TC_ACT_UNSPEC : sluice_reset(skb);
}

/* A packet of no connection: one of a virtual server opens one. */
static __always_inline int sluice_begin(struct __sk_buff *skb, struct sluice_packet *packet, __u32 late)
{
	__u32 id = sluice_service_of(&packet->outer.flow, skb->mark), real = 0, mark = skb->mark;
	__u32 ruling, made, flags = late ? SLUICE_CONNECTION_LATE : 0;
	const struct sluice_service *service = id ? sluice_service_at(id) : 0;

	if (!service)
		return TC_ACT_UNSPEC;
	if (packet->outer.protocol == SLUICE_SCTP && packet->event != SLUICE_SCTP_EVENT_INIT)
		return TC_ACT_UNSPEC;
	/* The data of active FTP: it comes with another connection. */
	if (packet->outer.flow.source_port == bpf_htons(20))
		return TC_ACT_UNSPEC;
	ruling = sluice_ruling(packet, id, late ? skb->ingress_ifindex : skb->ifindex);
	if (ruling & SLUICE_RULED_ASIDE)
		return TC_ACT_UNSPEC;
	if (ruling & SLUICE_RULED_OUT)
		return sluice_dropped(SLUICE_DROP_FILTERED);
	packet->drop = SLUICE_DROP_NO_REAL_SERVER;
	if (service->flags & SLUICE_SERVICE_PERSISTENT)
		real = sluice_find_template(packet, id);
	/* Without persistence, a virtual server for all ports has nothing to serve them by. */
	if (!real && ((service->flags & SLUICE_SERVICE_PERSISTENT) || !service->key.protocol ||
		      packet->outer.flow.target_port == service->key.port))
		real = sluice_schedule(service, id, &packet->outer.flow);
	/* The id may have been given to another virtual server meanwhile. */
	if (real && !sluice_is_served_by(packet, mark, service))
		return sluice_dropped(SLUICE_DROP_BUSY);
	if (real && !packet->parent && (service->flags & SLUICE_SERVICE_PERSISTENT) &&
	    !sluice_make_template(packet, id, real))
		/* Another packet of the client may have been faster. */
		real = packet->drop == SLUICE_DROP_BUSY ? sluice_find_template(packet, id) : 0;
	if (!real) {
		sluice_count_drop(packet->drop);
		return packet->drop == SLUICE_DROP_NO_REAL_SERVER ? sluice_refuse(skb) : TC_ACT_SHOT;
	}
	/* Rather nothing than another method than the one that was requested. */
	if (!sluice_is_masqueraded(real))
		return sluice_dropped(SLUICE_DROP_METHOD);
	/* The source of what the node itself sends is the node's already. */
	if (!(late && !skb->ingress_ifindex) && sluice_is_to_masquerade(packet, real, ruling))
		flags |= SLUICE_CONNECTION_MASQUERADED;
	if (packet->outer.protocol == SLUICE_UDP && (service->flags & SLUICE_SERVICE_ONE_PACKET))
		return sluice_forward_once(skb, packet, service, real, flags);
	made = sluice_connect(packet, real, id, flags);
	if (made == SLUICE_NOT_CONNECTED)
		return sluice_dropped(packet->drop);
	if (packet->outer.fragmented)
		sluice_remember_fragment(packet);
	return sluice_forward(skb, packet, late, made == SLUICE_CONNECTED);
}

/* A SYN on a connection that is over opens another (conn_reuse_mode 1). */
static __always_inline int sluice_opens_again(const struct sluice_packet *packet, __u32 link)
{
	__u32 state = sluice_state(packet->search.word);

	return packet->kind == SLUICE_PACKET_CONNECTION && !(link & 1) && packet->outer.protocol == SLUICE_TCP &&
	       packet->syn_only && (state == SLUICE_TCP_TIME_WAIT || state == SLUICE_TCP_CLOSE);
}

/* Finds the packet's connection; one whose time is over is none. */
static __always_inline __u32 sluice_find_live(struct sluice_packet *packet, const struct sluice_flow *flow)
{
	__u32 link = sluice_find(flow, &packet->search);
	struct sluice_connection *entry;

	if (!link)
		return 0;
	if (sluice_phase(packet->search.word) == SLUICE_PHASE_FRESH && packet->kind == SLUICE_PACKET_CONNECTION)
		sluice_adopt(packet, link);
	entry = sluice_connection_at(link >> 1);
	if (!entry || (!sluice_expired(entry, bpf_ktime_get_coarse_ns()) && !sluice_opens_again(packet, link) &&
		       ((link & 1) || !sluice_is_abandoned(entry))))
		return link;
	sluice_end(link >> 1, packet->search.word);
	return 0;
}

/* `serve`: every packet that is not of a connection that is served elsewhere: the node's own, and what was routed to sluice0. */
static __always_inline int sluice_serve(struct __sk_buff *skb, struct sluice_packet *packet, __u32 l3, int egress,
					__u32 own_device)
{
	/* It was not received: it is the node's own. */
	__u32 serve = egress && (skb->ingress_ifindex == 0 || own_device);
	__u32 family, link, late, tag, error = 0;

	if (skb->protocol == bpf_htons(ETH_P_IP))
		family = 4;
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		family = 6;
	else
		return TC_ACT_UNSPEC;
	tag = sluice_tag_of(skb);
	if (tag && egress) {
		skb->tc_index = sluice_tag(SLUICE_TAG_LEFT);
		return TC_ACT_UNSPEC;
	}
	if (tag == SLUICE_TAG_DONE) {
		/* Put back here with the addresses of another device's neighbours. */
		if (skb->pkt_type != SLUICE_PACKET_HOST)
			bpf_skb_change_type(skb, SLUICE_PACKET_HOST);
		return TC_ACT_UNSPEC;
	}
	/* What passes a bridge, or is seen by a device in promiscuous mode, is not for this node. */
	if (!egress && skb->pkt_type != SLUICE_PACKET_HOST && !(l3 && sluice_is_for_bridge(skb)))
		return TC_ACT_UNSPEC;
	if (tag) {
		/* It has come back. What came by lo was seen where it left. */
		skb->tc_index = 0;
		if (skb->ifindex == SLUICE_LO)
			return TC_ACT_UNSPEC;
	}
	sluice_read_packet(skb, packet, l3, family);
	/* What is behind the packet is padding of its frame. */
	packet->bytes = packet->outer.length ? packet->outer.length : skb->len - l3;
	packet->device = skb->ifindex;
	packet->leaving = (__u32)egress;
	if (packet->kind == SLUICE_PACKET_ICMP_ERROR) {
		struct sluice_flow flow;

		sluice_turn_flow(&flow, &packet->inner.flow);
		link = sluice_find_live(packet, &flow);
		error = 1;
	} else if (packet->kind == SLUICE_PACKET_CONNECTION) {
		link = sluice_find_live(packet, &packet->outer.flow);
	} else if (packet->kind == SLUICE_PACKET_FRAGMENT) {
		link = sluice_find_fragment(packet);
		if (!link)
			return TC_ACT_UNSPEC;
	} else {
		return TC_ACT_UNSPEC;
	}
	/* Where it comes in, netfilter has not had it yet. */
	if (!link && !error && sluice_is_within(packet))
		return egress ? sluice_end_unknown(skb, packet) : TC_ACT_UNSPEC;
	/* netfilter sets marks, and so later than packets come in: those of clients elsewhere are seen where they leave. */
	if (!link)
		return error || (egress && !serve && !skb->mark) ? TC_ACT_UNSPEC : sluice_begin(skb, packet, !!egress);
	late = sluice_connection_flags(packet->search.word) & SLUICE_CONNECTION_LATE;
	/* On sluice0 also a request that should have been rewritten where it came in: our hook was removed. */
	if (link & 1 ? !!late == egress : !!late != egress && !own_device)
		return TC_ACT_UNSPEC;
	if (error)
		return sluice_pass_error(skb, packet, !(link & 1), egress);
	if (packet->outer.fragmented && !packet->outer.later)
		sluice_remember_fragment(packet);
	return link & 1 ? sluice_return(skb, packet, egress) : sluice_forward(skb, packet, egress, 0);
}

static __always_inline int sluice_handle(struct __sk_buff *skb, __u32 l3, int egress)
{
	__u32 own_device = egress && sluice_is_own_device(skb->ifindex);
	struct sluice_packet *packet = sluice_packet_here();
	int verdict;

	if (!packet)
		return TC_ACT_UNSPEC;
	packet->kind = SLUICE_PACKET_OTHER;
	verdict = sluice_serve(skb, packet, l3, egress, own_device);
	/* Nothing leaves sluice0 by itself. */
	return own_device && verdict == TC_ACT_UNSPEC ? sluice_turn_away(skb, packet) : verdict;
}

SEC("tc")
int sluice_ingress(struct __sk_buff *skb)
{
	return sluice_handle(skb, SLUICE_ETHERNET_SIZE, 0);
}

SEC("tc")
int sluice_egress(struct __sk_buff *skb)
{
	return sluice_handle(skb, SLUICE_ETHERNET_SIZE, 1);
}

/* Devices whose packets begin with the IP header: tunnels, WireGuard. */
SEC("tc")
int sluice_ingress_l3(struct __sk_buff *skb)
{
	return sluice_handle(skb, 0, 0);
}

SEC("tc")
int sluice_egress_l3(struct __sk_buff *skb)
{
	return sluice_handle(skb, 0, 1);
}

/* Run once by user space: from then on the timer starts itself. Not 0: it could not be had. */
SEC("tc")
int sluice_start_sweep(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct sluice_timer *timer = bpf_map_lookup_elem(&sluice_timer, &zero);
	long error;

	(void)skb;
	if (!timer)
		return 1;
	error = bpf_timer_init(&timer->timer, &sluice_timer, 1 /* CLOCK_MONOTONIC */);
	if (error && error != -16 /* EBUSY: it was made before */)
		return (int)-error;
	if (bpf_timer_set_callback(&timer->timer, sluice_sweep_tick))
		return 1;
	return (int)-bpf_timer_start(&timer->timer, SLUICE_SWEEP_NS, 0);
}

char _license[] SEC("license") = "GPL";
