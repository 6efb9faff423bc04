/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * The connection table: entries in one array, and buckets that each begin a chain of them. An entry is in two chains, one for what its
 * requests look like and one for its replies, and a *link* names one of the two: id << 1 | direction.
 *
 * Many CPUs at once, and none waits on the way in:
 *   - A bucket is one word: a version, a bit that means "an entry is being taken out", and the first link.
 *   - One that looks for a flow and does not find it keeps the word. It puts its entry in front by compare-and-swap of that very word: of two CPUs
 *     that bring the same flow one succeeds, the other looks again and finds what the first one has put there.
 *   - One that takes an entry out sets the bit, by compare-and-swap as well, moves a link and writes the word with the next version. Only programs
 *     in softirqs do this, so none is interrupted by code that waits for it.
 *   - A reader may be at an entry that is taken out and given to another connection meanwhile. It then arrives in another
 *     chain and finds nothing; the bucket's version shows that it must look again. Or it finds an entry that changes while it is read; the
 *     generation in the entry's word shows that.
 *   - Entries that are free are in lists, one for each of some CPUs, with a tag in the word that holds the first of them: an entry that was taken
 *     and given back in between is noticed.
 *
 * The includer has defined before
 *   struct sluice_connection *sluice_connection_at(__u32 id);	or 0
 *   __u64 *sluice_bucket_at(__u32 bucket);			or 0
 *   __u64 *sluice_free_at(__u32 list);				or 0
 *   struct sluice_pool *sluice_pool_here(void);		or 0
 */
#ifndef SLUICE_SHARED_CONNECTION_TABLE_H
#define SLUICE_SHARED_CONNECTION_TABLE_H
#include "connection.h"
#include "view.h"

#define SLUICE_CHAIN_MAX 32u   /* a longer chain takes no new entry: with a keyed hash none arises by chance */
#define SLUICE_TRIES 8u        /* how often another CPU may be faster before a packet is given up */
#define SLUICE_ENTER_TRIES 64u /* another CPU may be taking an entry out of the same chain */
#define SLUICE_LINK_TOO_FAR 0xffffffffu
#define SLUICE_LINK_ENTERED 0xffffffffu

/* What other CPUs write meanwhile. clang 14 and 19 have no atomic loads for BPF; the kernel's compare-and-swap orders everything. */
#ifdef __cplusplus
#define SLUICE_READ(x) __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define SLUICE_WRITE(x, value) __atomic_store_n(&(x), value, __ATOMIC_RELEASE)
#else
#define SLUICE_READ(x) (*(const volatile __typeof__(x) *)&(x))
#define SLUICE_WRITE(x, value) (*(volatile __typeof__(x) *)&(x) = (value))
#endif

/* A flow as five words of 64 bits. */
#define SLUICE_FLOW_WORDS 5u
typedef __u64 __attribute__((may_alias)) sluice_flow_word;

/* Multiply and fold. The key is the machine's own, so that no other host can make chains long. */
static inline __u32 sluice_flow_hash(const struct sluice_flow *flow, __u64 key)
{
	const sluice_flow_word *word = (const sluice_flow_word *)flow;
	__u64 hash = key;

#ifdef __clang__
#pragma unroll
#endif
	for (__u32 i = 0; i < SLUICE_FLOW_WORDS; i++) {
		hash = (hash ^ SLUICE_READ(word[i])) * 0x9fb21c651e98df25ull;
		hash ^= hash >> 32;
	}
	return (__u32)(hash ^ hash >> 29);
}

static inline int sluice_same_flow(const struct sluice_flow *a, const struct sluice_flow *b)
{
	const sluice_flow_word *x = (const sluice_flow_word *)a, *y = (const sluice_flow_word *)b;
	__u64 differs = 0;

#ifdef __clang__
#pragma unroll
#endif
	for (__u32 i = 0; i < SLUICE_FLOW_WORDS; i++)
		differs |= SLUICE_READ(x[i]) ^ SLUICE_READ(y[i]);
	return differs == 0;
}

/* Into an entry that others may still look at, because they were at it when it was another connection's. */
static inline void sluice_set_flow(struct sluice_flow *to, const struct sluice_flow *flow)
{
	sluice_flow_word *x = (sluice_flow_word *)to;
	const sluice_flow_word *y = (const sluice_flow_word *)flow;

#ifdef __clang__
#pragma unroll
#endif
	for (__u32 i = 0; i < SLUICE_FLOW_WORDS; i++)
		SLUICE_WRITE(x[i], y[i]);
}

static inline const struct sluice_flow *sluice_flow_of(const struct sluice_connection *entry, __u32 direction)
{
	return (const struct sluice_flow *)((const char *)entry + (direction & 1) * 64);
}

/* ------------------------------------------------------------------ free entries */

/* An entry that is no connection's, FREE, or 0 where there is none. `list`: the caller's CPU, any number. */
SLUICE_GLOBAL __u32 sluice_take_free(__u32 list)
{
	struct sluice_pool *pool = sluice_pool_here();
	__u32 fresh;

	for (__u32 turn = 0; turn < SLUICE_FREE_LISTS; turn++) {
		__u64 *first = sluice_free_at((list + turn) % SLUICE_FREE_LISTS);

		for (__u32 tries = 0; first && tries < SLUICE_TRIES; tries++) {
			__u64 word = SLUICE_READ(*first);
			struct sluice_connection *entry = (__u32)word ? sluice_connection_at((__u32)word) : 0;
			__u64 rest;

			if (!entry)
				break;
			rest = ((word >> 32) + 1) << 32 | SLUICE_READ(entry->next[0]);
			if (__sync_val_compare_and_swap(first, word, rest) == word)
				return (__u32)word;
		}
		/* The caller's own list is empty: rather an entry that was never used than another CPU's. */
		if (turn == 0 && pool && SLUICE_READ(pool->fresh) < SLUICE_READ(pool->end)) {
			fresh = __sync_fetch_and_add(&pool->fresh, 1);
			if (fresh < SLUICE_READ(pool->end))
				return fresh;
			__sync_fetch_and_sub(&pool->fresh, 1);
		}
	}
	return 0;
}

/* Whether it could be given back; where not, it is lost until the next sweep of FREE entries. */
SLUICE_GLOBAL int sluice_give_back(__u32 id, __u32 list)
{
	struct sluice_connection *entry = sluice_connection_at(id);
	__u64 *first = sluice_free_at(list % SLUICE_FREE_LISTS);

	if (!entry || !first)
		return 0;
	for (__u32 tries = 0; tries < 64; tries++) {
		__u64 word = SLUICE_READ(*first);

		SLUICE_WRITE(entry->next[0], (__u32)word);
		if (__sync_val_compare_and_swap(first, word, ((word >> 32) + 1) << 32 | id) == word)
			return 1;
	}
	return 0;
}

/* ------------------------------------------------------------------ finding */

static inline __u32 sluice_bucket_of(const struct sluice_flow *flow)
{
	const struct sluice_pool *pool = sluice_pool_here();

	return pool ? sluice_flow_hash(flow, pool->hash_key) & (pool->buckets - 1) : 0;
}

static inline __u32 sluice_follow(const struct sluice_flow *flow, __u32 link, __u64 *found)
{
	__u32 hop;

	for (hop = 0; hop < SLUICE_CHAIN_MAX && link; hop++) {
		struct sluice_connection *entry = sluice_connection_at(link >> 1);
		__u32 generation, phase;
		__u64 word;

		if (!entry)
			return 0;
		generation = sluice_generation(SLUICE_READ(entry->word));
		word = sluice_same_flow(sluice_flow_of(entry, link), flow) ? SLUICE_READ(entry->word) : 0;
		phase = sluice_phase(word);
		/* Its state may have changed meanwhile: it is the same connection nevertheless. */
		if ((phase == SLUICE_PHASE_LIVE || phase == SLUICE_PHASE_FRESH) &&
		    sluice_generation(word) == generation) {
			*found = word;
			return link;
		}
		link = SLUICE_READ(entry->next[link & 1]);
	}
	return hop < SLUICE_CHAIN_MAX ? 0 : SLUICE_LINK_TOO_FAR;
}

/* The link of the entry that has this flow, LIVE or FRESH, or 0. */
SLUICE_GLOBAL __u32 sluice_find(const struct sluice_flow *flow, struct sluice_search *search)
{
	__u64 *head;

	if (!flow || !search)
		return 0;
	search->link = 0;
	search->word = 0;
	search->head = SLUICE_BUCKET_TAKING; /* sluice_put() refuses it */
	search->bucket = sluice_bucket_of(flow);
	head = sluice_bucket_at(search->bucket);
	for (__u32 tries = 0; head && tries < SLUICE_TRIES; tries++) {
		__u64 before = SLUICE_READ(*head), word = 0;
		__u32 link = sluice_follow(flow, (__u32)before, &word);

		if (link && link != SLUICE_LINK_TOO_FAR) {
			search->link = link;
			search->word = word;
			return link;
		}
		if (SLUICE_READ(*head) != before)
			continue;
		if (!link)
			search->head = before;
		return 0;
	}
	return 0;
}

/* ------------------------------------------------------------------ putting in, taking out */

/* Puts a FRESH entry in front of the chain in which sluice_find() has just not found its flow. Whether nothing has happened since. */
static inline int sluice_put(__u32 link, const struct sluice_search *search)
{
	struct sluice_connection *entry = sluice_connection_at(link >> 1);
	__u64 *head = sluice_bucket_at(search->bucket);
	__u64 before = search->head;

	if (!entry || !head || (before & SLUICE_BUCKET_TAKING))
		return 0;
	SLUICE_WRITE(entry->next[link & 1], (__u32)before);
	return __sync_val_compare_and_swap(head, before, sluice_bucket_word(before, link)) == before;
}

/* Takes an entry out of one chain, if it is there. Only for code that has made it DYING, and may not be interrupted by other code that does
 * this. Not 0: it is not in that chain any more. 0: another CPU works on the chain; the entry stays, DYING, for the next sweep. */
SLUICE_GLOBAL int sluice_take_out(__u32 link)
{
	struct sluice_connection *gone = sluice_connection_at(link >> 1);
	__u32 at, after, found = 0;
	__u64 word = 0, *head;

	if (!gone)
		return 0;
	head = sluice_bucket_at(sluice_bucket_of(sluice_flow_of(gone, link)));
	if (!head)
		return 0;
	for (__u32 tries = 0; tries < 1024; tries++) {
		__u64 free = SLUICE_READ(*head) & ~SLUICE_BUCKET_TAKING;

		word = __sync_val_compare_and_swap(head, free, free | SLUICE_BUCKET_TAKING);
		found = word == free;
		if (found)
			break;
	}
	if (!found)
		return 0;
	after = SLUICE_READ(gone->next[link & 1]);
	at = (__u32)word;
	found = at == link;
	if (found)
		word = sluice_bucket_word(word, after);
	for (__u32 hop = 0; hop <= SLUICE_CHAIN_MAX && !found && at; hop++) {
		struct sluice_connection *entry = sluice_connection_at(at >> 1);

		if (!entry)
			break;
		if (SLUICE_READ(entry->next[at & 1]) == link) {
			SLUICE_WRITE(entry->next[at & 1], after);
			found = 1;
			word = sluice_bucket_word(word, (__u32)word);
		}
		at = SLUICE_READ(entry->next[at & 1]);
	}
	__sync_lock_test_and_set(head, word & ~SLUICE_BUCKET_TAKING);
	return 1;
}

SLUICE_GLOBAL __u32 sluice_enter_chain(__u32 link)
{
	struct sluice_connection *entry = sluice_connection_at(link >> 1);
	struct sluice_search search = { 0, 0, 0, 0 };
	struct sluice_flow flow;

	if (!entry)
		return 0;
	sluice_set_flow(&flow, sluice_flow_of(entry, link));
	for (__u32 tries = 0; tries < SLUICE_ENTER_TRIES; tries++) {
		__u32 there = sluice_find(&flow, &search);

		if (there)
			return there;
		if (sluice_put(link, &search))
			return SLUICE_LINK_ENTERED;
	}
	return 0;
}

/* Puts an entry that is filled and FRESH into its two chains. SLUICE_LINK_ENTERED; or the link of the entry that has one of its flows; or
 * 0 where others were faster too often. It may be in one of them then: the caller makes it DYING and lets it leave. */
static inline __u32 sluice_enter(__u32 id)
{
	/* Requests first: of two CPUs with the same new flow the slower one meets the other's entry, and not its replies. No packet uses
	 * either before the entry is LIVE. */
	__u32 link = sluice_enter_chain(id << 1);

	return link == SLUICE_LINK_ENTERED ? sluice_enter_chain(id << 1 | 1) : link;
}

/* Takes an entry that the caller has made DYING out of both chains. Whether it is in none any more; where not, it is to be tried again. */
static inline int sluice_leave(__u32 id)
{
	return sluice_take_out(id << 1) && sluice_take_out(id << 1 | 1);
}

#endif
