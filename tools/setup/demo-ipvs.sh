#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The walkthrough's steps of mode ipvs by the kernel's engine where this machine's kernel has no ip_vs: in a QEMU guest with Debian's kernel.
#
#   tools/setup/demo-ipvs.sh SLUICE
#
# Does nothing if the kernel has ip_vs: `sluice lab walkthrough` has then shown these steps; otherwise it has shown them by the engine ebpf.
# shellcheck source=tools/setup/lib.sh
. "$(dirname "$0")/lib.sh"

[ $# -eq 1 ] || die "usage: demo-ipvs.sh SLUICE"
case $1 in -h | --help) usage; exit 0 ;; esac
[ -x "$1" ] || die "$1 is not a program"
[ "$(id -u)" -eq 0 ] || die "not root: the walkthrough makes network namespaces"
sluice=$(realpath "$1")
cd "$(dirname "$0")/../.."
if unshare --net "$sluice" ipvsadm --engine kernel -L -n >/dev/null 2>&1; then exit 0; fi
[ "$(uname -m)" = x86_64 ] || { say "this kernel has no ip_vs, and the guest that would show mode ipvs by it is only for x86-64"; exit 0; }
say "now mode ipvs by the kernel's ip_vs, which this kernel lacks: in a virtual machine with Debian's kernel, without KVM, so it takes a minute or two"
tools/setup/deps.sh guest || end $? # it has reported why
exec test/guest/run.sh --seconds 900 -- "$sluice" lab walkthrough --only-ipvs
