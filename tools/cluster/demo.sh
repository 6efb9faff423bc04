#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The walkthrough in a real cluster: an operator moves a node's Service proxy to another mode and back, by kubectl alone.
#
#   tools/cluster/demo.sh [--nodes N] [--mode MODE] SLUICE IMAGE
#
# SLUICE is the program, IMAGE the archive with its image (build/image/sluice.tar). What an operator would type is shown with what it prints.
# Clients outside and inside use a Service all the while, and no request may fail. The other mode is MODE, by default ipvs, or
# nftables where no engine of mode ipvs runs. The exit status is 0 if everything was as it must be and nothing is left.
# shellcheck source=tools/cluster/lib.sh
. "$(dirname "$0")/lib.sh"
nodes=2 other_mode=
while [ $# -gt 0 ]; do
	case $1 in
	--nodes | --mode)
		[ $# -ge 2 ] || die_with 2 "$1 needs a value"
		case $1 in --nodes) nodes=$2 ;; *) other_mode=$2 ;; esac
		shift 2
		;;
	-h | --help) usage; exit 0 ;;
	-*) die_with 2 "unknown argument '$1' (see --help)" ;;
	*) break ;;
	esac
done
[ $# -eq 2 ] || die_with 2 "usage: demo.sh [--nodes N] [--mode MODE] SLUICE IMAGE"
sluice=$(realpath "$1") image=$(realpath "$2")
readonly id=demo
prepare

proxy_pod() { kubectl get pods -n kube-system -l k8s-app=kube-proxy --field-selector spec.nodeName=k8s-node1 -o name | sed -n 's,^pod/,,p'; }
other_proxy_pod() { local now; now=$(proxy_pod) && [ -n "$now" ] && [ "$now" != "$1" ]; }
says() { kubectl logs "$1" -n kube-system | grep -- "$2" >/dev/null; }
set_mode() { # what `kubectl edit` opens as an editor: it writes the mode
	# shellcheck disable=SC2016 # the script expands it
	printf '#!/bin/sh\nexec sed -i "s/^\\( *mode:\\).*/\\1 \\"%s\\"/" "$1"\n' "$1" >"$work/editor"
	chmod +x "$work/editor"
}
edit_mode() {
	set_mode "$1"
	printf '\nk8s-master# kubectl edit configmap kube-proxy -n kube-system      # mode: "%s"\n' "$1"
	EDITOR=$work/editor kubectl edit configmap kube-proxy -n kube-system
}
# The DaemonSet makes a new pod on node1, which must be ready.
restart_proxy() {
	local old
	old=$(proxy_pod)
	typed k8s-master kubectl delete pod "$old" -n kube-system
	until_so "the DaemonSet makes a new pod" other_proxy_pod "$old"
	pod=$(proxy_pod)
	kubectl wait pod "$pod" -n kube-system --for=condition=Ready --timeout=${patience}s >/dev/null
	typed k8s-master kubectl get pods -n kube-system -o wide
}
virtual_servers() { on_node ipvsadm -L -n | tail -n +4 | grep .; }
no_table_left() { ! on_node nft list tables | grep sluice-nftables; }
nothing_left() { ! virtual_servers && ! on_node ip link show kube-ipvs0 && ! on_node ip link show sluice0; }

heading "A cluster: etcd, kube-apiserver, kube-controller-manager, kube-scheduler; $nodes nodes with containerd and kubelet"
"$sluice" lab cluster up --id $id --nodes "$nodes" --image "$image" | sed '/^cluster/s/\. .*/./; /^  sluice/d'
typed k8s-master kubectl apply -k "$work/deploy/base"
rollout
start_traffic
typed k8s-master kubectl get nodes,pods,services --all-namespaces -o wide

heading "1. The default: the ConfigMap names no mode, so the proxy runs in mode iptables"
pod=$(proxy_pod)
typed k8s-master kubectl get configmap kube-proxy -n kube-system -o yaml | grep -v '^ *uid\|resourceVersion\|managedFields' | sed -n '1,/mode:/p'
typed k8s-master kubectl logs "$pod" -n kube-system
check "its log says: Using iptables Proxier" says "$pod" "Using iptables Proxier"

switch_and_return() {
	heading "2. The switch: mode $other_mode"
	edit_mode "$other_mode"
	restart_proxy
	typed k8s-master kubectl logs "$pod" -n kube-system
	check "its log says: Using $other_mode Proxier" says "$pod" "Using $other_mode Proxier"

	heading "3. The proof"
	if [ "$other_mode" = ipvs ]; then
		# Without ip_vs in the kernel, the node's ipvsadm is Sluice's, which lists the engine in BPF.
		on_node ipvsadm -L -n >/dev/null 2>&1 || on_node ln -sfn "$sluice" /usr/local/bin/ipvsadm
		typed k8s-node1 ipvsadm -L -n
		listing=$(on_node ipvsadm -L -n)
		for address in 10.104.247.10:80 192.168.231.122:31947 192.168.122.1:31947 10.96.0.1:443 10.96.0.10:53; do
			check "a virtual server $address" grep -q " $address rr" <<<"$listing"
		done
	else
		typed k8s-node1 nft list map ip sluice-nftables frontends
		listing=$(on_node nft list map ip sluice-nftables frontends)
		for frontend in '10.104.247.10 . tcp . 80' '10.96.0.1 . tcp . 443' '10.96.0.10 . udp . 53'; do
			check "a frontend $frontend" grep -q " $frontend : goto" <<<"$listing"
		done
	fi

	heading "4. The way back"
	edit_mode ""
	restart_proxy
	typed k8s-master kubectl logs "$pod" -n kube-system
	check "its log says: Using iptables Proxier" says "$pod" "Using iptables Proxier"
	if [ "$other_mode" = nftables ]; then
		until_so "nothing is left of mode nftables" no_table_left
		typed k8s-node1 nft list tables
		check "no table sluice-nftables is left" no_table_left
		return
	fi
	until_so "nothing is left of mode ipvs" nothing_left
	typed k8s-node1 ipvsadm -L -n
	typed k8s-node1 ip link show kube-ipvs0 || true
	check "no virtual server is left, and neither device, kube-ipvs0 nor sluice0" nothing_left
}
if [ -z "$other_mode" ]; then
	other_mode=nftables
	if unshare --net "$sluice" ipvsadm -L -n >/dev/null 2>&1; then
		other_mode=ipvs
	else
		say "no engine of mode ipvs runs on this kernel: the other mode is nftables"
	fi
fi
switch_and_return

end_traffic
finish
