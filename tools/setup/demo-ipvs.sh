#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The walkthrough's steps of mode ipvs where this machine's kernel has no ip_vs: in a QEMU guest with Debian's kernel.
#
#   tools/setup/demo-ipvs.sh SLUICE
#
# Does nothing where the kernel has ip_vs: `sluice lab walkthrough` has shown these steps then.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tools/setup/lib.sh
. tools/setup/lib.sh

sluice=$1
if unshare --net "$sluice" ipvsadm --engine kernel -L -n >/dev/null 2>&1; then exit 0; fi
[ "$(uname -m)" = x86_64 ] || { say "this kernel has no ip_vs, and the guest that would show mode ipvs is for x86-64 alone"; exit 0; }
say "this kernel has no ip_vs: mode ipvs is shown in a virtual machine with Debian's kernel, without KVM, so it takes a minute or two"
tools/setup/deps.sh guest
exec test/guest/run.sh --seconds 900 -- "$sluice" lab walkthrough --only-ipvs
