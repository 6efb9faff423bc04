/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Every map of the engine (bpf/shared/lb_maps.h defines what is in them), and the names that bpf/shared has for them.
 */
#ifndef SLUICE_LIB_TABLES_H
#define SLUICE_LIB_TABLES_H
#include "../shared/lb_maps.h"
#include "loop.bpf.h"

static __always_inline int sluice_load(void *packet, __u32 offset, void *to, __u32 size)
{
	return (int)bpf_skb_load_bytes(packet, offset, to, size);
}

/* After it: it needs it. */
#include "../shared/packet.h"

/* A table in chunks. The inner maps are made by user space. */
#define SLUICE_CHUNKED(name, element)                                \
	struct {                                                     \
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);            \
		__uint(max_entries, SLUICE_CHUNKS_MAX);              \
		__type(key, __u32);                                  \
		__array(                                             \
			values, struct {                             \
				__uint(type, BPF_MAP_TYPE_ARRAY);    \
				__uint(map_flags, BPF_F_MMAPABLE);   \
				__uint(max_entries, SLUICE_CHUNK);   \
				__uint(key_size, sizeof(__u32));     \
				__uint(value_size, sizeof(element)); \
			});                                          \
	} name SEC(".maps")

SLUICE_CHUNKED(sluice_line, struct sluice_line);
SLUICE_CHUNKED(sluice_cell, struct sluice_cell);
SLUICE_CHUNKED(sluice_real, struct sluice_real);
SLUICE_CHUNKED(sluice_count, struct sluice_count);
SLUICE_CHUNKED(sluice_estimate, struct sluice_estimate);
SLUICE_CHUNKED(sluice_service, struct sluice_service);
SLUICE_CHUNKED(sluice_connection, struct sluice_connection);

#define SLUICE_SINGLE(name, element, count)        \
	struct {                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);  \
		__uint(map_flags, BPF_F_MMAPABLE); \
		__uint(max_entries, count);        \
		__type(key, __u32);                \
		__type(value, element);            \
	} name SEC(".maps")

SLUICE_SINGLE(sluice_settings, struct sluice_settings, 1);
SLUICE_SINGLE(sluice_pool, struct sluice_pool, 1);
SLUICE_SINGLE(sluice_bucket, __u64, 1024); /* sized between open and load */
SLUICE_SINGLE(sluice_free, __u64, SLUICE_FREE_LISTS);
SLUICE_SINGLE(sluice_drop, __u64, SLUICE_DROPS_MAX);
SLUICE_SINGLE(sluice_known, __u64, SLUICE_KNOWN_WORDS);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SLUICE_SERVICES_MAX);
	__type(key, struct sluice_service_key);
	__type(value, __u32);
} sluice_service_id SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SLUICE_SERVICES_MAX);
	__type(key, struct sluice_service_key);
	__type(value, struct sluice_rule);
} sluice_rule SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SLUICE_ALLOWED_MAX);
	__type(key, struct sluice_allowed_key);
	__type(value, __u32);
} sluice_allowed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SLUICE_DEVICES_MAX);
	__type(key, __u32);
	__type(value, struct sluice_device);
} sluice_device SEC(".maps");

/* LRU: a destination that is not used makes room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SLUICE_DESTINATIONS_MAX);
	__type(key, struct sluice_destination_key);
	__type(value, struct sluice_destination_set);
} sluice_destination SEC(".maps");

/* The oldest ones are forgotten when it is full: they are of a moment only. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SLUICE_FRAGMENTS_MAX);
	__type(key, struct sluice_fragment_key);
	__type(value, struct sluice_fragment);
} sluice_fragment SEC(".maps");

struct sluice_timer {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_timer);
} sluice_timer SEC(".maps");

/* The packet that this CPU works on: too large for the stack. No program of ours is interrupted by another of them. Not kept beyond
 * its program, so another version may need more of it. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_packet);
} sluice_packet SEC(".maps");

#define SLUICE_CHUNKED_AT(name, element)                                                \
	static __always_inline element *name##_at(__u32 id)                             \
	{                                                                               \
		__u32 chunk = id >> SLUICE_CHUNK_BITS, place = id & (SLUICE_CHUNK - 1); \
		void *inner = bpf_map_lookup_elem(&name, &chunk);                       \
                                                                                        \
		return inner ? bpf_map_lookup_elem(inner, &place) : 0;                  \
	}

SLUICE_CHUNKED_AT(sluice_cell, struct sluice_cell)
SLUICE_CHUNKED_AT(sluice_real, struct sluice_real)
SLUICE_CHUNKED_AT(sluice_count, struct sluice_count)
SLUICE_CHUNKED_AT(sluice_estimate, struct sluice_estimate)
SLUICE_CHUNKED_AT(sluice_service, struct sluice_service)
SLUICE_CHUNKED_AT(sluice_connection, struct sluice_connection)
SLUICE_CHUNKED_AT(sluice_line, const struct sluice_line)

static __always_inline __u64 *sluice_bucket_at(__u32 bucket)
{
	return bpf_map_lookup_elem(&sluice_bucket, &bucket);
}

static __always_inline __u64 *sluice_free_at(__u32 list)
{
	return bpf_map_lookup_elem(&sluice_free, &list);
}

static __always_inline struct sluice_pool *sluice_pool_here(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&sluice_pool, &zero);
}

static __always_inline struct sluice_settings *sluice_settings_here(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&sluice_settings, &zero);
}

static __always_inline struct sluice_packet *sluice_packet_here(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&sluice_packet, &zero);
}

/* After these: it needs them. */
#include "../shared/connection_table.h"

#endif
