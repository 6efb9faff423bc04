/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What a packet carries that our programs have dealt with: it may meet more of our hooks, and its mark still is that of a virtual server. Of
 * this namespace only (14 bits say which): a veth pair takes it along to another one, which may have an engine, too.
 */
#ifndef SLUICE_LIB_TAG_H
#define SLUICE_LIB_TAG_H
#include "tables.bpf.h"

enum {
	SLUICE_TAG_DONE = 1, /* until it leaves */
	SLUICE_TAG_LEFT = 3, /* it has passed a hook of egress: the devices below that one are not asked again */
};
#define SLUICE_TAG_STATES 3u

static __always_inline __u16 sluice_tag(__u32 state)
{
	const struct sluice_pool *pool = sluice_pool_here();

	return pool ? (__u16)((__u32)pool->hash_key << 2 | state) : (__u16)state;
}

/* SLUICE_TAG_* of a packet, 0 for one that carries none of ours. */
static __always_inline __u32 sluice_tag_of(const struct __sk_buff *skb)
{
	__u32 tag = skb->tc_index, state = tag & SLUICE_TAG_STATES;

	return state && tag == sluice_tag(state) ? state : 0;
}

#endif
