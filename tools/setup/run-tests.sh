#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs all tests, from a bare Debian 12 on: `make test` is this.
#
#   tools/setup/run-tests.sh
#
# Installs what is missing, builds Kubernetes for the cluster tests in the background, builds Sluice as release and as dev
# (with sanitizers), and runs ctest in both: in dev all but the tests labelled `guest` and `cluster`; then those labelled `guest`, in a
# virtual machine, with the release build; then `cluster` in both, once Kubernetes is there. A failed test does not stop the run. The last line counts all ctest runs together: N passed, N failed.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tools/setup/lib.sh
. tools/setup/lib.sh

readonly build_limit=3600 suite_limit=1800 test_limit=900 # seconds
readonly kubernetes_log=build/kubernetes.log
jobs=${NPROC:-$(nproc)}
passed=0 failed=0 skipped=0
kubernetes='' current='' beat=''

announce() { printf '=== [%d:%02d] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"; }

# run LIMIT WHAT COMMAND...: says what it does before and every 30 s, ends it after LIMIT seconds; COMMAND's status.
run() {
	local limit=$1 what=$2 status=0
	shift 2
	announce "$what"
	timeout --kill-after=30 "$limit" "$@" </dev/null &
	current=$!
	(while sleep 30 >/dev/null 2>&1; do announce "still at: $what"; done) &
	beat=$!
	wait "$current" || status=$?
	current=
	kill "$beat" 2>/dev/null || true
	wait "$beat" 2>/dev/null || true
	beat=
	case $status in
	0) ;;
	124 | 137) announce "ENDED after $limit s: $what" ;;
	*) announce "FAILED ($status): $what" ;;
	esac
	return "$status"
}

clean_up() {
	local pid
	for pid in $current $beat $kubernetes; do kill -TERM "$pid" 2>/dev/null || true; done
	wait
}

# Passed, failed and skipped tests of a JUnit file of ctest. A test that could not be started has failed.
count() {
	python3 - "$1" <<'PYTHON'
import sys, xml.etree.ElementTree
count = {"passed": 0, "failed": 0, "skipped": 0}
for case in xml.etree.ElementTree.parse(sys.argv[1]).iter("testcase"):
    status, reason = case.get("status"), case.find("skipped")
    if status == "run":
        verdict = "passed"
    elif status == "disabled" or (reason is not None and reason.get("message", "").startswith("SKIP_")):
        verdict = "skipped"
    else:
        verdict = "failed"
    count[verdict] += 1
print(*count.values())
PYTHON
}

# suite PRESET WHAT OPTION...: one run of ctest, added to the sums.
suite() {
	local preset=$1 what=$2 status=0 run_passed=0 run_failed=0 run_skipped=0 junit
	shift 2
	junit=$PWD/build/ctest-$preset-${what// /-}.xml
	rm -f "$junit"
	run "$suite_limit" "$what of build/$preset" ctest --test-dir "build/$preset" --output-on-failure --no-tests=error \
		--timeout "$test_limit" --output-junit "$junit" "$@" || status=$?
	if [ -s "$junit" ]; then read -r run_passed run_failed run_skipped < <(count "$junit"); fi
	# ctest itself may fail: no tests, out of time.
	[ "$status" -eq 0 ] || [ "$run_failed" -gt 0 ] || run_failed=1
	passed=$((passed + run_passed)) failed=$((failed + run_failed)) skipped=$((skipped + run_skipped))
	announce "$what of build/$preset: $run_passed passed, $run_failed failed, $run_skipped skipped"
}

# build PRESET TARGET
build() {
	local preset=$1
	run "$build_limit" "configuring build/$preset" cmake --preset "$preset"
	run "$build_limit" "building $2 of build/$preset with $jobs jobs" cmake --build "build/$preset" --target "$2" --parallel "$jobs"
}

start_kubernetes() {
	announce "Kubernetes 1.20.2 for the cluster tests: building in the background unless cached (log: $kubernetes_log)"
	nice -n 10 tools/setup/kubernetes.sh </dev/null >/dev/null 2>"$kubernetes_log" &
	kubernetes=$!
}

join_kubernetes() {
	local status=0
	run "$build_limit" "waiting for Kubernetes" tail -n 1 -f --pid="$kubernetes" "$kubernetes_log" || return
	wait "$kubernetes" || status=$?
	kubernetes=
	return "$status"
}

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM

announce "installing the Debian packages that are missing"
tools/setup/deps.sh build test
mkdir -p build
start_kubernetes
# The release binary is what the cluster and guest tests run besides; every other test program is built with the sanitizers only.
build release sluice
build release ipvs_kernel_contract_test
build dev all
suite dev "tests" -LE '^(cluster|guest)$' -j2
if [ "$(uname -m)" = x86_64 ]; then
	suite release "guest tests" -L '^guest$'
else
	announce "the guest with ip_vs is for x86-64 alone: its tests are left out"
fi
if join_kubernetes; then
	suite release "cluster tests" -L '^cluster$'
	suite dev "cluster tests" -L '^cluster$'
else
	failed=$((failed + 1))
	tail -n 25 "$kubernetes_log"
	announce "no Kubernetes, so the cluster tests did not run: counted as one failure"
fi

announce "done"
[ "$skipped" -eq 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
