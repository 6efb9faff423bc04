/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Another address and port in a packet's header, with the checksums that cover them. SCTP's covers neither addresses nor anything that is
 * changed here: ports are left alone there.
 */
#ifndef SLUICE_LIB_REWRITE_H
#define SLUICE_LIB_REWRITE_H
#include "tables.bpf.h"

enum {
	SLUICE_REWRITE_SOURCE,
	SLUICE_REWRITE_TARGET,
};

/* Of the checksum that covers the addresses; 0 where none does. A later fragment has none. */
static __always_inline __u32 sluice_checksum_offset(const struct sluice_headers *headers)
{
	if (headers->later)
		return 0;
	switch (headers->protocol) {
	case SLUICE_TCP:
		return headers->l4 + 16;
	case SLUICE_UDP:
		return headers->l4 + 6;
	case SLUICE_ICMP6:
		return headers->l4 + 2;
	default:
		return 0;
	}
}

/* UDP: one that has no checksum keeps none, and a sum of 0 is written as it must be. */
static __always_inline __u64 sluice_checksum_flags(const struct sluice_headers *headers)
{
	return headers->protocol == SLUICE_UDP ? BPF_F_MARK_MANGLED_0 : 0;
}

/* `checksum`: of the one that covers the port, or 0. */
static __always_inline int sluice_rewrite_port(struct __sk_buff *skb, const struct sluice_headers *headers,
					       __u32 checksum, __u32 end, __be16 from, __be16 to)
{
	__u64 flags = checksum == headers->l4 + 6 ? BPF_F_MARK_MANGLED_0 : 0;

	if (from == to)
		return 0;
	if (!checksum || bpf_l4_csum_replace(skb, checksum, from, to, flags | 2))
		return -1;
	return (int)bpf_skb_store_bytes(skb, headers->l4 + (end == SLUICE_REWRITE_TARGET ? 2 : 0), &to, 2, 0);
}

/* `checksum`: of the one that covers the address, or 0; `flags`: whether it does so in a pseudo-header. */
static __always_inline int sluice_rewrite_ipv4(struct __sk_buff *skb, const struct sluice_headers *headers,
					       __u32 checksum, __u64 flags, __u32 end, const __u8 *from, const __u8 *to)
{
	__be32 before, after;

	__builtin_memcpy(&before, from + 12, 4);
	__builtin_memcpy(&after, to + 12, 4);
	if (checksum && bpf_l4_csum_replace(skb, checksum, before, after, flags | 4))
		return -1;
	if (bpf_l3_csum_replace(skb, headers->l3 + 10, before, after, 4))
		return -1;
	return (int)bpf_skb_store_bytes(skb, headers->l3 + (end == SLUICE_REWRITE_TARGET ? 16 : 12), &after, 4, 0);
}

static __always_inline int sluice_rewrite_ipv6(struct __sk_buff *skb, const struct sluice_headers *headers,
					       __u32 checksum, __u64 flags, __u32 end, const __u8 *from, const __u8 *to)
{
	__u32 before[4], after[4];
	__s64 difference;

	__builtin_memcpy(before, from, 16);
	__builtin_memcpy(after, to, 16);
	if (checksum) {
		difference = bpf_csum_diff(before, 16, after, 16, 0);
		if (difference < 0 || bpf_l4_csum_replace(skb, checksum, 0, (__u64)difference, flags))
			return -1;
	}
	return (int)bpf_skb_store_bytes(skb, headers->l3 + (end == SLUICE_REWRITE_TARGET ? 24 : 8), after, 16, 0);
}

static __always_inline const __u8 *sluice_address_at(const struct sluice_headers *headers, __u32 end)
{
	return end == SLUICE_REWRITE_TARGET ? headers->flow.target : headers->flow.source;
}

static __always_inline __be16 sluice_port_at(const struct sluice_headers *headers, __u32 end)
{
	return end == SLUICE_REWRITE_TARGET ? headers->flow.target_port : headers->flow.source_port;
}

/* Replaces one end of the packet. 0, or not 0 where the packet must be dropped: part of it may be rewritten. */
static __always_inline int sluice_rewrite(struct __sk_buff *skb, const struct sluice_headers *headers, __u32 end,
					  const __u8 *address, __be16 port)
{
	__u32 checksum = sluice_checksum_offset(headers);
	__u64 flags = sluice_checksum_flags(headers) | BPF_F_PSEUDO_HDR;

	if (!headers->later && sluice_has_ports(headers->protocol) &&
	    sluice_rewrite_port(skb, headers, checksum, end, sluice_port_at(headers, end), port))
		return -1;
	if (headers->family == 4)
		return sluice_rewrite_ipv4(skb, headers, checksum, flags, end, sluice_address_at(headers, end),
					   address);
	return sluice_rewrite_ipv6(skb, headers, checksum, flags, end, sluice_address_at(headers, end), address);
}

/* The port of the end whose address stays. */
static __always_inline int sluice_rewrite_other_port(struct __sk_buff *skb, const struct sluice_headers *headers,
						     __u32 end, __be16 port)
{
	if (headers->later)
		return 0;
	return sluice_rewrite_port(skb, headers, sluice_checksum_offset(headers), end, sluice_port_at(headers, end),
				   port);
}

/* Replaces one end of the packet that an ICMP error is about, and the port of the other. Its own checksums of TCP and UDP are left alone, as the kernel does: they
 * may not be there. ICMP's sum covers all of it; an IPv4 header, though, has the same sum with every address, because its checksum makes up
 * for it. */
static __always_inline int sluice_rewrite_inner(struct __sk_buff *skb, const struct sluice_packet *packet, __u32 end,
						const __u8 *address, __be16 port, __be16 other_port)
{
	const struct sluice_headers *inner = &packet->inner;
	__u32 checksum = packet->outer.l4 + 2,
	      other = end == SLUICE_REWRITE_TARGET ? SLUICE_REWRITE_SOURCE : SLUICE_REWRITE_TARGET;

	if (sluice_rewrite_port(skb, inner, checksum, end, sluice_port_at(inner, end), port) ||
	    sluice_rewrite_port(skb, inner, checksum, other, sluice_port_at(inner, other), other_port))
		return -1;
	if (inner->family == 4)
		return sluice_rewrite_ipv4(skb, inner, 0, 0, end, sluice_address_at(inner, end), address);
	return sluice_rewrite_ipv6(skb, inner, checksum, 0, end, sluice_address_at(inner, end), address);
}

#endif
