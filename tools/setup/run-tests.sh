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
# the processors. A failed test does not stop the run. The end of the output repeats the end of each failed test's, names them, and counts all
# ctest runs together: N passed, N failed.
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
reports=() # of ctest
others=()  # what failed and is no test
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

# Reads JUnit files of ctest. `count FILE`: how many tests passed, failed and were skipped. `failures FILE...`: the end of the output of each that
# failed, then their names. A test that could not be started has failed.
junit() {
	python3 - "$@" <<'PYTHON'
import sys, xml.etree.ElementTree

def verdict(case):
    status, reason = case.get("status"), case.find("skipped")
    if status == "run":
        return "passed"
    if status == "disabled" or (reason is not None and reason.get("message", "").startswith("SKIP_")):
        return "skipped"
    return "failed"

cases = [(case, path) for path in sys.argv[2:] for case in xml.etree.ElementTree.parse(path).iter("testcase")]
if sys.argv[1] == "count":
    verdicts = [verdict(case) for case, _ in cases]
    print(*(verdicts.count(each) for each in ("passed", "failed", "skipped")))
else:
    failed = [(case, f"{case.get('name')} ({path.rpartition('/')[2].split('-')[1]})") for case, path in cases if verdict(case) == "failed"]
    for case, name in failed:
        print(f"--- the end of {name}:")
        for line in (case.findtext("system-out") or "").splitlines()[-12:]:
            print(line[:200])
    for _, name in failed:
        print("failed:", name)
PYTHON
}

# suite PRESET WHAT OPTION...: one run of ctest, added to the sums.
suite() {
	local preset=$1 what=$2 status=0 run_passed=0 run_failed=0 run_skipped=0 report counts
	shift 2
	report=$PWD/build/ctest-$preset-${what// /-}.xml
	rm -f "$report"
	run "$suite_limit" "$what of build/$preset" ctest --test-dir "build/$preset" --output-on-failure --no-tests=error \
		--timeout "$test_limit" --output-junit "$report" -j "$jobs" "$@" || status=$?
	if [ -s "$report" ] && counts=$(junit count "$report"); then
		read -r run_passed run_failed run_skipped <<<"$counts"
		reports+=("$report")
	fi
	# ctest itself may fail: no tests, out of time.
	if [ "$status" -ne 0 ] && [ "$run_failed" -eq 0 ]; then run_failed=1 others+=("ctest: $what of build/$preset"); fi
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
	failed=$((failed + 1)) others+=("the build of Kubernetes")
	announce "no Kubernetes, so the cluster tests do not run: counted as one failure"
fi
join "$dev" "$dev_log" "build/dev" || end $?
dev=
suite dev "tests" -LE "^($without)\$"

announce "done"
[ "$skipped" -eq 0 ] || echo "$skipped skipped"
if [ "$failed" -gt 0 ]; then
	junit failures "${reports[@]}"
	for each in "${others[@]}"; do echo "failed: $each"; done
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] || end 1
