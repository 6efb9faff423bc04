#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The BPF programs on the oldest kernel that they are for: its verifier must take them, and they must do there what they do elsewhere.
set -e
"$SLUICE_BINARY_DIR/src/sys/sys_bpf_test" --gtest_brief=1
"$SLUICE_BINARY_DIR/src/ipvs/ebpf/ipvs_ebpf_kernel_test" --gtest_brief=1
# Each loads the engine's programs, which takes an emulated processor ten seconds and more: one test of each kind of traffic.
exec "$SLUICE_BINARY_DIR/src/ipvs/ebpf/ipvs_ebpf_traffic_test" --gtest_brief=1 \
	--gtest_filter='Packet.OfAVirtualServer*:Traffic.Tcp*:Traffic.TheNodes*:Errors.PathMtu*:Persistence.AClient*'
