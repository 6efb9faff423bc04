#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs a command inside a QEMU guest with Debian's kernel, which has ip_vs, on this machine's own file system (read-only).
#
#   test/guest/run.sh [--seconds N] [--processors N] [--results DIR] -- COMMAND [ARGUMENT...]
#
# COMMAND is run as root by the guest's first process, with the modules of IPVS loaded, lo up, and a fresh /run. Its output appears
# here; files that it writes below $SLUICE_RESULTS appear in DIR; its other writes stay in the guest's memory. The exit
# status is COMMAND's; 124 when the guest did not end in time (default 600 s). No KVM is used: about 10 s pass before COMMAND starts. The
# guest has two processors by default.
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tools/setup/lib.sh
. "$here/../../tools/setup/lib.sh"
seconds=600
results=
# No more than the machine has: emulated ones wait for each other.
processors=$(($(nproc) > 1 ? 2 : 1))
while [ $# -gt 0 ]; do
	case $1 in
	--seconds | --processors | --results)
		[ $# -ge 2 ] || die_with 2 "$1 needs a value"
		case $1 in --seconds) seconds=$2 ;; --processors) processors=$2 ;; *) results=$2 ;; esac
		shift 2
		;;
	--) shift; break ;;
	-h | --help) usage; exit 0 ;;
	*) die_with 2 "unknown argument '$1' (see --help)" ;;
	esac
done
[ $# -gt 0 ] || die_with 2 "no command given (see --help)"
command -v qemu-system-x86_64 >/dev/null || die "no qemu-system-x86_64: run tools/setup/deps.sh guest as root first"

kernel=$("$here/../../tools/setup/guest-kernel.sh") || end $? # it has said why
kernel=${kernel##*$'\n'}
writes_to=("${TMPDIR:-/tmp}")
work=$(mktemp -d "${TMPDIR:-/tmp}/sluice-guest.XXXXXX")
# shellcheck disable=SC2317 # lib.sh calls it
clean_up() {
	[ ! -s "$work/pid" ] || kill "$(cat "$work/pid")" 2>/dev/null
	rm -rf "$work"
}
mkdir "$work/out"
# The guest's console is a terminal to its programs; our output may not be one.
[ -t 1 ] || export NO_COLOR=1
{
	printf '#!/bin/bash\n'
	printf 'kernel=%q\ndirectory=%q\n' "$kernel" "$PWD"
	printf 'command=('
	printf '%q ' "$@"
	printf ')\n'
	# Variables that the caller passes to its command.
	for name in NO_COLOR SLUICE SLUICE_BINARY_DIR SLUICE_SLOW SLUICE_TEST_MODE ASAN_OPTIONS UBSAN_OPTIONS GTEST_FILTER; do [ -z "${!name-}" ] || printf 'export %s=%q\n' "$name" "${!name}"; done
	cat "$here/inside.sh"
} >"$work/out/.script"
chmod 755 "$work" "$work/out/.script"

# shellcheck disable=SC2317 # await calls it
say_start() { [ -e "$work/out/.started" ] || say "the guest is starting: $SECONDS s"; }

status=0
# In the background, since bash runs no trap before a program in the foreground has ended. Without mitigations: they make every system call of
# an emulated kernel slow.
timeout --foreground "$seconds" qemu-system-x86_64 -pidfile "$work/pid" -cpu max -smp "$processors" -m 2048 -nographic -no-reboot -monitor none -nic none -vga none \
	-kernel "$kernel/vmlinuz" -initrd "$kernel/initrd" \
	-virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
	-virtfs "local,path=${work//,/,,}/out,mount_tag=out,security_model=none" \
	-append "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off no5lvl" </dev/null |
	sed -u -n 's/\r$//; /sluice guest: start$/,/sluice guest: end$/{ /sluice guest: start$/d; /^sluice guest: end$/d; s/sluice guest: end$//; p }' &
guest=$!
await "$guest" 20 say_start || status=$?
if [ -n "$results" ]; then
	rm -f "$work/out/.script" "$work/out/.started"
	mkdir -p "$results"
	cp -r "$work/out/." "$results/"
fi
if [ "$status" -eq 124 ]; then
	die_with 124 "the guest did not end within $seconds s"
fi
[ -s "$work/out/.status" ] || die_with 125 "the guest ended before its command did (QEMU's exit status is $status)"
explained=1 # what COMMAND printed
exit "$(cat "$work/out/.status")"
