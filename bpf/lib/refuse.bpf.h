/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * A packet that no real server takes goes back as an ICMP error, "port unreachable", from the virtual server, for every protocol, as ip_vs
 * answers. The packet itself becomes the error: what is behind its first eight bytes is cut off, and the headers are put before it.
 */
#ifndef SLUICE_LIB_REFUSE_H
#define SLUICE_LIB_REFUSE_H
#include "tables.bpf.h"

#include <bpf/bpf_endian.h>
#include <linux/pkt_cls.h>

#define SLUICE_QUOTED_BYTES 8u /* of what is behind the IP header */
#define SLUICE_ERROR_HOPS 64

static __always_inline __u16 sluice_folded(__s64 sum)
{
	__u32 folded = (__u32)sum;

	folded = (folded & 0xffff) + (folded >> 16);
	folded = (folded & 0xffff) + (folded >> 16);
	return (__u16)~folded;
}

/* IP header, ICMP header and the quoted header in `error`; how many bytes that is, or 0. */
static __always_inline __u32 sluice_error_ipv4(struct __sk_buff *skb, struct sluice_packet *packet)
{
	const __u32 head = sizeof(struct sluice_ipv4_header), quoted = head + SLUICE_QUOTED_BYTES,
		    all = head + 8 + quoted;
	struct sluice_ipv4_header *ip = (struct sluice_ipv4_header *)packet->error;
	__u8 *icmp = packet->error + head;
	__u16 sum;

	if (bpf_skb_load_bytes(skb, packet->outer.l3, icmp + 8, quoted))
		return 0;
	__builtin_memset(packet->error, 0, head + 8);
	ip->version_length = 0x45;
	ip->service = 0xc0; /* internetwork control, as the kernel's */
	ip->length = bpf_htons(all);
	ip->ttl = SLUICE_ERROR_HOPS;
	ip->protocol = SLUICE_ICMP;
	__builtin_memcpy(ip->source, packet->outer.flow.target + 12, 4);
	__builtin_memcpy(ip->target, packet->outer.flow.source + 12, 4);
	ip->checksum = sluice_folded(bpf_csum_diff(0, 0, (__be32 *)ip, head, 0));
	icmp[0] = 3;
	icmp[1] = 3;
	sum = sluice_folded(bpf_csum_diff(0, 0, (__be32 *)icmp, 8 + quoted, 0));
	__builtin_memcpy(icmp + 2, &sum, 2);
	return all;
}

static __always_inline __u32 sluice_error_ipv6(struct __sk_buff *skb, struct sluice_packet *packet)
{
	const __u32 head = sizeof(struct sluice_ipv6_header), quoted = head + SLUICE_QUOTED_BYTES,
		    all = head + 8 + quoted;
	struct sluice_ipv6_header *ip = (struct sluice_ipv6_header *)packet->error;
	__u8 *icmp = packet->error + head;
	__be32 pseudo[2] = { bpf_htonl(8 + quoted), bpf_htonl(SLUICE_ICMP6) };
	__s64 sum;
	__u16 folded;

	if (bpf_skb_load_bytes(skb, packet->outer.l3, icmp + 8, quoted))
		return 0;
	__builtin_memset(packet->error, 0, head + 8);
	ip->version_class[0] = 0x60;
	ip->length = bpf_htons(8 + quoted);
	ip->next = SLUICE_ICMP6;
	ip->hops = SLUICE_ERROR_HOPS;
	__builtin_memcpy(ip->source, packet->outer.flow.target, 16);
	__builtin_memcpy(ip->target, packet->outer.flow.source, 16);
	icmp[0] = 1;
	icmp[1] = 4;
	/* The addresses stand side by side in the header, so they need not be put together for the pseudo-header. */
	sum = bpf_csum_diff(0, 0, (__be32 *)ip->source, 32, 0);
	sum = bpf_csum_diff(0, 0, pseudo, sizeof(pseudo), (__u32)sum);
	folded = sluice_folded(bpf_csum_diff(0, 0, (__be32 *)icmp, 8 + quoted, (__u32)sum));
	__builtin_memcpy(icmp + 2, &folded, 2);
	return all;
}

static __always_inline int sluice_turn_ethernet(struct __sk_buff *skb)
{
	__u8 addresses[12], turned[12];

	if (bpf_skb_load_bytes(skb, 0, addresses, sizeof(addresses)))
		return -1;
	__builtin_memcpy(turned, addresses + 6, 6);
	__builtin_memcpy(turned + 6, addresses, 6);
	return (int)bpf_skb_store_bytes(skb, 0, turned, sizeof(turned), 0);
}

/* Sends the error back to where the packet came in; one of the node's own comes in where it wanted to leave. One that cannot be
 * answered is dropped. */
SLUICE_GLOBAL int sluice_refuse(struct __sk_buff *skb)
{
	struct sluice_packet *packet = sluice_packet_here();
	__u32 size, l3;

	/* With options or extension headers the quoted bytes would be others; a later fragment is not answered. */
	if (!packet || packet->outer.later)
		return TC_ACT_SHOT;
	l3 = packet->outer.l3;
	if (l3 > 14)
		return TC_ACT_SHOT;
	if (packet->outer.family == 4) {
		if (packet->outer.l4 != l3 + sizeof(struct sluice_ipv4_header))
			return TC_ACT_SHOT;
		size = sluice_error_ipv4(skb, packet);
		if (!size ||
		    bpf_skb_change_tail(skb, l3 + sizeof(struct sluice_ipv4_header) * 2 + 8 + SLUICE_QUOTED_BYTES, 0) ||
		    bpf_skb_store_bytes(skb, l3, packet->error,
					sizeof(struct sluice_ipv4_header) * 2 + 8 + SLUICE_QUOTED_BYTES, 0))
			return TC_ACT_SHOT;
	} else {
		if (packet->outer.l4 != l3 + sizeof(struct sluice_ipv6_header))
			return TC_ACT_SHOT;
		size = sluice_error_ipv6(skb, packet);
		if (!size ||
		    bpf_skb_change_tail(skb, l3 + sizeof(struct sluice_ipv6_header) * 2 + 8 + SLUICE_QUOTED_BYTES, 0) ||
		    bpf_skb_store_bytes(skb, l3, packet->error,
					sizeof(struct sluice_ipv6_header) * 2 + 8 + SLUICE_QUOTED_BYTES, 0))
			return TC_ACT_SHOT;
	}
	if (l3 && sluice_turn_ethernet(skb))
		return TC_ACT_SHOT;
	if (!skb->ingress_ifindex)
		return (int)bpf_redirect(skb->ifindex, BPF_F_INGRESS);
	return skb->ingress_ifindex == skb->ifindex ? (int)bpf_redirect(skb->ifindex, 0) : TC_ACT_SHOT;
}

#endif
