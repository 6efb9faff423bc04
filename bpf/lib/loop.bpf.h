/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What bpf/shared requires of its includer for loops, in the kernel.
 */
#ifndef SLUICE_LIB_LOOP_H
#define SLUICE_LIB_LOOP_H
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

/* In .bss, which any program may write as far as the verifier knows. */
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
