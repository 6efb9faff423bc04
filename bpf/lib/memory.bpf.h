/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * The maps that schedulers read, and the three names under which bpf/shared/schedule.h knows them.
 */
#ifndef SLUICE_LIB_MEMORY_H
#define SLUICE_LIB_MEMORY_H
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

#include "../shared/view.h"

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

/* In .bss, which anybody may write as far as the verifier knows. */
static volatile __u32 sluice_zero_word;

static __always_inline __u32 sluice_zero(void)
{
	return sluice_zero_word;
}

static __always_inline long sluice_loop(__u32 rounds, long (*step)(__u32 round, void *context), void *context)
{
	return bpf_loop(rounds, step, context, 0);
}

#endif
