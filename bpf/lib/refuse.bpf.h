/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * A packet that no real server takes goes back as an ICMP error, "port unreachable", from the virtual server, for every protocol, as ip_vs
 * does. The packet itself becomes the error: what is behind its first eight bytes is cut off, and the headers are put before it. One that no
 * virtual server takes is refused as the kernel refuses for a port without a listener: TCP by a reset.
 */
#ifndef SLUICE_LIB_REFUSE_H
#define SLUICE_LIB_REFUSE_H
#include "tables.bpf.h"

#include <bpf/bpf_endian.h>
#include <linux/pkt_cls.h>

#include "tag.bpf.h"

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
static __always_inline __u32 sluice_error_ipv4(struct __sk_buff *skb, struct sluice_packet *packet, __u32 mtu)
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
	icmp[1] = mtu ? 4 : 3;
	icmp[6] = (__u8)(mtu >> 8);
	icmp[7] = (__u8)mtu;
	sum = sluice_folded(bpf_csum_diff(0, 0, (__be32 *)icmp, 8 + quoted, 0));
	__builtin_memcpy(icmp + 2, &sum, 2);
	return all;
}

static __always_inline __u32 sluice_error_ipv6(struct __sk_buff *skb, struct sluice_packet *packet, __u32 mtu)
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
	icmp[0] = mtu ? 2 : 1;
	icmp[1] = mtu ? 0 : 4;
	icmp[6] = (__u8)(mtu >> 8);
	icmp[7] = (__u8)mtu;
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

/* Makes the packet the error about itself: "port unreachable", or with an MTU, "too large". 0, or not 0: there can be no reply. */
SLUICE_GLOBAL int sluice_make_error(struct __sk_buff *skb, __u32 mtu)
{
	struct sluice_packet *packet = sluice_packet_here();
	__u32 size, l3;

	/* With options or extension headers the quoted bytes would be others; a later fragment gets no reply. */
	if (!packet || packet->outer.later)
		return -1;
	l3 = packet->outer.l3;
	if (l3 > 14)
		return -1;
	if (packet->outer.family == 4) {
		if (packet->outer.l4 != l3 + sizeof(struct sluice_ipv4_header))
			return -1;
		size = sluice_error_ipv4(skb, packet, mtu);
		if (!size ||
		    bpf_skb_change_tail(skb, l3 + sizeof(struct sluice_ipv4_header) * 2 + 8 + SLUICE_QUOTED_BYTES, 0) ||
		    bpf_skb_store_bytes(skb, l3, packet->error,
					sizeof(struct sluice_ipv4_header) * 2 + 8 + SLUICE_QUOTED_BYTES, 0))
			return -1;
	} else {
		if (packet->outer.l4 != l3 + sizeof(struct sluice_ipv6_header))
			return -1;
		size = sluice_error_ipv6(skb, packet, mtu);
		if (!size ||
		    bpf_skb_change_tail(skb, l3 + sizeof(struct sluice_ipv6_header) * 2 + 8 + SLUICE_QUOTED_BYTES, 0) ||
		    bpf_skb_store_bytes(skb, l3, packet->error,
					sizeof(struct sluice_ipv6_header) * 2 + 8 + SLUICE_QUOTED_BYTES, 0))
			return -1;
	}
	return l3 ? sluice_turn_ethernet(skb) : 0;
}

/* What was made the reply to itself goes back to where it came in. One that is seen where it leaves comes in there: by that device the kernel expects
 * the address that it now comes from. */
static __always_inline int sluice_answer(struct __sk_buff *skb, const struct sluice_packet *packet)
{
	if (!packet->leaving)
		return (int)bpf_redirect(skb->ifindex, 0);
	skb->tc_index = sluice_tag(SLUICE_TAG_DONE);
	return (int)bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}

/* One without a possible reply is dropped. */
SLUICE_GLOBAL int sluice_refuse(struct __sk_buff *skb)
{
	struct sluice_packet *packet = sluice_packet_here();

	return !packet || sluice_make_error(skb, 0) ? TC_ACT_SHOT : sluice_answer(skb, packet);
}

#define SLUICE_TCP_FIN_BIT 0x01u
#define SLUICE_TCP_SYN_BIT 0x02u
#define SLUICE_TCP_RST_BIT 0x04u
#define SLUICE_TCP_ACK_BIT 0x10u

struct sluice_tcp_header {
	__be16 source;
	__be16 target;
	__be32 sequence;
	__be32 acknowledged;
	__u8 words;
	__u8 flags;
	__be16 window;
	__u16 checksum;
	__be16 urgent;
};
static_assert(sizeof(struct sluice_tcp_header) == 20, "as it is on the wire");

/* The bytes of the IP packet; frames of Ethernet are padded. */
static __always_inline __u32 sluice_ip_length(struct __sk_buff *skb, const struct sluice_packet *packet)
{
	__u32 l3 = packet->outer.l3, length;
	__be16 said;

	if (bpf_skb_load_bytes(skb, l3 + (packet->outer.family == 4 ? 2 : 4), &said, 2))
		return 0;
	length = bpf_ntohs(said);
	/* 0: larger than 64 kB. */
	if (!length)
		return packet->bytes;
	return packet->outer.family == 4 ? length : length + (__u32)sizeof(struct sluice_ipv6_header);
}

/* The reset that answers a segment, as RFC 9293 (3.10.7.1) has it. */
static __always_inline void sluice_fill_reset(struct sluice_tcp_header *reset, const struct sluice_tcp_header *tcp,
					      __u32 length)
{
	__builtin_memset(reset, 0, sizeof(*reset));
	reset->source = tcp->target;
	reset->target = tcp->source;
	reset->words = 5 << 4;
	if (tcp->flags & SLUICE_TCP_ACK_BIT) {
		reset->flags = SLUICE_TCP_RST_BIT;
		reset->sequence = tcp->acknowledged;
		return;
	}
	if (tcp->flags & SLUICE_TCP_SYN_BIT)
		length++;
	if (tcp->flags & SLUICE_TCP_FIN_BIT)
		length++;
	reset->flags = SLUICE_TCP_RST_BIT | SLUICE_TCP_ACK_BIT;
	reset->acknowledged = bpf_htonl(bpf_ntohl(tcp->sequence) + length);
}

/* Both headers in `error`, but TCP's checksum: its pseudo-header's sum. */
static __always_inline __s64 sluice_fill_reset_ip(struct sluice_packet *packet)
{
	__be32 pseudo[2] = { bpf_htonl(sizeof(struct sluice_tcp_header)), bpf_htonl(SLUICE_TCP) };
	__s64 sum;

	if (packet->outer.family == 4) {
		struct sluice_ipv4_header *ip = (struct sluice_ipv4_header *)packet->error;

		__builtin_memset(ip, 0, sizeof(*ip));
		ip->version_length = 0x45;
		ip->length = bpf_htons(sizeof(*ip) + sizeof(struct sluice_tcp_header));
		ip->fragment = bpf_htons(0x4000);
		ip->ttl = SLUICE_ERROR_HOPS;
		ip->protocol = SLUICE_TCP;
		__builtin_memcpy(ip->source, packet->outer.flow.target + 12, 4);
		__builtin_memcpy(ip->target, packet->outer.flow.source + 12, 4);
		ip->checksum = sluice_folded(bpf_csum_diff(0, 0, (__be32 *)ip, sizeof(*ip), 0));
		sum = bpf_csum_diff(0, 0, (__be32 *)ip->source, 8, 0);
	} else {
		struct sluice_ipv6_header *ip = (struct sluice_ipv6_header *)packet->error;

		__builtin_memset(ip, 0, sizeof(*ip));
		ip->version_class[0] = 0x60;
		ip->length = bpf_htons(sizeof(struct sluice_tcp_header));
		ip->next = SLUICE_TCP;
		ip->hops = SLUICE_ERROR_HOPS;
		__builtin_memcpy(ip->source, packet->outer.flow.target, 16);
		__builtin_memcpy(ip->target, packet->outer.flow.source, 16);
		sum = bpf_csum_diff(0, 0, (__be32 *)ip->source, 32, 0);
	}
	return bpf_csum_diff(0, 0, pseudo, sizeof(pseudo), (__u32)sum);
}

/* Puts the headers of `error` in the place of the packet's. Not 0: it could not be done. */
static __always_inline int sluice_become_reset(struct __sk_buff *skb, struct sluice_packet *packet, __u32 head,
					       __s64 pseudo)
{
	struct sluice_tcp_header *reset = (struct sluice_tcp_header *)(packet->error + head);
	__u32 l4 = packet->outer.l3 + head;

	/* A checksum that is left to the device is computed from here on, over what stands in its place: the kernel does not cut it off, and
	 * so is known. */
	if (bpf_skb_change_tail(skb, l4 + 17, 0))
		reset->checksum = ~sluice_folded(pseudo);
	else
		reset->checksum = sluice_folded(bpf_csum_diff(0, 0, (__be32 *)reset, sizeof(*reset), (__u32)pseudo));
	if (bpf_skb_change_tail(skb, l4 + sizeof(*reset), 0))
		return -1;
	return (int)(head == sizeof(struct sluice_ipv4_header)
			     ? bpf_skb_store_bytes(skb, packet->outer.l3, packet->error,
						   sizeof(struct sluice_ipv4_header) + sizeof(*reset), 0)
			     : bpf_skb_store_bytes(skb, packet->outer.l3, packet->error,
						   sizeof(struct sluice_ipv6_header) + sizeof(*reset), 0));
}

/* A TCP packet that belongs to no connection. One without a possible reply is dropped. */
SLUICE_GLOBAL int sluice_reset(struct __sk_buff *skb)
{
	struct sluice_packet *packet = sluice_packet_here();
	struct sluice_tcp_header tcp;
	__u32 head, length;
	__s64 pseudo;

	if (!packet || packet->outer.later || packet->outer.l3 > 14)
		return TC_ACT_SHOT;
	head = packet->outer.family == 4 ? sizeof(struct sluice_ipv4_header) : sizeof(struct sluice_ipv6_header);
	if (packet->outer.l4 != packet->outer.l3 + head ||
	    bpf_skb_load_bytes(skb, packet->outer.l4, &tcp, sizeof(tcp)) || (tcp.flags & SLUICE_TCP_RST_BIT))
		return TC_ACT_SHOT;
	length = sluice_ip_length(skb, packet) - head - (__u32)(tcp.words >> 4) * 4;
	pseudo = sluice_fill_reset_ip(packet);
	if (head == sizeof(struct sluice_ipv4_header)) {
		sluice_fill_reset((struct sluice_tcp_header *)(packet->error + sizeof(struct sluice_ipv4_header)), &tcp,
				  length);
		if (sluice_become_reset(skb, packet, sizeof(struct sluice_ipv4_header), pseudo))
			return TC_ACT_SHOT;
	} else {
		sluice_fill_reset((struct sluice_tcp_header *)(packet->error + sizeof(struct sluice_ipv6_header)), &tcp,
				  length);
		if (sluice_become_reset(skb, packet, sizeof(struct sluice_ipv6_header), pseudo))
			return TC_ACT_SHOT;
	}
	if (packet->outer.l3 && sluice_turn_ethernet(skb))
		return TC_ACT_SHOT;
	return sluice_answer(skb, packet);
}

/* Whether a TCP packet is one of a connection of the node's own sockets. */
SLUICE_GLOBAL int sluice_has_socket(struct __sk_buff *skb)
{
	const struct sluice_packet *packet = sluice_packet_here();
	struct bpf_sock_tuple tuple;
	struct bpf_sock *sock;
	int found = 0;

	if (!packet)
		return 0;
	__builtin_memset(&tuple, 0, sizeof(tuple));
	if (packet->outer.family == 4) {
		__builtin_memcpy(&tuple.ipv4.saddr, packet->outer.flow.source + 12, 4);
		__builtin_memcpy(&tuple.ipv4.daddr, packet->outer.flow.target + 12, 4);
		tuple.ipv4.sport = packet->outer.flow.source_port;
		tuple.ipv4.dport = packet->outer.flow.target_port;
		sock = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, packet->outer.flow.source, 16);
		__builtin_memcpy(tuple.ipv6.daddr, packet->outer.flow.target, 16);
		tuple.ipv6.sport = packet->outer.flow.source_port;
		tuple.ipv6.dport = packet->outer.flow.target_port;
		sock = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	if (!sock)
		return 0;
	found = sock->state != BPF_TCP_LISTEN;
	bpf_sk_release(sock);
	return found;
}

/* A packet that no virtual server takes, and that is for no other receiver. */
static __always_inline int sluice_turn_away(struct __sk_buff *skb, const struct sluice_packet *packet)
{
	if (packet->kind != SLUICE_PACKET_CONNECTION)
		return TC_ACT_SHOT;
	return packet->outer.protocol == SLUICE_TCP ? sluice_reset(skb) : sluice_refuse(skb);
}

#endif
