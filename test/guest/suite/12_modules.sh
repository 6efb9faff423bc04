#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A kernel without ip_vs, modules that cannot be loaded, a scheduler that is not there: what is said, and that loading works where it may.
set -u
rules=/etc/modprobe.d/sluice-test.conf
folder=$(mktemp -d)
ln -s "$SLUICE" "$folder/ipvsadm"
passed=0 failed=0
loaded=$(lsmod | awk '/^ip_vs/ { print $1 }')

# check WHAT STATUS PATTERN COMMAND...: its status, and a line of its output.
check() {
	local what=$1 wanted=$2 pattern=$3 status=0 output
	shift 3
	output=$("$@" 2>&1) || status=$?
	if [ "$status" -eq "$wanted" ] && grep -q -e "$pattern" <<<"$output"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'FAIL %s: status %s instead of %s, no line like "%s" in:\n%s\n' "$what" "$status" "$wanted" "$pattern" "$output"
	fi
}
unload() {
	local module
	for module in $(lsmod | awk '/^ip_vs_/ { print $1 }') ip_vs; do rmmod "$module" || echo "FAIL $module does not go"; done
}

unload
echo 'install ip_vs /bin/false' >"$rules"
check "forbidden by the operator" 2 'kernel module ip_vs cannot be loaded: ' "$folder/ipvsadm" -L
check "the original's words stay" 2 "^Can't initialize ipvs: Protocol not available$" "$folder/ipvsadm" --help
check "the kernel is named" 2 "this kernel ($(uname -r)) has no IP virtual server" "$folder/ipvsadm" -Ln
check "whoever is not root" 2 '^Can.t initialize ipvs: Permission denied (you must be root)$' \
	setpriv --reuid 65534 --clear-groups "$folder/ipvsadm" -L
check "an engine that is not built in" 2 "^the IPVS engine 'ebpf' is not built into this program$" "$folder/ipvsadm" --engine ebpf -L
rm "$rules"
check "loaded when it is needed" 0 '^IP Virtual Server version 1.2.1 (size=' "$folder/ipvsadm" -Ln
check "so are schedulers" 0 '' "$folder/ipvsadm" -A -t 10.0.0.1:80 -s mh
check "and persistence engines" 0 '' "$folder/ipvsadm" -A -u 10.0.0.1:5060 -p --pe sip
echo 'install ip_vs_lblc /bin/false' >"$rules"
check "a scheduler that may not be loaded" 255 '^Scheduler or persistence engine not found$' "$folder/ipvsadm" -A -t 10.0.0.1:81 -s lblc
check "what works goes on" 0 '^TCP  10.0.0.1:80 mh$' "$folder/ipvsadm" -Ln
rm "$rules"
"$folder/ipvsadm" -C
# shellcheck disable=SC2086 # one word each
modprobe -a ip_vs $loaded || failed=$((failed + 1))
rm -r "$folder"
echo "modules: $passed as wanted, $failed not"
[ "$failed" -eq 0 ]
