#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Starts a real Kubernetes control plane for a test: etcd and kube-apiserver 1.20.2, no controllers, no kubelets.
#
#   control-plane.sh up STATEDIR [--port N] [--netns NAME] [--service-cidr CIDR[,CIDR]] [--bind IP] [--data DIR]
#   control-plane.sh save STATEDIR --data DIR
#   control-plane.sh down STATEDIR
#
# up prints one line once the API server is ready. STATEDIR then holds
#   admin.kubeconfig       a cluster administrator: token and CA as data
#   proxy.kubeconfig       user system:kube-proxy: tokenFile proxy.token and CA file ca.crt
#   proxy-cert.kubeconfig  user system:kube-proxy: client certificate proxy.crt
#   etcd.log, kube-apiserver.log, etcd.pid, kube-apiserver.pid
# What an earlier up left in STATEDIR is ended and removed first: each up starts an empty cluster, or one with the objects in DIR.
# save ends the two programs and puts their objects into DIR, which must not exist yet.
# down ends the two programs and removes the data; the logs stay. It may be called at any time and any number of times.
#
# On the host the API server listens on IP alone (default 127.0.0.1), on a free port unless one is given. In a network
# namespace (its lo is set up) it listens on all addresses, port 6443 unless another is given; IP, by default the
# namespace's first address, is then where the kubeconfigs and the Service `kubernetes` point. etcd is on 127.0.0.1.
setup=$(cd "$(dirname "$0")/../../../tools/setup" && pwd)
# shellcheck source=tools/setup/lib.sh
. "$setup/lib.sh"
umask 077

readonly marker=.sluice-control-plane
readonly programs=(kube-apiserver etcd)
starting='' # set while an up is in progress
readonly slow=${SLUICE_SLOW:-1} # how many times slower than usual this machine is: a guest without KVM

in_netns() { if [ -n "$netns" ]; then ip netns exec "$netns" "$@"; else "$@"; fi; }

# Starts a program detached: no terminal, no file descriptor of the caller's, output in its log.
start() {
	local name=$1
	shift
	(
		for fd in /proc/"$BASHPID"/fd/*; do
			fd=${fd##*/}
			[ "$fd" -le 2 ] || eval "exec $fd>&-"
		done
		cd "$state"
		if [ -n "$netns" ]; then set -- ip netns exec "$netns" "$@"; fi
		exec setsid "$@"
	) >"$state/$name.log" 2>&1 </dev/null &
	echo $! >"$state/$name.pid"
	until alive "$name" || ! kill -0 $! 2>/dev/null; do sleep 0.02; done # the exec is done
}

# True if the program that we started is still running: its pid is alive and its command line names our folder.
alive() {
	local name=$1 pid words=
	pid=$(cat "$state/$name.pid" 2>/dev/null) && [ -n "$pid" ] || return 1
	# During an exec the command line is empty. So is that of a zombie or kernel thread, but they have no exe either.
	while [ -z "$words" ]; do
		readlink -q "/proc/$pid/exe" >/dev/null || return 1
		words=$(tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline") || return 1
	done
	grep -qF -- "=$state/" <<<"$words"
}

# SIGKILL, not SIGTERM: that is quick, and what etcd has written stays.
end_programs() {
	local name
	for name in "${programs[@]}"; do
		while alive "$name"; do
			kill -KILL "$(<"$state/$name.pid")" 2>/dev/null || true
			sleep 0.02
		done
		rm -f "$state/$name.pid"
	done
}

down() {
	end_programs
	rm -rf "$state/etcd"
}

save() {
	[ ! -e "$data" ] || die "$data is there already"
	[ -d "$state/etcd" ] || die "$state holds no control plane"
	end_programs
	mv "$state/etcd" "$data"
}

# An up that fails leaves nothing running.
# shellcheck disable=SC2317 # lib.sh calls it
clean_up() { [ -z "$starting" ] || down; }

# issue NAME SUBJECT EXTENSION...: a key and a certificate of our CA.
issue() {
	local name=$1 subject=$2
	shift 2
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$subject" \
		-keyout "$state/$name.key" -out "$state/$name.csr"
	openssl x509 -req -in "$state/$name.csr" -CA "$state/ca.crt" -CAkey "$state/ca.key" -CAcreateserial -days 365 \
		-extfile <(printf '%s\n' basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature "$@") \
		-out "$state/$name.crt"
	rm "$state/$name.csr"
}

make_credentials() {
	local names="DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc" address
	names+=",DNS:kubernetes.default.svc.cluster.local"
	for address in 127.0.0.1 ::1 "$bind" "${service_addresses[@]}"; do names+=",IP:$address"; done
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=sluice test CA" -days 365 \
		-addext keyUsage=critical,keyCertSign,cRLSign -keyout "$state/ca.key" -out "$state/ca.crt"
	issue apiserver /CN=kube-apiserver extendedKeyUsage=serverAuth "subjectAltName=$names"
	issue proxy /CN=system:kube-proxy extendedKeyUsage=clientAuth
	openssl genrsa -out "$state/sa.key" 2048
	openssl rsa -in "$state/sa.key" -pubout -out "$state/sa.pub"
	openssl rand -hex 24 >"$state/admin.token"
	openssl rand -hex 24 >"$state/proxy.token"
	{
		echo "$(<"$state/admin.token"),admin,admin,system:masters"
		echo "$(<"$state/proxy.token"),system:kube-proxy,kube-proxy"
	} >"$state/tokens.csv"
}

# kubeconfig FILE CA USER: the last two are YAML flow mappings without their braces.
kubeconfig() {
	cat >"$state/$1" <<YAML
apiVersion: v1
kind: Config
clusters:
- name: sluice-test
  cluster: {server: "$url", $2}
users:
- name: user
  user: {$3}
contexts:
- name: default
  context: {cluster: sluice-test, user: user}
current-context: default
YAML
}

write_kubeconfigs() {
	local ca_file="certificate-authority: \"$state/ca.crt\"" ca_data token
	ca_data=$(base64 -w 0 "$state/ca.crt")
	token=$(<"$state/admin.token")
	kubeconfig admin.kubeconfig "certificate-authority-data: $ca_data" "token: $token"
	kubeconfig proxy.kubeconfig "$ca_file" "tokenFile: \"$state/proxy.token\""
	kubeconfig proxy-cert.kubeconfig "$ca_file" "client-certificate: \"$state/proxy.crt\", client-key: \"$state/proxy.key\""
}

fail_up() {
	tail -n 15 "$state/$1.log" >&2
	die "$1 $2; the whole log is $state/$1.log"
}

# wait_until NAME SECONDS COMMAND...: until COMMAND succeeds; NAME must run that long.
wait_until() {
	local name=$1 deadline=$((SECONDS + $2 * slow))
	shift 2
	until "$@" >/dev/null 2>&1; do
		alive "$name" || fail_up "$name" "ended by itself"
		[ "$SECONDS" -lt "$deadline" ] || fail_up "$name" "is not ready in time"
		sleep 0.1
	done
}

get() { in_netns curl --noproxy '*' --fail --silent --max-time 5 "$@"; }

# The folder of kube-apiserver in $bin, all options in variables, STATEDIR empty except for the marker.
prepare() {
	bin=$("$setup/kubernetes.sh") || end $? # it has said why
	bin=${bin##*$'\n'}
	[ -x "$bin/kube-apiserver" ] || die "no kube-apiserver in '$bin'"
	if [ -n "$netns" ]; then
		in_netns ip link set lo up
		[ -n "$bind" ] || bind=$(in_netns ip -o address show scope global | awk 'NR == 1 {sub("/.*", "", $4); print $4}')
		[ -n "$bind" ] || die "network namespace $netns has no address: give it one first"
		port=${port:-6443}
	fi
	bind=${bind:-127.0.0.1}
	# Ports for etcd (two) and the API server, free at this moment, and none that the kernel may assign to a connection meanwhile: not even to ours,
	# which check whether etcd listens yet, and would otherwise sometimes connect to themselves.
	ports=$(in_netns python3 -c '
import random, socket
first = int(open("/proc/sys/net/ipv4/ip_local_port_range").read().split()[0])
held = []
for port in random.sample(range(first // 2, first), 1000):
    try:
        held.append(socket.create_server(("127.0.0.1", port)))
    except OSError:
        continue
    if len(held) == 3:
        break
print(*(each.getsockname()[1] for each in held))')
	read -r -a ports <<<"$ports"
	[ "${#ports[@]}" -eq 3 ] || die "no free ports"
	port=${port:-${ports[2]}}
	service_addresses=$(python3 -c '
import ipaddress, sys
print(*(ipaddress.ip_network(cidr)[1] for cidr in sys.argv[1].split(",")))' "$service_cidr" 2>/dev/null) || die "'$service_cidr' is no network"
	read -r -a service_addresses <<<"$service_addresses"

	mkdir -p "$state"
	if [ ! -e "$state/$marker" ] && [ -n "$(ls -A "$state")" ]; then die "$state has files of another program"; fi
	touch "$state/$marker"
	starting=1
	down
	find "$state" -mindepth 1 -not -name "$marker" -delete
}

up() {
	local started=$SECONDS listen advertise url_host etcd_url
	prepare
	case $bind in *:*) url_host="[$bind]" ;; *) url_host=$bind ;; esac
	url=https://$url_host:$port
	listen=$bind
	if [ -n "$netns" ]; then listen=$(case $bind in *:*) echo :: ;; *) echo 0.0.0.0 ;; esac); fi
	# Kubernetes refuses loopback endpoints, so a loopback API server's own Service points to a documentation address.
	case $bind in 127.*) advertise=192.0.2.1 ;; ::1) advertise=2001:db8::1 ;; *) advertise=$bind ;; esac
	make_credentials >"$state/openssl.log" 2>&1
	write_kubeconfigs

	if [ -n "$data" ]; then cp -r "$data" "$state/etcd"; fi
	etcd_url=http://127.0.0.1:${ports[0]}
	start etcd etcd "--data-dir=$state/etcd" --name=default --unsafe-no-fsync --quota-backend-bytes=4000000000 \
		"--listen-client-urls=$etcd_url" "--advertise-client-urls=$etcd_url" \
		"--listen-peer-urls=http://127.0.0.1:${ports[1]}" "--initial-advertise-peer-urls=http://127.0.0.1:${ports[1]}" \
		"--initial-cluster=default=http://127.0.0.1:${ports[1]}"
	wait_until etcd 120 get "$etcd_url/health"

	local options=(
		"--etcd-servers=$etcd_url" "--service-cluster-ip-range=$service_cidr"
		"--bind-address=$listen" "--secure-port=$port" "--advertise-address=$advertise"
		"--cert-dir=$state/certs" "--tls-cert-file=$state/apiserver.crt" "--tls-private-key-file=$state/apiserver.key"
		"--client-ca-file=$state/ca.crt" "--token-auth-file=$state/tokens.csv" --authorization-mode=RBAC
		"--service-account-key-file=$state/sa.pub" "--service-account-signing-key-file=$state/sa.key"
		--service-account-issuer=https://kubernetes.default.svc
		--allow-privileged=true --disable-admission-plugins=ServiceAccount # nothing creates service accounts here
		--max-requests-inflight=3000 --max-mutating-requests-inflight=1000
	)
	case $service_cidr in *,*) options+=(--feature-gates=IPv6DualStack=true) ;; esac
	start kube-apiserver "$bin/kube-apiserver" "${options[@]}"
	wait_until kube-apiserver 300 get --cacert "$state/ca.crt" -H "Authorization: Bearer $(<"$state/admin.token")" "$url/readyz"
	starting=
	echo "control plane ready at $url after $((SECONDS - started)) s"
}

case ${1-} in -h | --help) usage; exit 0 ;; esac
[ $# -ge 2 ] || die "usage: control-plane.sh up|save|down STATEDIR [option]... (see --help)"
verb=$1
state=$(realpath -m "$2")
shift 2
port='' netns='' bind='' data='' service_cidr=10.96.0.0/12
while [ $# -gt 0 ]; do
	[ $# -ge 2 ] || die "$1 needs a value"
	case $1 in
	--port) port=$2 ;;
	--netns) netns=$2 ;;
	--service-cidr) service_cidr=$2 ;;
	--bind) bind=$2 ;;
	--data) data=$(realpath -m "$2") ;;
	*) die "unknown option '$1' (see --help)" ;;
	esac
	shift 2
done
case $verb in
up) up ;;
save) [ -n "$data" ] || die "save needs --data DIR"; save ;;
down) [ ! -e "$state/$marker" ] || down ;;
*) die "'$verb' is not up, save or down" ;;
esac
