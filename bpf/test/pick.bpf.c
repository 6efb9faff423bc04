/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * For tests: one choice, as a packet's program makes it, so that the kernel's run of bpf/shared/schedule.h can be compared with
 * the same C in a process.
 */
#include "../lib/memory.bpf.h"

#include "../shared/schedule.h"
#include "pick.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct sluice_test_pick);
} sluice_test_pick SEC(".maps");

static __always_inline struct sluice_test_pick *sluice_the_pick(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&sluice_test_pick, &zero);
}

SEC("tc")
int sluice_test_pick_any(struct __sk_buff *skb)
{
	struct sluice_test_pick *pick = sluice_the_pick();
	struct sluice_ask ask;
	__u64 cursor;

	(void)skb;
	if (!pick)
		return 1;
	ask = pick->ask;
	cursor = pick->cursor;
	pick->id = sluice_pick(pick->view, &ask, &cursor);
	pick->cursor = cursor;
	return 0;
}

SEC("tc")
int sluice_test_pick_lblc(struct __sk_buff *skb)
{
	struct sluice_test_pick *pick = sluice_the_pick();

	(void)skb;
	if (!pick)
		return 1;
	pick->id = sluice_pick_lblc(pick->view, pick->remembered);
	return 0;
}

SEC("tc")
int sluice_test_pick_lblcr(struct __sk_buff *skb)
{
	struct sluice_test_pick *pick = sluice_the_pick();

	(void)skb;
	if (!pick)
		return 1;
	pick->id = sluice_pick_lblcr(pick->view, &pick->set, pick->now_s, pick->expiration_s);
	return 0;
}

char _license[] SEC("license") = "GPL";
