/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Late service: of packets that are seen where they leave. Those are the node's own, and whatever was routed to sluice0. They do not go on to where their
 * route led, but to where their real server is; and the replies are put back as if they had come in by the device that the requests left by.
 *
 * That device is where the kernel expects the virtual server's address to be: by it, a reply passes the check of its source (rp_filter) however
 * strict that is, and is one of the same connection for nf_conntrack.
 */
#ifndef SLUICE_LIB_LATE_H
#define SLUICE_LIB_LATE_H
#include "tables.bpf.h"

#include <bpf/bpf_endian.h>
#include <linux/pkt_cls.h>

#include "refuse.bpf.h"
#include "tag.bpf.h"

#define SLUICE_LO 1 /* in every network namespace */
#define SLUICE_AF_INET 2
#define SLUICE_AF_INET6 10

static __always_inline int sluice_is_own_device(__u32 device)
{
	const struct sluice_settings *settings = sluice_settings_here();

	return settings && settings->own_device && settings->own_device == device;
}

/* The length of the longest IP packet that will be made of it. */
static __always_inline __u32 sluice_longest(struct __sk_buff *skb, const struct sluice_packet *packet)
{
	__u32 header = packet->outer.l4 - packet->outer.l3 + 8, size = skb->gso_size;
	__u8 words;

	if (!size)
		return packet->bytes;
	if (packet->outer.protocol == SLUICE_TCP) {
		if (bpf_skb_load_bytes(skb, packet->outer.l4 + 12, &words, 1))
			return packet->bytes;
		header += (__u32)(words >> 4) * 4 - 8;
	}
	return header + size;
}

enum {
	SLUICE_ROUTE_NONE = 0,
	SLUICE_ROUTE_ANSWERED = -1, /* the packet is too large, and was made the error about that */
};

/* The device towards a real server: lo where that is the node itself. Or SLUICE_ROUTE_*. */
SLUICE_GLOBAL int sluice_route(struct __sk_buff *skb, const struct sluice_address *real)
{
	struct sluice_packet *packet = sluice_packet_here();
	struct bpf_fib_lookup fib;
	__u32 length;
	long found;

	if (!packet || !real)
		return SLUICE_ROUTE_NONE;
	__builtin_memset(&fib, 0, sizeof(fib));
	/* As the node's own packets are routed: they come from lo. (As a look-up for output it would be bound to the device.) */
	fib.ifindex = SLUICE_LO;
	length = sluice_longest(skb, packet);
	fib.tot_len = length > 0xffff ? 0xffff : (__u16)length;
	if (packet->outer.family == 4) {
		fib.family = SLUICE_AF_INET;
		__builtin_memcpy(&fib.ipv4_src, packet->outer.flow.source + 12, 4);
		__builtin_memcpy(&fib.ipv4_dst, real->bytes + 12, 4);
	} else {
		fib.family = SLUICE_AF_INET6;
		__builtin_memcpy(fib.ipv6_src, packet->outer.flow.source, 16);
		__builtin_memcpy(fib.ipv6_dst, real->bytes, 16);
	}
	found = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
	switch (found) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		return (int)fib.ifindex;
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		return sluice_make_error(skb, fib.mtu_result) ? SLUICE_ROUTE_NONE : SLUICE_ROUTE_ANSWERED;
	case BPF_FIB_LKUP_RET_NOT_FWDED:
		/* An address of the node. Or no route leads there: the stack will say so. */
		return SLUICE_LO;
	default:
		return SLUICE_ROUTE_NONE;
	}
}

/* Devices without Ethernet headers: to other ones a packet can only go with one. */
static __always_inline int sluice_need_ethernet(struct __sk_buff *skb, __u32 l3)
{
	__be16 protocol = (__be16)skb->protocol;

	if (l3)
		return 0;
	if (bpf_skb_change_head(skb, 14, 0))
		return -1;
	return (int)bpf_skb_store_bytes(skb, 12, &protocol, 2, 0);
}

/* Lets a packet come in by that device, as one that was dealt with. */
static __always_inline int sluice_put_back(struct __sk_buff *skb, __u32 l3, __u32 device)
{
	if (sluice_need_ethernet(skb, l3))
		return TC_ACT_SHOT;
	skb->tc_index = sluice_tag(SLUICE_TAG_DONE);
	return (int)bpf_redirect(device, BPF_F_INGRESS);
}

/* Sends a request to its real server, by the device that sluice_route() has found. */
static __always_inline int sluice_send_on(struct __sk_buff *skb, __u32 l3, __u32 device)
{
	if (device == SLUICE_LO)
		return sluice_put_back(skb, l3, SLUICE_LO);
	if (sluice_need_ethernet(skb, l3))
		return TC_ACT_SHOT;
	skb->tc_index = sluice_tag(SLUICE_TAG_DONE);
	return (int)bpf_redirect_neigh(device, 0, 0, 0);
}

/* A reply that was rewritten where it came in. */
static __always_inline int sluice_put_back_late(struct __sk_buff *skb, __u32 l3, const struct sluice_connection *entry)
{
	__u32 device = sluice_origin_device(SLUICE_READ(entry->origin));

	return device && device != skb->ifindex ? sluice_put_back(skb, l3, device) : TC_ACT_UNSPEC;
}

/* A route may lead elsewhere by now. */
static __always_inline void sluice_note_device(struct sluice_connection *entry, __u32 device)
{
	__u64 origin = SLUICE_READ(entry->origin);

	if (sluice_origin_device(origin) != device && !(origin & SLUICE_CHILDREN))
		__sync_val_compare_and_swap(&entry->origin, origin,
					    sluice_origin_word(sluice_parent_generation(origin), device));
}

#endif
