/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What a new connection's virtual server asks of its client: whether it may come in, and whether its address is replaced. The replacing itself is
 * netfilter's, where the packet leaves: a source of the node's own that came in by another device would not pass the stack's checks.
 */
#ifndef SLUICE_LIB_RULES_H
#define SLUICE_LIB_RULES_H
#include "tables.bpf.h"

enum {
	SLUICE_RULED = 1u,            /* there is a rule: a client that is sent to itself is masqueraded */
	SLUICE_RULED_MASQUERADE = 2u, /* its address is replaced */
	SLUICE_RULED_OUT = 4u,        /* it may not come in */
	SLUICE_RULED_ASIDE = 8u,      /* another mode takes it */
};

#define SLUICE_ALLOWED_BITS (SLUICE_ALLOWED_SERVICE_BITS + 128u)

static __always_inline int sluice_in_prefix(const __u8 *address, const __u8 *prefix, const __u8 *mask)
{
	__u64 a[2], p[2], m[2];

	__builtin_memcpy(a, address, 16);
	__builtin_memcpy(p, prefix, 16);
	__builtin_memcpy(m, mask, 16);
	return !(((a[0] ^ p[0]) & m[0]) | ((a[1] ^ p[1]) & m[1]));
}

/* Whether the packet is from a pod of this node. `device`: that it came in by. */
static __always_inline int sluice_is_from_pod(const struct sluice_settings *settings,
					      const struct sluice_packet *packet, __u32 device)
{
	__u32 v6 = packet->outer.family == 6, rules = settings->rules[v6];
	const struct sluice_device *known;

	if (rules & SLUICE_RULES_PODS_BY_PREFIX)
		return sluice_in_prefix(packet->outer.flow.source, settings->pod_prefix[v6], settings->pod_mask[v6]);
	if (!(rules & (SLUICE_RULES_PODS_BY_DEVICE | SLUICE_RULES_PODS_BY_DEVICE_PREFIX)))
		return 0;
	known = bpf_map_lookup_elem(&sluice_device, &device);
	return known && (known->flags & (v6 ? SLUICE_DEVICE_POD6 : SLUICE_DEVICE_POD4));
}

/* SLUICE_RULED*, 0 where no rule is for this virtual server. */
SLUICE_GLOBAL __u32 sluice_ruling(const struct sluice_packet *packet, __u32 service_id, __u32 device)
{
	const struct sluice_settings *settings = sluice_settings_here();
	const struct sluice_service *service = sluice_service_at(service_id);
	struct sluice_allowed_key key;
	const struct sluice_rule *rule;
	__u32 flags, ruling = SLUICE_RULED;

	if (!packet || !settings || !service || !service->key.protocol)
		return 0;
	if (!(settings->rules[packet->outer.family == 6] & SLUICE_RULES_ANY))
		return 0;
	key.prefix = SLUICE_ALLOWED_BITS;
	__builtin_memcpy(&key.service, &service->key, sizeof(key.service));
	rule = bpf_map_lookup_elem(&sluice_rule, &key.service);
	if (!rule) {
		/* Of this port at any address. */
		__builtin_memset(key.service.address, 0, sizeof(key.service.address));
		rule = bpf_map_lookup_elem(&sluice_rule, &key.service);
	}
	if (!rule)
		return 0;
	if (settings->rules[packet->outer.family == 6] & SLUICE_RULES_RETIRING)
		return SLUICE_RULED_ASIDE;
	flags = SLUICE_READ(rule->flags);
	if (flags & SLUICE_RULE_FILTERED) {
		__builtin_memcpy(key.source, packet->outer.flow.source, sizeof(key.source));
		if (!bpf_map_lookup_elem(&sluice_allowed, &key))
			return SLUICE_RULED_OUT;
	}
	if ((flags & SLUICE_RULE_MASQUERADE_ALL) ||
	    ((flags & SLUICE_RULE_MASQUERADE_OTHERS) && !sluice_is_from_pod(settings, packet, device)))
		ruling |= SLUICE_RULED_MASQUERADE;
	return ruling;
}

/* Whether the source of a packet to that real server is to be replaced. */
static __always_inline int sluice_is_to_masquerade(const struct sluice_packet *packet, __u32 real_id, __u32 ruling)
{
	const struct sluice_real *real = sluice_real_at(real_id);
	__u64 client[2], server[2];

	if (!(ruling & SLUICE_RULED) || !real)
		return 0;
	if (ruling & SLUICE_RULED_MASQUERADE)
		return 1;
	__builtin_memcpy(client, packet->outer.flow.source, 16);
	__builtin_memcpy(server, real->address, 16);
	return client[0] == server[0] && client[1] == server[1];
}

/* For netfilter, behind the routing. */
static __always_inline void sluice_ask_to_masquerade(struct __sk_buff *skb, const struct sluice_packet *packet)
{
	const struct sluice_settings *settings = sluice_settings_here();

	if (settings)
		skb->mark |= settings->masquerade_mark[packet->outer.family == 6];
}

/* Whether one of the family's SLUICE_RULES_* is set. */
static __always_inline __u32 sluice_has_rules(__u32 family, __u32 rules)
{
	const struct sluice_settings *settings = sluice_settings_here();

	return settings ? settings->rules[family == 6] & rules : 0;
}

#endif
