/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * For tests: a program that every kernel's verifier refuses. It reads a packet without having asked how long it is.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("tc")
int sluice_test_refused(struct __sk_buff *skb)
{
	return *(volatile char *)(long)skb->data;
}

char _license[] SEC("license") = "GPL";
