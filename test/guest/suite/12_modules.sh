#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A kernel without ip_vs, modules that cannot be loaded, a missing scheduler: what ipvsadm and the proxy report, that loading
# works where it may, that the rest keeps working, and that the engine in BPF takes ip_vs's place.
set -u
rules=/etc/modprobe.d/sluice-test.conf
folder=$(mktemp -d)
ln -s "$SLUICE" "$folder/ipvsadm"
passed=0 failed=0
loaded=$(lsmod | awk '/^ip_vs/ { print $1 }')

# check WHAT STATUS PATTERN COMMAND...: its status, and a line of its output.
check() {
	local what=$1 wanted=$2 pattern=$3 status=0 output
	shift 3
	output=$("$@" 2>&1) || status=$?
	if [ "$status" -eq "$wanted" ] && grep -q -e "$pattern" <<<"$output"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'FAIL %s: status %s instead of %s, no line like "%s" in:\n%s\n' "$what" "$status" "$wanted" "$pattern" "$output"
	fi
}
unload() {
	local module
	for module in $(lsmod | awk '/^ip_vs_/ { print $1 }') ip_vs; do rmmod "$module" || echo "FAIL $module does not go"; done
}

unload
echo 'install ip_vs /bin/false' >"$rules"
check "forbidden by the operator" 2 'kernel module ip_vs cannot be loaded: ' "$folder/ipvsadm" --engine kernel -L
check "the original's words stay" 2 "^Can't initialize ipvs: Protocol not available$" "$folder/ipvsadm" --engine kernel --help
check "the kernel is named" 2 "this kernel ($(uname -r)) has no IP virtual server" "$folder/ipvsadm" --engine kernel -Ln
check "whoever is not root" 2 '^Can.t initialize ipvs: Permission denied (you must be root)$' \
	setpriv --reuid 65534 --clear-groups "$folder/ipvsadm" -L
check "the engine in BPF takes its place" 0 '^IP Virtual Server version 1.2.1 (size=' "$folder/ipvsadm" -Ln
rm "$rules"
check "loaded when it is needed" 0 '^IP Virtual Server version 1.2.1 (size=' "$folder/ipvsadm" -Ln
check "so are schedulers" 0 '' "$folder/ipvsadm" -A -t 10.0.0.1:80 -s mh
check "and persistence engines" 0 '' "$folder/ipvsadm" -A -u 10.0.0.1:5060 -p --pe sip
echo 'install ip_vs_lblc /bin/false' >"$rules"
check "a scheduler that may not be loaded" 255 '^Scheduler or persistence engine not found$' "$folder/ipvsadm" -A -t 10.0.0.1:81 -s lblc
check "what works goes on" 0 '^TCP  10.0.0.1:80 mh$' "$folder/ipvsadm" -Ln
rm "$rules"
"$folder/ipvsadm" -C

# The proxy, in a namespace of its own, with one Service that takes the default scheduler and one that chooses lc.
ip netns add sluice-modules
in_node() { ip netns exec sluice-modules "$@"; }
in_node ip link set lo up
in_node ip link add eth0 type bridge
in_node ip address add 192.0.2.1/24 dev eth0
mkdir "$folder/manifests"
cat >"$folder/config.yaml" <<'YAML'
{apiVersion: kubeproxy.config.k8s.io/v1alpha1, kind: KubeProxyConfiguration, mode: ipvs, conntrack: {maxPerCore: 0}, ipvs: {syncPeriod: 1s}}
---
{apiVersion: sluice.dev/v1alpha1, kind: SluiceConfiguration, ipvs: {engine: kernel}}
YAML
cat >"$folder/manifests/services.yaml" <<'YAML'
{apiVersion: v1, kind: Service, metadata: {name: plain}, spec: {clusterIP: 10.96.0.5, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: chosen, annotations: {sluice.dev/scheduler: lc}}, spec: {clusterIP: 10.96.0.6, ports: [{port: 80}]}}
YAML
proxy=(ip netns exec sluice-modules timeout 300 "$SLUICE" proxy --config="$folder/config.yaml" --manifests="$folder/manifests" --hostname-override=node)
# until_said PATTERN: runs the proxy until it logs that, or for five minutes; prints its whole log. Its status: whether it did.
until_said() {
	local pid
	"${proxy[@]}" >"$folder/log" 2>&1 &
	pid=$!
	until grep -q -e "$1" "$folder/log" || ! kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
	kill "$pid" 2>/dev/null
	wait "$pid"
	cat "$folder/log"
	grep -q -e "$1" "$folder/log"
}
table() { in_node "$folder/ipvsadm" -S -n; }

unload
echo 'install ip_vs /bin/false' >"$rules"
check "mode ipvs without ip_vs" 1 'mode ipvs is not available on this host: .*kernel module ip_vs cannot be loaded: ' "${proxy[@]}"
check "nothing was begun" 1 'does not exist' in_node ip link show kube-ipvs0
sed -i 's/engine: kernel/engine: auto/' "$folder/config.yaml"
check "the engine in BPF serves" 0 'Programmed all Services' until_said 'Programmed all Services'
check "and is listed" 0 '^-A -t 10.96.0.6:80 -s lc$' table
check "without addresses of its own" 1 'does not exist' in_node ip link show kube-ipvs0
check "it leaves no program" 0 'the programs of engine ebpf' in_node "$SLUICE" cleanup
check "nor a virtual server" 0 '^0$' bash -c "ip netns exec sluice-modules $folder/ipvsadm -S -n | wc -l"
sed -i 's/engine: auto/engine: kernel/' "$folder/config.yaml"
echo 'install ip_vs_rr /bin/false' >"$rules"
check "the default scheduler may not be loaded" 0 "add TCP 10.96.0.5:80: scheduler 'rr' is not known (kernel module ip_vs_rr cannot be loaded: " until_said "scheduler 'rr' is not known"
check "the other Service is served" 0 '^-A -t 10.96.0.6:80 -s lc$' table
sed -i 's/lc}/sed}/' "$folder/manifests/services.yaml"
echo 'install ip_vs_sed /bin/false' >"$rules"
check "the chosen scheduler may not be loaded" 0 "service=\"default/chosen\" why=\"scheduler 'sed' is not known here (kernel module ip_vs_sed " until_said 'Programmed all Services'
check "rr takes its place" 0 '^-A -t 10.96.0.6:80 -s rr$' table
in_node "$SLUICE" cleanup >"$folder/log" || failed=$((failed + 1))
rmmod dummy
echo 'install dummy /bin/false' >"$rules"
check "a device that cannot be made" 0 'add dummy kube-ipvs0: Operation not supported (kernel module dummy ' until_said 'add dummy kube-ipvs0: '
check "virtual servers are there all the same" 0 '^-A -t 10.96.0.5:80 -s rr$' table
rm "$rules"
in_node "$SLUICE" cleanup >"$folder/log" || failed=$((failed + 1))
check "cleanup finds them without the device" 0 '^0$' bash -c "ip netns exec sluice-modules $folder/ipvsadm -S -n | wc -l"
ip netns delete sluice-modules
modprobe dummy || failed=$((failed + 1))

# shellcheck disable=SC2086 # one word each
modprobe -a ip_vs $loaded || failed=$((failed + 1))
rm -r "$folder"
echo "modules: $passed as wanted, $failed not"
[ "$failed" -eq 0 ]
