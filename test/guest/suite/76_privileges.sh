#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Mode ipvs with what deploy/ipvs grants: the init container, privileged, then the proxy with NET_ADMIN alone, a read-only root and a read-only
# /proc/sys, as a container without privileges has it. Neither has a modprobe, as the image has none: the kernel has to load the modules itself,
# which finds its own outside of the container. (test/image/privileges_test.py has the other modes, in real containers.)
# shellcheck disable=SC2016 # inner shells expand what is quoted
set -u
folder=$(mktemp -d /run/privileges.XXXXXX)
failed=0 passed=0
loaded=$(lsmod | awk '/^ip_vs/ { print $1 }')

# check WHAT COMMAND...
check() {
	local what=$1 output
	shift
	if output=$("$@" 2>&1); then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'FAIL %s\n%s\n%s\n' "$what" "$output" "$(tail -n 20 "$folder/log")"
	fi
}
in_node() { ip netns exec sluice-privileges "$@"; }

granted=$(python3 -c '
import sys, yaml
patch = yaml.safe_load(open(sys.argv[1]))
context = patch["spec"]["template"]["spec"]["containers"][0]["securityContext"]
assert context["capabilities"]["drop"] == ["ALL"]
print(",".join("+" + name.lower() for name in context["capabilities"]["add"]))' "$(dirname "$0")/../../../deploy/ipvs/privileges.yaml") || failed=1

ip netns add sluice-privileges
in_node ip link set lo up
in_node ip link add eth0 type bridge
in_node ip link set eth0 up
in_node ip address add 192.0.2.1/24 dev eth0
mkdir "$folder/manifests" "$folder/state"
cat >"$folder/config.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ipvs
conntrack: {maxPerCore: 0}
---
apiVersion: sluice.dev/v1alpha1
kind: SluiceConfiguration
dataDir: $folder/state
YAML
cat >"$folder/manifests/services.yaml" <<'YAML'
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: 10.96.0.5, ports: [{port: 80}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-a, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [192.0.2.7], conditions: {ready: true}}]
ports: [{port: 8080, protocol: TCP}]
YAML
proxy=("$SLUICE" proxy --config="$folder/config.yaml" --manifests="$folder/manifests" --hostname-override=node)
no_modprobe='mount --bind /dev/null "$(readlink -f /sbin/modprobe)"'
# container CAPABILITIES COMMAND...
container() {
	local capabilities=$1
	shift
	in_node unshare --mount --propagation private sh -c "$no_modprobe"' && mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys &&
		mount -o remount,bind,ro / && capabilities=$1 && shift &&
		exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all"$capabilities" "$@"' sh "$capabilities" "$@"
}

for module in $(lsmod | awk '/^ip_vs_/ { print $1 }') ip_vs dummy; do rmmod "$module" || echo "$module does not go"; done
in_node unshare --mount --propagation private sh -c "$no_modprobe"' && exec "$@"' sh "${proxy[@]}" --init-only >"$folder/log" 2>&1
check "the init container ends well" [ $? -eq 0 ]
check "it has written the settings" [ "$(in_node cat /proc/sys/net/ipv4/vs/conntrack)" = 1 ]

container ",$granted" "${proxy[@]}" >"$folder/log" 2>&1 &
pid=$!
for ((beat = 0; beat < 1200; beat++)); do
	grep -q 'ipFamily="IPv4" dataPlane="ipvs"' "$folder/log" && break
	kill -0 "$pid" 2>/dev/null || break
	sleep 0.1
done
check "the virtual server is there" grep -qx -- '-A -t 10.96.0.5:80 -s rr' <(in_node ipvsadm -S -n)
check "and its real server" grep -qx -- '-a -t 10.96.0.5:80 -r 192.0.2.7:8080 -m -w 1' <(in_node ipvsadm -S -n)
check "the address is on kube-ipvs0" grep -q 'inet 10.96.0.5/32' <(in_node ip address show kube-ipvs0)
check "nothing is complained of" bash -c '! grep "^[EW][0-9]" "$1"' sh "$folder/log"
kill "$pid"
wait "$pid"

in_node "$SLUICE" cleanup --data-dir="$folder/state" >"$folder/log" 2>&1
check "all is taken away" [ $? -eq 0 ]
container "" "${proxy[@]}" >"$folder/log" 2>&1 &
pid=$!
for ((beat = 0; beat < 600; beat++)); do
	grep -q '^E[0-9]' "$folder/log" && break
	kill -0 "$pid" 2>/dev/null || break
	sleep 0.1
done
check "without NET_ADMIN it says so" grep -q '^E[0-9].*not permitted' "$folder/log"
check "and serves nothing" [ "$(in_node ipvsadm -S -n | wc -l)" -eq 0 ]
kill "$pid" 2>/dev/null
wait "$pid"

in_node "$SLUICE" cleanup --data-dir="$folder/state" >"$folder/log" 2>&1
ip netns delete sluice-privileges
# shellcheck disable=SC2086 # one word each
modprobe -a ip_vs dummy $loaded || failed=$((failed + 1))
rm -r "$folder"
echo "privileges: $passed as wanted, $failed not"
[ "$failed" -eq 0 ]
