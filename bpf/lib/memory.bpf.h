/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * For tests of the schedulers alone: what they read, in two plain arrays (the engine has them in chunks: tables.bpf.h).
 */
#ifndef SLUICE_LIB_MEMORY_H
#define SLUICE_LIB_MEMORY_H
#include "../shared/view.h"
#include "loop.bpf.h"

/* Sizes are set between open and load. BPF_F_MMAPABLE: user space writes a million real servers in the time of some
 * hundred system calls, and reads them without any. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_line);
} sluice_line SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sluice_cell);
} sluice_cell SEC(".maps");

static __always_inline const struct sluice_line *sluice_line_at(__u32 line)
{
	return bpf_map_lookup_elem(&sluice_line, &line);
}

static __always_inline struct sluice_cell *sluice_cell_at(__u32 id)
{
	return bpf_map_lookup_elem(&sluice_cell, &id);
}

#endif
