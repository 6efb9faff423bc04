# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What the scripts share that show something in a cluster of `sluice lab cluster`. They set $id and $sluice and call prepare.
# shellcheck disable=SC2154 # those two
# shellcheck source=tools/setup/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../setup/lib.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source=$(cd "$here/../.." && pwd)
patience=$((600 * ${SLUICE_SLOW:-1}))
work='' traffic='' failures=0

prepare() {
	[ "$(id -u)" -eq 0 ] || die "not root: a cluster is made of namespaces"
	work=$(mktemp -d "${TMPDIR:-/tmp}/sluice-$id.XXXXXX")
	cp -r "$source/deploy" "$work/deploy"
	"$sluice" lab cluster down --id "$id" >/dev/null # of a run that was killed
}
# shellcheck disable=SC2317 # setup/lib.sh calls it
clean_up() {
	[ -n "$work" ] || return 0
	[ -z "$traffic" ] || kill "$traffic" 2>/dev/null
	"$sluice" lab cluster down --id "$id" >/dev/null
	rm -rf "$work"
}

heading() { printf '\n== %s\n' "$*"; }
kubectl() { "$sluice" lab cluster kubectl --id "$id" -- "$@"; }
on_node() { "$sluice" lab cluster exec --id "$id" k8s-node1 -- "$@"; }
# typed HOST COMMAND...: what an operator types, and what it prints.
typed() {
	printf '\n%s# %s\n' "$1" "$(what=${*:2}; what=${what//"$work"\//}; echo "${what//"$source"\//}")"
	if [ "$1" = k8s-master ]; then "${@:2}"; else on_node "${@:2}"; fi
}
check() { # WHAT COMMAND...
	local what=$1
	shift
	if "$@" >/dev/null 2>&1; then printf '  ok: %s\n' "$what"; else
		printf '  NOT SO: %s\n' "$what"
		failures=$((failures + 1))
	fi
}
# until_so WHAT COMMAND...: waits until it succeeds
until_so() {
	local what=$1 deadline=$((SECONDS + patience))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $deadline ] || die "not within $patience s: $what"
		sleep 0.5
	done
}
rollout() { typed k8s-master kubectl -n kube-system rollout status daemonset/kube-proxy --timeout=${patience}s; }

# The Service web with its pods, and clients that use it from now on.
start_traffic() {
	typed k8s-master kubectl apply -f "$here/web.yaml"
	typed k8s-master kubectl rollout status deployment/web --timeout=${patience}s
	typed k8s-master kubectl rollout status deployment/visitor --timeout=${patience}s
	until_so "cluster DNS serves" kubectl wait deployment/cluster-dns -n kube-system --for=condition=Available --timeout=1s
	heading "Traffic from now on: a client outside (node ports), a pod (names and cluster IPs), connections that stay; IPv4 and IPv6"
	"$sluice" lab exec --id "$id" client -- python3 "$here/traffic.py" "$work/traffic.json" 192.168.231.122 31947 fd00:231::122 31946 &
	traffic=$!
	until_so "traffic flows" test -s "$work/traffic.json"
}
end_traffic() {
	local visitor summary
	heading "What the traffic saw"
	kill "$traffic"
	wait "$traffic" || failures=$((failures + 1))
	traffic=
	python3 "$here/traffic.py" --report "$work/traffic.json" || failures=$((failures + 1))
	for visitor in $(kubectl get pods -l app=visitor -o name); do
		summary=$(kubectl logs "$visitor" | awk '/^ok/ {ok++} /^FAILED/ {failed++} END {printf "%d answers, %d failures\n", ok, failed}')
		echo "  from $visitor to http://web and http://web6: $summary"
		check "every request of $visitor was answered" grep -qx '[1-9][0-9]* answers, 0 failures' <<<"$summary"
	done
}
# Removes everything and ends the script.
finish() {
	heading "Everything goes away"
	"$sluice" lab cluster down --id "$id"
	check "no network namespace, process, control group or file is left" sh -c \
		"! { ls -d /run/netns/sluice-$id-* /run/sluice-lab/$id /sys/fs/cgroup/*/sluice-$id /sys/fs/cgroup/sluice-$id; pgrep -f sluice-la[b]/$id/; } 2>/dev/null | grep ."
	printf '\n%s; %d s in all\n' "$([ $failures -eq 0 ] && echo "Everything was as it must be" || echo "$failures things were NOT as they must be")" $SECONDS
	[ $failures -eq 0 ] || end 1
}
