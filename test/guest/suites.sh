#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs suites of test/guest/suite inside the guest, one after the other in the order of their names, and sums up.
#
#   SLUICE=PROGRAM SLUICE_BINARY_DIR=DIR test/guest/run.sh -- test/guest/suites.sh [PART-OF-A-NAME...]
#
# A suite is an executable file NN_name.sh or NN_name.py. It finds the program that is tested in $SLUICE, the folder of the build in
# $SLUICE_BINARY_DIR, and may leave files in $SLUICE_RESULTS; it leaves no namespace, process or rule behind. It has the kernel for itself:
# network namespaces share ip_vs's table, so that a suite beside it would disturb its lists (side_by_side.py); what must run at the same
# time runs in its own guest. A suite passed if its exit status is 0: "ok NAME" or "FAILED NAME" follows what it printed. The last
# line is "N passed, N failed". No suite is a failure.
set -uo pipefail
cd "$(dirname "$0")" || exit 2
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
passed=0 failed=0

chosen() { # NAME PART...
	local name=$1 part
	shift
	[ $# -gt 0 ] || return 0
	for part in "$@"; do [[ $name == *"$part"* ]] && return 0; done
	return 1
}

printf '%s\n' suite/*.sh suite/*.py | sort >/run/suites
while read -r suite; do
	name=$(basename "$suite")
	if [ ! -x "$suite" ] || ! chosen "$name" "$@"; then continue; fi
	began=$SECONDS
	echo "suite ${name%.*}"
	if "$suite" </dev/null 2>&1; then
		verdict=ok passed=$((passed + 1))
	else
		verdict=FAILED failed=$((failed + 1))
	fi
	echo "$verdict ${name%.*} ($((SECONDS - began)) s)"
done </run/suites
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
