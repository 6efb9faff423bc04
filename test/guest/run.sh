#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs a command inside a QEMU guest with Debian's kernel, which has ip_vs, on this machine's own file system (read-only).
#
#   test/guest/run.sh [--seconds N] [--results DIR] -- COMMAND [ARGUMENT...]
#
# COMMAND is run as root by the guest's first process, with the modules of IPVS loaded, lo up, and a fresh /run. What it prints comes out
# here; files that it writes below $SLUICE_RESULTS come out in DIR; whatever else it writes stays in the guest's memory. The exit
# status is COMMAND's; 124 when the guest did not end in time (default 600 s). No KVM is used: about 10 s pass before COMMAND starts.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
seconds=600
results=
while [ $# -gt 0 ]; do
	case $1 in
	--seconds) seconds=$2; shift 2 ;;
	--results) results=$2; shift 2 ;;
	--) shift; break ;;
	*) echo "run.sh: unknown argument '$1'" >&2; exit 2 ;;
	esac
done
[ $# -gt 0 ] || { echo "run.sh: no command given" >&2; exit 2; }

kernel=$("$here/../../tools/setup/guest-kernel.sh" | tail -n 1)
work=$(mktemp -d "${TMPDIR:-/tmp}/sluice-guest.XXXXXX")
# shellcheck disable=SC2317 # the traps run it
stop_guest() { [ ! -s "$work/pid" ] || kill "$(cat "$work/pid")" 2>/dev/null || true; }
trap 'stop_guest; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM
mkdir "$work/out"
# The guest's console is a terminal to its programs; what comes out here may be none.
[ -t 1 ] || export NO_COLOR=1
{
	printf '#!/bin/bash\n'
	printf 'kernel=%q\nwork=%q\ndirectory=%q\n' "$kernel" "$work" "$PWD"
	printf 'command=('
	printf '%q ' "$@"
	printf ')\n'
	# What the caller wants its command to know.
	for name in NO_COLOR SLUICE SLUICE_BINARY_DIR SLUICE_SLOW SLUICE_TEST_MODE ASAN_OPTIONS UBSAN_OPTIONS GTEST_FILTER; do [ -z "${!name-}" ] || printf 'export %s=%q\n' "$name" "${!name}"; done
	cat "$here/inside.sh"
} >"$work/script"
chmod 755 "$work" "$work/script"

# No more processors than there are: emulated ones wait for each other. Without mitigations: they make every system call of an emulated kernel
# dear.
processors=$(($(nproc) > 1 ? 2 : 1))
status=0
# In the background, since bash runs no trap before a program in the foreground has ended.
timeout --foreground "$seconds" qemu-system-x86_64 -pidfile "$work/pid" -cpu max -smp "$processors" -m 2048 -nographic -no-reboot -monitor none -nic none -vga none \
	-kernel "$kernel/vmlinuz" -initrd "$kernel/initrd" \
	-virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
	-virtfs "local,path=$work/out,mount_tag=out,security_model=none" \
	-append "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off no5lvl sluice.script=$work/script" </dev/null |
	sed -u -n 's/\r$//; /sluice guest: start$/,/sluice guest: end$/{ /sluice guest: start$/d; /^sluice guest: end$/d; s/sluice guest: end$//; p }' &
wait $! || status=$?
if [ -n "$results" ]; then
	mkdir -p "$results"
	cp -r "$work/out/." "$results/"
fi
if [ "$status" -eq 124 ]; then
	echo "run.sh: the guest did not end within $seconds s" >&2
	exit 124
fi
[ -s "$work/out/.status" ] || { echo "run.sh: the guest ended before its command did" >&2; exit 125; }
exit "$(cat "$work/out/.status")"
