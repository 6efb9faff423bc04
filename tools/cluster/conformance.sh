#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Kubernetes' own tests of Services against a cluster with Sluice, mode by mode, and against the same cluster with the real kube-proxy.
#
#   tools/cluster/conformance.sh [--proxy NAME]... [--focus REGEX] [--jobs N] [--out DIR] SLUICE IMAGE
#
# NAME is iptables, ipvs or nftables, a mode of Sluice, or kube-proxy, the real one in mode iptables; without it, all four. SLUICE is the
# program, IMAGE the archive with its image (build/image/sluice.tar). Which tests are left out, and why, is in conformance.py, which also makes
# the page docs/conformance.md of the results of all four. N tests run at a time, by default 4: most of them
# wait. Results and logs are in DIR, by default build/conformance. The exit status is 0 if no test failed with Sluice alone, but
# those that fail on purpose (conformance.py).
# shellcheck source=tools/cluster/lib.sh
. "$(dirname "$0")/lib.sh"
proxies=() focus='\[sig-network\]' jobs=4 out=$source/build/conformance
while [ $# -gt 0 ]; do
	case $1 in
	--proxy | --focus | --jobs | --out)
		[ $# -ge 2 ] || die_with 2 "$1 needs a value"
		case $1 in
		--proxy) proxies+=("$2") ;;
		--focus) focus=$2 ;;
		--jobs) jobs=$2 ;;
		--out) out=$(realpath -m "$2") ;;
		esac
		shift 2
		;;
	-h | --help) usage; exit 0 ;;
	-*) die_with 2 "unknown argument '$1' (see --help)" ;;
	*) break ;;
	esac
done
[ $# -eq 2 ] || die_with 2 "usage: conformance.sh [--proxy NAME]... [--focus REGEX] [--jobs N] [--out DIR] SLUICE IMAGE"
[[ $jobs =~ ^[1-9][0-9]?$ ]] || die_with 2 "--jobs takes a number from 1 to 99, not '$jobs'"
[ ${#proxies[@]} -gt 0 ] || proxies=(kube-proxy iptables ipvs nftables)
for proxy in "${proxies[@]}"; do
	case $proxy in iptables | ipvs | nftables | kube-proxy) ;; *) die_with 2 "--proxy takes iptables, ipvs, nftables or kube-proxy, not '$proxy'" ;; esac
done
sluice=$(realpath "$1") image=$(realpath "$2")
readonly id=conformance

programs=$("$source/tools/setup/cluster.sh" --with e2e-network --with regression-issue-74839) || end $?
programs=${programs##*$'\n'}
skip=$("$here/conformance.py" skip) || end $?
prepare

# Some tests first ask google.com, and give up where it does not answer, although they never use the Internet. Any answer will do: a server on
# k8s-master is their proxy for plain HTTP outside of the cluster.
readonly web_port=3128
outside=(env "http_proxy=http://127.0.0.1:$web_port" "no_proxy=127.0.0.0/8,10.0.0.0/8,192.168.0.0/16,::1,fd00::/8,localhost")
serve_outside() {
	"$sluice" lab exec --id $id k8s-master -- "$here/conformance.py" outside $web_port >/dev/null 2>&1 </dev/null &
	until_so "the server for what lies outside answers" "$sluice" lab exec --id $id k8s-master -- "${outside[@]}" curl -fsS http://outside.example/
}

# run_tests PROXY NAME FOCUS SKIP N: the tests that FOCUS names and SKIP does not, N at a time; a line for each test in $out/PROXY/NAME.*.jsonl.
run_tests() {
	local folder=$out/$1 each runs=()
	for ((each = 1; each <= $5; each++)); do
		"$sluice" lab exec --id $id k8s-master -- "${outside[@]}" "$programs/e2e-network" --kubeconfig "/run/sluice-lab/$id/cluster/admin.kubeconfig" \
			--kubectl-path "$programs/kubectl" --provider skeleton --ginkgo.noColor --ginkgo.focus "$3" --ginkgo.skip "$4" \
			--ginkgo.parallel.total "$5" --ginkgo.parallel.node "$each" --results "$folder/$2.$each.jsonl" \
			>"$folder/$2.$each.log" 2>&1 </dev/null &
		runs+=($!)
	done
	while kill -0 "${runs[@]}" 2>/dev/null; do
		sleep 20
		say "$1: $(cat "$folder"/*.jsonl | awk '/"outcome":"failed"/ { failed++ } END { printf "%d tests are over, %d failed", NR, failed }')"
	done
	wait "${runs[@]}" || true # a test that fails is in the results
}

for proxy in "${proxies[@]}"; do
	heading "$proxy: a cluster of two nodes"
	rm -rf "${out:?}/$proxy"
	mkdir -p "$out/$proxy"
	started=$SECONDS
	"$sluice" lab cluster up --id $id --nodes 2 --image "$image" | sed '/^cluster/s/\. .*/./; /^  sluice/d'
	if [ "$proxy" = kube-proxy ]; then
		kubectl apply -f "$here/kube-proxy.yaml" >/dev/null
	else
		kubectl -n kube-system get configmap kube-proxy -o yaml | sed "s/^\\( *mode:\\).*/\\1 \"$proxy\"/" | kubectl replace -f - >/dev/null
		kubectl apply -k "$work/deploy/base" >/dev/null
		kubectl -n kube-system patch daemonset kube-proxy --patch-file "$work/deploy/$proxy/privileges.yaml" >/dev/null
	fi
	rollout
	until_so "cluster DNS serves" kubectl wait deployment/cluster-dns -n kube-system --for=condition=Available --timeout=1s
	serve_outside
	run_tests "$proxy" parallel "$focus" "$skip|\[Serial\]" "$jobs"
	run_tests "$proxy" serial "($focus).*\[Serial\]" "$skip" 1
	kubectl -n kube-system logs -l k8s-app=kube-proxy --tail=-1 >"$out/$proxy/proxy.log"
	"$sluice" lab cluster down --id $id >/dev/null
	say "$proxy: done in $((SECONDS - started)) s"
	"$here/conformance.py" summary "$out" "$proxy"
done
"$here/conformance.py" verdict "$out" "${proxies[@]}" || end 1
