#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs every suite of test/guest/suite inside the guest, in the order of their names, and sums up.
#
#   SLUICE=PROGRAM SLUICE_BINARY_DIR=DIR test/guest/run.sh -- test/guest/suites.sh [PART-OF-A-NAME...]
#
# A suite is an executable file NN_name.sh or NN_name.py. It finds the program that is tested in $SLUICE, the folder of the build in
# $SLUICE_BINARY_DIR, and may leave files in $SLUICE_RESULTS; it leaves no namespace, process or rule behind. Its exit status says whether it
# passed; what it prints is shown. Each gets "ok NAME" or "FAILED NAME"; the last line is "N passed, N failed". No suite is a failure.
set -uo pipefail
cd "$(dirname "$0")" || exit 2
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
passed=0 failed=0
for suite in suite/*.sh suite/*.py; do
	[ -x "$suite" ] && echo "$suite"
done | sort | {
	while read -r suite; do
		name=$(basename "${suite%.*}")
		if [ $# -gt 0 ]; then
			chosen=
			for part in "$@"; do [[ $name == *"$part"* ]] && chosen=yes; done
			[ -n "$chosen" ] || continue
		fi
		echo "suite $name"
		began=$SECONDS
		if "$suite" </dev/null 2>&1; then
			passed=$((passed + 1)) && echo "ok $name ($((SECONDS - began)) s)"
		else
			failed=$((failed + 1)) && echo "FAILED $name ($((SECONDS - began)) s)"
		fi
	done
	echo "$passed passed, $failed failed"
	[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
