/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * sh, dh and mh: a table of slots, and a hash of the client or the destination that leads to one of them.
 */
#ifndef SLUICE_SHARED_SCHEDULE_HASH_H
#define SLUICE_SHARED_SCHEDULE_HASH_H
#include "walk.h"

/* A client or a destination as hashes see it: the address' 32-bit words in host order, one xor the other. */
static inline __u32 sluice_address_word(const __u32 host_order[4], int ipv6)
{
	return ipv6 ? host_order[0] ^ host_order[1] ^ host_order[2] ^ host_order[3] : host_order[3];
}

/* hash_32() of linux/hash.h. */
static inline __u32 sluice_hash32(__u32 x, __u32 bits)
{
	return (x * 0x61C88647u) >> (32 - bits);
}

static inline __u64 sluice_rotate(__u64 x, int by)
{
	return x << by | x >> (64 - by);
}

struct sluice_sip {
	__u64 v0, v1, v2, v3;
};

static inline void sluice_sip_round(struct sluice_sip *s)
{
	s->v0 += s->v1;
	s->v1 = sluice_rotate(s->v1, 13) ^ s->v0;
	s->v0 = sluice_rotate(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = sluice_rotate(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = sluice_rotate(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = sluice_rotate(s->v1, 17) ^ s->v2;
	s->v2 = sluice_rotate(s->v2, 32);
}

/* hsiphash_1u32() of a 64-bit kernel: SipHash-1-3 (Aumasson and Bernstein), the key being the same word twice. */
static inline __u32 sluice_mh_hash(__u32 x, __u64 key)
{
	struct sluice_sip s = { 0x736f6d6570736575ull ^ key, 0x646f72616e646f6dull ^ key, 0x6c7967656e657261ull ^ key,
				0x7465646279746573ull ^ key };
	__u64 block = 4ull << 56 | x; /* the message's length, and its four bytes */

	s.v3 ^= block;
	sluice_sip_round(&s);
	s.v0 ^= block;
	s.v2 ^= 0xff;
	for (int round = 0; round < 3; round++)
		sluice_sip_round(&s);
	return (__u32)(s.v0 ^ s.v1 ^ s.v2 ^ s.v3);
}

SLUICE_GLOBAL __u32 sluice_mh_slot(__u32 x)
{
	return sluice_mh_hash(x, SLUICE_MH_KEY1) % SLUICE_MH_SLOTS;
}

/* The real server of a slot, if a new connection may go there. */
static inline __u32 sluice_slot(__u32 slots, __u32 slot)
{
	__u32 id = sluice_word_at(slots, slot);
	const struct sluice_cell *cell = sluice_cell_at(id);

	return id && cell && sluice_usable(cell) ? id : 0;
}

/* The fallback of sh and mh: other slots, in an order that begins at the one that did not do. */
struct sluice_fallback {
	__u32 slots;
	__u32 scheduler;
	__u32 x;     /* what was hashed */
	__u32 first; /* the slot that it gave */
	__u32 id;
};

static inline long sluice_fallback_step(__u32 offset, void *context)
{
	struct sluice_fallback *fallback = (struct sluice_fallback *)context;
	__u32 slot;

	if (fallback->scheduler == SLUICE_SCHED_MH)
		slot = sluice_mh_slot((offset + fallback->first) % SLUICE_MH_SLOTS + fallback->x);
	else
		slot = ((offset + fallback->first) % SLUICE_SH_SLOTS + fallback->first) % SLUICE_SH_SLOTS;
	fallback->id = sluice_slot(fallback->slots, slot);
	return fallback->id != 0;
}

SLUICE_GLOBAL __u32 sluice_pick_hash(__u32 view_line, __u32 client, __u32 client_port, __u32 destination)
{
	const struct sluice_view *view = sluice_view_at(view_line);
	struct sluice_fallback fallback = { 0, 0, 0, 0, sluice_zero() };
	__u32 count, id;

	if (!view || !view->slots)
		return 0;
	if (view->scheduler == SLUICE_SCHED_DH)
		return sluice_slot(view->slots, sluice_hash32(destination, SLUICE_SH_BITS));
	fallback.slots = view->slots;
	fallback.scheduler = view->scheduler;
	fallback.x = client + (view->flags & SLUICE_SCHED_PORT ? client_port : 0);
	if (view->scheduler == SLUICE_SCHED_MH) {
		fallback.first = sluice_mh_slot(fallback.x);
		count = SLUICE_MH_SLOTS;
	} else {
		fallback.first = sluice_hash32(fallback.x, SLUICE_SH_BITS);
		count = SLUICE_SH_SLOTS;
	}
	id = sluice_slot(view->slots, fallback.first);
	if (id || !(view->flags & SLUICE_SCHED_FALLBACK))
		return id;
	sluice_loop(count, sluice_fallback_step, &fallback);
	return fallback.id;
}

#endif
