/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * A packet, read once: whose it is, where its headers are, and what it does to its connection. Compiled by clang -target bpf (C11) for
 * packets, and by C++20 for tests and fuzzers.
 *
 * The includer has defined before
 *   int sluice_load(void *packet, __u32 offset, void *to, __u32 size);		0, or not 0 where it is not that long
 */
#ifndef SLUICE_SHARED_PACKET_H
#define SLUICE_SHARED_PACKET_H
#include "connection.h"
#include "lb_maps.h"
#include "states.h"
#include "view.h"

#define SLUICE_TCP 6u
#define SLUICE_UDP 17u
#define SLUICE_ICMP 1u
#define SLUICE_ICMP6 58u
#define SLUICE_SCTP 132u

/* What a packet is to us. */
enum {
	SLUICE_PACKET_OTHER,      /* of a protocol that no virtual server has; not ours */
	SLUICE_PACKET_MALFORMED,  /* the stack will drop it */
	SLUICE_PACKET_CONNECTION, /* with ports */
	SLUICE_PACKET_FRAGMENT,   /* a later one, without ports */
	SLUICE_PACKET_ICMP_ERROR, /* about another packet */
};

/* IPv4 as ::ffff:a.b.c.d. */
struct sluice_address {
	__u8 bytes[16];
};

/* Where a packet's headers are, and its two ends. */
struct sluice_headers {
	struct sluice_flow flow;
	__u32 l3; /* offsets */
	__u32 l4;
	__u32 length;   /* of the IP packet, by its header; 0: too long for it */
	__u32 fragment; /* its identification, where it is a fragment */
	__u8 fragmented;
	__u8 later; /* a fragment that has no ports */
	__u8 protocol;
	__u8 family;
};

struct sluice_packet {
	struct sluice_headers outer;
	struct sluice_headers inner; /* of an ICMP error: what it is about */
	struct sluice_search search; /* whose it is */
	struct sluice_fragment_key fragment;
	__u32 kind;
	__u32 event;    /* SLUICE_TCP_EVENT_* or SLUICE_SCTP_EVENT_* */
	__u32 syn_only; /* TCP: opens a connection, as ip_vs sees it: SYN, with or without ACK */
	__u32 bytes;    /* of the IP packet */
	__u32 device;   /* that it is on */
	__u32 leaving;  /* it is seen where it leaves */
	__u32 parent;   /* the template of the client, where there is one */
	__u32 parent_generation;
	__u32 drop;      /* SLUICE_DROP_*, where it was dropped */
	__u8 error[136]; /* an ICMP error of ours is put together here */
};

struct sluice_ipv4_header {
	__u8 version_length;
	__u8 service;
	__be16 length;
	__be16 identification;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__u16 checksum;
	__u8 source[4];
	__u8 target[4];
};
static_assert(sizeof(struct sluice_ipv4_header) == 20, "as it is on the wire");

struct sluice_ipv6_header {
	__u8 version_class[4];
	__be16 length;
	__u8 next;
	__u8 hops;
	__u8 source[16];
	__u8 target[16];
};
static_assert(sizeof(struct sluice_ipv6_header) == 40, "as it is on the wire");

static inline __u32 sluice_number16(const __u8 *bytes)
{
	return (__u32)bytes[0] << 8 | bytes[1];
}

static inline void sluice_map_ipv4(__u8 *to, const __u8 *from)
{
	__u8 begin[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

	__builtin_memcpy(to, begin, 12);
	__builtin_memcpy(to + 12, from, 4);
}

static inline int sluice_read_ipv4(void *packet, struct sluice_headers *headers)
{
	struct sluice_ipv4_header ip;
	__u32 length, fragment;

	if (sluice_load(packet, headers->l3, &ip, sizeof(ip)))
		return SLUICE_PACKET_MALFORMED;
	length = (__u32)(ip.version_length & 15) * 4;
	if (ip.version_length >> 4 != 4 || length < sizeof(ip))
		return SLUICE_PACKET_MALFORMED;
	sluice_map_ipv4(headers->flow.source, ip.source);
	sluice_map_ipv4(headers->flow.target, ip.target);
	fragment = sluice_number16((const __u8 *)&ip.fragment);
	headers->family = 4;
	headers->protocol = ip.protocol;
	headers->l4 = headers->l3 + length;
	headers->length = sluice_number16((const __u8 *)&ip.length);
	headers->fragment = ip.identification;
	headers->fragmented = (fragment & 0x3fff) != 0;
	headers->later = (fragment & 0x1fff) != 0;
	return SLUICE_PACKET_CONNECTION;
}

#define SLUICE_IPV6_EXTENSIONS_MAX 6u

static inline int sluice_read_ipv6(void *packet, struct sluice_headers *headers)
{
	struct sluice_ipv6_header ip;
	__u32 offset = headers->l3 + sizeof(ip), next;

	if (sluice_load(packet, headers->l3, &ip, sizeof(ip)) || ip.version_class[0] >> 4 != 6)
		return SLUICE_PACKET_MALFORMED;
	__builtin_memcpy(headers->flow.source, ip.source, 16);
	__builtin_memcpy(headers->flow.target, ip.target, 16);
	headers->family = 6;
	headers->length = sluice_number16((const __u8 *)&ip.length);
	if (headers->length)
		headers->length += sizeof(ip);
	next = ip.next;
	for (__u32 i = 0; i < SLUICE_IPV6_EXTENSIONS_MAX; i++) {
		__u8 extension[8];

		/* Hop by hop, routing, fragment, destination options; whatever else is the payload. */
		if (next != 0 && next != 43 && next != 44 && next != 60)
			break;
		if (sluice_load(packet, offset, extension, sizeof(extension)))
			return SLUICE_PACKET_MALFORMED;
		if (next == 44) {
			__builtin_memcpy(&headers->fragment, extension + 4, 4);
			headers->fragmented = 1;
			headers->later = (sluice_number16(extension + 2) & 0xfff8) != 0;
			offset += 8;
		} else {
			offset += 8 + (__u32)extension[1] * 8;
		}
		next = extension[0];
		if (headers->later)
			break;
	}
	headers->protocol = (__u8)next;
	headers->l4 = offset;
	return SLUICE_PACKET_CONNECTION;
}

static inline int sluice_has_ports(__u32 protocol)
{
	return protocol == SLUICE_TCP || protocol == SLUICE_UDP || protocol == SLUICE_SCTP;
}

/* Addresses, protocol and, where it has them, ports. A SLUICE_PACKET_*. */
static inline int sluice_read_headers(void *packet, struct sluice_headers *headers, __u32 l3, __u32 family)
{
	__be16 ports[2];
	int kind;

	__builtin_memset(headers, 0, sizeof(*headers));
	headers->l3 = l3;
	kind = family == 4 ? sluice_read_ipv4(packet, headers) : sluice_read_ipv6(packet, headers);
	if (kind != SLUICE_PACKET_CONNECTION)
		return kind;
	headers->flow.protocol = headers->protocol;
	headers->flow.family = headers->family;
	if (!sluice_has_ports(headers->protocol))
		return SLUICE_PACKET_OTHER;
	if (headers->later)
		return SLUICE_PACKET_FRAGMENT;
	if (sluice_load(packet, headers->l4, ports, sizeof(ports)))
		return SLUICE_PACKET_MALFORMED;
	headers->flow.source_port = ports[0];
	headers->flow.target_port = ports[1];
	return SLUICE_PACKET_CONNECTION;
}

/* ICMP errors that ip_vs follows: unreachable (with "fragmentation needed"), quench, time exceeded; IPv6: every error. */
static inline int sluice_is_icmp_error(__u32 family, __u32 type)
{
	return family == 4 ? type == 3 || type == 4 || type == 11 : type >= 1 && type < 128;
}

static inline int sluice_read_event(void *packet, struct sluice_packet *of)
{
	if (of->outer.protocol == SLUICE_TCP) {
		__u8 flags;

		if (sluice_load(packet, of->outer.l4 + 13, &flags, 1))
			return SLUICE_PACKET_MALFORMED;
		of->event = sluice_tcp_event(flags);
		of->syn_only = (flags & SLUICE_TCP_SYN) && !(flags & SLUICE_TCP_RST);
	} else if (of->outer.protocol == SLUICE_SCTP) {
		__u8 chunk[4], next = 0;

		if (sluice_load(packet, of->outer.l4 + 12, chunk, sizeof(chunk)))
			return SLUICE_PACKET_MALFORMED;
		/* Only the chunk behind COOKIE_ECHO and COOKIE_ACK matters. */
		if (chunk[0] == 10 || chunk[0] == 11) {
			__u32 length = (sluice_number16(chunk + 2) + 3) & ~3u;

			if (sluice_load(packet, of->outer.l4 + 12 + length, &next, 1))
				next = 0;
		}
		of->event = sluice_sctp_event(chunk[0], next);
	}
	return SLUICE_PACKET_CONNECTION;
}

/* The whole packet; its IP header begins at l3. */
static inline void sluice_read_packet(void *packet, struct sluice_packet *of, __u32 l3, __u32 family)
{
	of->kind = (__u32)sluice_read_headers(packet, &of->outer, l3, family);
	of->event = 0;
	of->syn_only = 0;
	of->drop = 0;
	of->parent = 0;
	of->parent_generation = 0;
	if (of->kind == SLUICE_PACKET_CONNECTION) {
		of->kind = (__u32)sluice_read_event(packet, of);
	} else if (of->kind == SLUICE_PACKET_OTHER && !of->outer.later &&
		   of->outer.protocol == (family == 4 ? SLUICE_ICMP : SLUICE_ICMP6)) {
		__u8 type;

		if (sluice_load(packet, of->outer.l4, &type, 1) || !sluice_is_icmp_error(family, type))
			return;
		if (sluice_read_headers(packet, &of->inner, of->outer.l4 + 8, family) == SLUICE_PACKET_CONNECTION)
			of->kind = SLUICE_PACKET_ICMP_ERROR;
	}
}

static inline void sluice_name_fragment(struct sluice_packet *of)
{
	__builtin_memcpy(of->fragment.source, of->outer.flow.source, 16);
	__builtin_memcpy(of->fragment.target, of->outer.flow.target, 16);
	of->fragment.identification = of->outer.fragment;
	of->fragment.protocol = of->outer.protocol;
	of->fragment.family = of->outer.family;
	of->fragment.zero = 0;
}

/* The flow in the other direction: what an ICMP error is about went there, and comes from here. */
static inline void sluice_turn_flow(struct sluice_flow *to, const struct sluice_flow *flow)
{
	__builtin_memcpy(to->source, flow->target, 16);
	__builtin_memcpy(to->target, flow->source, 16);
	to->source_port = flow->target_port;
	to->target_port = flow->source_port;
	to->protocol = flow->protocol;
	to->family = flow->family;
	to->use = 0;
}

#endif
