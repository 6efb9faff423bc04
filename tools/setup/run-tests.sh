#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Runs all tests, from a bare Debian 12 on: `make test` is this.
#
#   tools/setup/run-tests.sh
#
# Installs what is missing and builds Sluice as release and as dev (with sanitizers). ctest runs in both. In release, while dev is built: the
# tests labelled `portable`, of the release program, `guest`, in a virtual machine, and `setup`, which need no build and mostly wait; then
# `cluster`, with Kubernetes' programs. In dev: all but `guest` and `setup`. Kubernetes is built in the background, with what the rest leaves of
# the processors. A failed test does not stop the run. The last line counts all ctest runs together: N passed, N failed.
# shellcheck source=tools/setup/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$(dirname "$0")/../.."
[ $# -eq 0 ] || case $1 in -h | --help) usage; exit 0 ;; *) die "unknown argument '$1' (see --help)" ;; esac
[ "$(id -u)" -eq 0 ] || die "not root: the tests make network namespaces"

# Seconds, for what hangs: a busy machine takes many times what a quiet one does.
readonly build_limit=10800 suite_limit=7200 test_limit=1800
readonly kubernetes_log=build/kubernetes.log dev_log=build/dev.log
jobs=$((${NPROC:-$(nproc)} + 1)) # one more than processors: many tests wait most of their time
readonly jobs
passed=0 failed=0 skipped=0
kubernetes='' dev='' current=''

announce() { printf '=== [%d:%02d] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"; }

# run LIMIT WHAT COMMAND...: prints what it does before and, unless $speaks is set, every 30 s; ends it after LIMIT seconds; COMMAND's status.
speaks='' # set for a command that reports its own progress
run() {
	local limit=$1 what=$2 status=0
	shift 2
	announce "$what"
	setpriv --pdeathsig TERM timeout --kill-after=30 "$limit" "$@" </dev/null &
	current=$!
	if [ -n "$speaks" ]; then
		wait "$current" || status=$?
	else
		await "$current" 30 announce "still at: $what" || status=$?
	fi
	current=
	case $status in
	0) ;;
	124 | 137) announce "ENDED after $limit s: $what" ;;
	*) announce "FAILED ($status): $what" ;;
	esac
	return "$status"
}

# shellcheck disable=SC2317 # lib.sh calls it
clean_up() {
	local pid
	for pid in $current $kubernetes $dev; do kill -TERM "$pid" 2>/dev/null || true; done
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
		--timeout "$test_limit" --output-junit "$junit" -j "$jobs" "$@" || status=$?
	if [ -s "$junit" ]; then read -r run_passed run_failed run_skipped < <(count "$junit"); fi
	# ctest itself may fail: no tests, out of time.
	[ "$status" -eq 0 ] || [ "$run_failed" -gt 0 ] || run_failed=1
	passed=$((passed + run_passed)) failed=$((failed + run_failed)) skipped=$((skipped + run_skipped))
	announce "$what of build/$preset: $run_passed passed, $run_failed failed, $run_skipped skipped"
}

# start NICENESS LOG COMMAND...: in the background; its pid is $!.
start() {
	local niceness=$1 log=$2
	shift 2
	nice -n "$niceness" setpriv --pdeathsig TERM timeout --kill-after=30 "$build_limit" "$@" </dev/null >"$log" 2>&1 &
}

# join PID LOG WHAT: waits for what start started; its status.
join() {
	local status=0
	speaks=1 run "$build_limit" "waiting for $3" tail -n 1 -f --pid="$1" "$2" || return
	wait "$1" || status=$?
	[ "$status" -eq 0 ] || tail -n 100 "$2"
	return "$status"
}

announce "installing the Debian packages that are missing"
tools/setup/deps.sh build test || end $? # it has reported why
mkdir -p build
writes_to=(build "${TMPDIR:-/tmp}")
announce "Kubernetes 1.20.2 for the cluster tests: building in the background unless cached (log: $kubernetes_log)"
start 19 "$kubernetes_log" tools/setup/kubernetes.sh
kubernetes=$!
# The release binary is what the cluster and guest tests run besides; every other test program is built with the sanitizers only.
speaks=1 run "$build_limit" "building build/release" tools/setup/build.sh release sluice ipvs_kernel_contract_test ipvs_ebpf_kernel_test ipvs_ebpf_traffic_test sys_bpf_test || end $?
announce "build/dev: building in the background (log: $dev_log)"
start 15 "$dev_log" tools/setup/build.sh dev all
dev=$!
if [ "$(uname -m)" = x86_64 ]; then
	suite release "guest and setup tests" -L '^(guest|portable|setup)$'
else
	announce "the guest with ip_vs is for x86-64 alone: its tests are left out"
	suite release "setup tests" -L '^(portable|setup)$'
fi
without='guest|setup' # the labels that the dev build does not run
if join "$kubernetes" "$kubernetes_log" "Kubernetes"; then
	kubernetes=
	suite release "cluster tests" -L '^cluster$'
else
	kubernetes=
	without+='|cluster'
	failed=$((failed + 1))
	announce "no Kubernetes, so the cluster tests do not run: counted as one failure"
fi
join "$dev" "$dev_log" "build/dev" || end $?
dev=
suite dev "tests" -LE "^($without)\$"

announce "done"
[ "$skipped" -eq 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] || end 1
