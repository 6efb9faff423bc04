#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Configures a preset of CMakePresets.json and builds targets of it.
#
#   tools/setup/build.sh PRESET TARGET...
#
# On a terminal Ninja shows its own progress line. Elsewhere a line every 20 s counts the steps, and the compilers' output is in
# build/PRESET/build.log; if a build fails, its failed steps are shown. NPROC is the number of jobs, by default one per processor.
# shellcheck source=tools/setup/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$(dirname "$0")/../.."

case ${1-} in -h | --help) usage; exit 0 ;; esac
[ $# -ge 2 ] || die "usage: build.sh PRESET TARGET... (see --help)"
preset=$1 jobs=${NPROC:-$(nproc)}
shift
log=build/$preset/build.log
program="build $preset"
mkdir -p "build/$preset"
writes_to=("build/$preset" "${TMPDIR:-/tmp}")
lock "build/$preset/build.lock" "building build/$preset"
: >"$log"

# Ninja prints "[STEP/STEPS] WHAT" for each step.
note_progress() { sed -n 's|^\[\([0-9]*/[0-9]*\)\].*|step \1|p' "$log" | tail -n 1; }
show_failure() {
	if grep -q '^FAILED: ' "$log"; then
		awk '/^FAILED: / { failed = 1 } /^\[/ { failed = 0 } failed && lines++ < 100' "$log"
	else
		tail -n 25 "$log"
	fi
}

run_logged "$log" "configuring build/$preset" cmake --preset "$preset" || end $?
if [ -t 1 ]; then
	say "building $* with $jobs jobs"
	cmake --build "build/$preset" --target "$@" --parallel "$jobs" || { explained=1; exit 1; }
else
	run_logged "$log" "building $* with $jobs jobs" cmake --build "build/$preset" --target "$@" --parallel "$jobs" || end $?
	say "built, $(note_progress)"
fi
