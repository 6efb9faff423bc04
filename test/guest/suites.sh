#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs every suite of test/guest/suite inside the guest, in the order of their names, and sums up.
#
#   SLUICE=PROGRAM SLUICE_BINARY_DIR=DIR test/guest/run.sh -- test/guest/suites.sh [PART-OF-A-NAME...]
#
# A suite is an executable file NN_name.sh or NN_name.py. It finds the program that is tested in $SLUICE, the folder of the build in
# $SLUICE_BINARY_DIR, and may leave files in $SLUICE_RESULTS; it leaves no namespace, process or rule behind. Those below 20 run alone, the
# others in two lanes that take about the same time, beside each other. Its exit status says whether a suite passed; what it printed is
# shown when it has ended, then "ok NAME" or "FAILED NAME"; the last line is "N passed, N failed". No suite is a failure.
set -uo pipefail
cd "$(dirname "$0")" || exit 2
export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
folder=$(mktemp -d)

chosen() { # NAME PART...
	local name=$1 part
	shift
	[ $# -gt 0 ] || return 0
	for part in "$@"; do [[ $name == *"$part"* ]] && return 0; done
	return 1
}

lane() { # SUITE...: one after the other
	local suite name began verdict
	for suite in "$@"; do
		name=$(basename "${suite%.*}") began=$SECONDS verdict=ok
		"$suite" </dev/null >"$folder/$name.out" 2>&1 || verdict=FAILED
		touch "$folder/$name.$verdict"
		flock "$folder" cat - "$folder/$name.out" <<<"suite $name"
		echo "$verdict $name ($((SECONDS - began)) s)"
	done
}

alone=() first=() second=()
for suite in suite/*.sh suite/*.py; do
	name=$(basename "$suite")
	if [ ! -x "$suite" ] || ! chosen "$name" "$@"; then continue; fi
	case $name in
	[01]*) alone+=("$suite") ;;
	20_* | 55_*) first+=("$suite") ;;
	*) second+=("$suite") ;;
	esac
done
lane "${alone[@]}"
lane "${first[@]}" &
lane "${second[@]}"
wait
passed=$(find "$folder" -name '*.ok' | wc -l)
failed=$(find "$folder" -name '*.FAILED' | wc -l)
rm -r "$folder"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
