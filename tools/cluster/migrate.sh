#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# docs/migrate.md, typed step by step in a real cluster that starts with the real kube-proxy 1.20.2, with traffic all the while.
#
#   tools/cluster/migrate.sh SLUICE IMAGE
#
# SLUICE is the program, IMAGE the archive with its image (build/image/sluice.tar). The exit status is 0 if no request failed, and nothing is left.
# shellcheck source=tools/cluster/lib.sh
. "$(dirname "$0")/lib.sh"
case ${1-} in -h | --help) usage; exit 0 ;; esac
[ $# -eq 2 ] || die_with 2 "usage: migrate.sh SLUICE IMAGE"
sluice=$(realpath "$1") image=$(realpath "$2")
readonly id=migrate
prepare
readonly ours=localhost/sluice:0.1.0 theirs=k8s.gcr.io/kube-proxy:v1.20.2

run_by() { kubectl -n kube-system get pods -l k8s-app=kube-proxy -o jsonpath='{.items[*].spec.containers[*].image}'; }
# Whether all pods run that image: those of a DaemonSet that was replaced take a moment to end.
runs_only() { local all; all=$(run_by) && [ -n "$all" ] && ! tr ' ' '\n' <<<"$all" | grep -qvxF "$1"; }
# Every pod of the DaemonSet runs this image and logs the mode.
serves() {
	local image=$1 each
	rollout
	until_so "the pods of another image have ended" runs_only "$image"
	for each in $(run_by); do check "a node's proxy is $each" test "$each" = "$image"; done
	for each in $(kubectl -n kube-system get pods -l k8s-app=kube-proxy --field-selector status.phase=Running -o name); do
		check "$each says: Using iptables Proxier" says "$each" "Using iptables Proxier"
	done
}
says() { kubectl -n kube-system logs "$1" | grep -- "$2" >/dev/null; }

heading "A cluster with kube-proxy 1.20.2, as kubeadm deploys it"
"$sluice" lab cluster up --id $id --image "$image" | sed '/^cluster/s/\. .*/./; /^  sluice/d'
typed k8s-master kubectl apply -f "$here/kube-proxy.yaml"
serves $theirs
start_traffic
kubectl -n kube-system get daemonset/kube-proxy configmap/kube-proxy -o yaml >"$work/kube-proxy-before.yaml"

heading "The image alone"
typed k8s-master kubectl -n kube-system set image daemonset/kube-proxy kube-proxy=$ours
serves $ours
heading "The way back"
typed k8s-master kubectl -n kube-system set image daemonset/kube-proxy kube-proxy=$theirs
serves $theirs

heading "Our DaemonSet, with few privileges"
typed k8s-master kubectl apply -k "$work/deploy/base"
serves $ours
typed k8s-master kubectl -n kube-system patch daemonset kube-proxy --patch-file "$work/deploy/ipvs/privileges.yaml"
serves $ours

heading "What to look at"
pod=$(kubectl -n kube-system get pods -l k8s-app=kube-proxy -o jsonpath='pod/{.items[0].metadata.name}')
typed k8s-master kubectl -n kube-system get pods -l k8s-app=kube-proxy -o wide
typed k8s-master kubectl -n kube-system logs -l k8s-app=kube-proxy
typed k8s-master kubectl -n kube-system exec "$pod" -- sluice status
typed k8s-node1 curl -sS http://192.168.231.122:10256/healthz

heading "The way back, where ours was applied"
typed k8s-master kubectl replace --force -f "$work/kube-proxy-before.yaml"
serves $theirs
end_traffic

heading "Leaving both"
typed k8s-master kubectl -n kube-system delete daemonset kube-proxy
typed k8s-master kubectl apply -k "$work/deploy/cleanup"
typed k8s-master kubectl -n kube-system rollout status daemonset/sluice-cleanup --timeout=${patience}s
typed k8s-master kubectl -n kube-system logs -l k8s-app=sluice-cleanup -c cleanup
typed k8s-master kubectl delete -k "$work/deploy/cleanup"
check "no chain of a Service is left on k8s-node1" sh -c "! '$sluice' lab cluster exec --id $id k8s-node1 -- iptables-save | grep KUBE-S[VE][CP]"
finish
