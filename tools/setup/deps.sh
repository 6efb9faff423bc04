#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs the Debian 12 packages that are missing, and changes nothing else.
#
#   tools/setup/deps.sh [build] [image] [guest] [cluster] [test] [lint]
#
# build (the default): compiler, libraries and the tools of `sluice lab`. image: what `make image` copies besides. guest: what
# test/guest/run.sh starts. cluster: what `sluice lab cluster` and its pods run. test: what the tests start. lint: what `make lint` and
# `make fmt` run. With nothing missing it does nothing, prints nothing, and needs no root.
# shellcheck source=tools/setup/lib.sh
. "$(dirname "$0")/lib.sh"

build_packages=(
	g++ cmake ninja-build ccache mold pkg-config
	libexpected-dev libfmt-dev libspdlog-dev libgtest-dev libgmock-dev libbenchmark-dev libsimdjson-dev libyaml-cpp-dev
	libboost-dev libboost-system-dev libssl-dev libmnl-dev libnftnl-dev libnetfilter-conntrack-dev libcli11-dev
	prometheus-cpp-dev zlib1g-dev clang-19 libbpf-dev
	iptables nftables iproute2 procps openssl git python3 scdoc
)
image_packages=(ca-certificates)
# The last three load the image, as people will.
test_packages=(
	conntrack ipset ipvsadm strace etcd-server jq rsync golang-go python3-yaml curl
	containerd skopeo podman
)
# The first line for nodes, the second for their pods, the third to build Kubernetes.
cluster_packages=(
	containerd runc containernetworking-plugins etcd-server openssl iproute2 conntrack ipvsadm
	busybox-static curl wget netcat-openbsd dnsmasq-base iptables ipset kmod
	golang-go make jq rsync python3
)
guest_packages=(qemu-system-x86 busybox-static kmod cpio ca-certificates)
lint_packages=(clang-19 clang-tidy-19 clang-format-19 shellcheck codespell)

wanted=()
[ $# -gt 0 ] || set -- build
for group in "$@"; do
	case $group in
	build) wanted+=("${build_packages[@]}") ;;
	image) wanted+=("${image_packages[@]}") ;;
	guest) wanted+=("${guest_packages[@]}") ;;
	cluster) wanted+=("${cluster_packages[@]}") ;;
	test)
		wanted+=("${test_packages[@]}" "${image_packages[@]}" "${guest_packages[@]}" "${cluster_packages[@]}")
		# Any kubectl will do. Debian's conflicts with the one of other package sources.
		command -v kubectl >/dev/null || wanted+=(kubernetes-client)
		;;
	lint) wanted+=("${lint_packages[@]}") ;;
	-h | --help) usage; exit 0 ;;
	*) die "unknown group '$group': build, image, guest, cluster, test or lint" ;;
	esac
done

command -v dpkg-query >/dev/null || die "this is not Debian: install what Debian 12 calls ${wanted[*]}"

# The packages of $wanted that are not installed, in $missing.
find_missing() {
	local installed package
	# dpkg-query fails when a package is unknown to it: those are missing too.
	installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null | sed -n 's/^installed //p' || true)
	local -A there=()
	for package in $installed; do there[$package]=1; done
	missing=()
	for package in "${wanted[@]}"; do
		[ -n "${there[$package]-}" ] || missing+=("$package")
		there[$package]=1 # two groups may need the same
	done
}

find_missing
[ ${#missing[@]} -gt 0 ] || exit 0
[ "$(id -u)" -eq 0 ] || die "not root, and these packages are missing: ${missing[*]}
Install them with: sudo $0 $*"

# Two of these at once, as from two clones: the second finds everything installed. Nothing that a package starts may keep the lock.
lock /var/lib/dpkg "installing packages"
find_missing
[ ${#missing[@]} -gt 0 ] || exit 0

writes_to=("${TMPDIR:-/tmp}" /var/cache/apt /usr /var/lib/dpkg)
log=$(mktemp "${TMPDIR:-/tmp}/sluice-deps.XXXXXX")
keep_log=
# shellcheck disable=SC2317 # lib.sh calls it
clean_up() { [ -n "$keep_log" ] || rm -f "$log"; }
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
apt=(bash -c 'exec "$@" 9<&-' apt-get apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Dpkg::Options::=--force-confold)

say "missing ${#missing[@]} Debian packages: ${missing[*]}"
run_logged "$log" "reading the package lists" "${apt[@]}" --error-on=any update ||
	say "some package source did not update; continuing with the lists that did"

# No packages are removed. Debian's busybox is the exception: busybox-static is the same program and replaces it.
plan=$("${apt[@]}" --fix-broken --simulate install "${missing[@]}" 2>&1) || die "apt cannot install them:
$plan"
removals=$(sed -n 's/^Remv \([^ ]*\).*/\1/p' <<<"$plan" | grep -vx busybox | tr '\n' ' ' || true)
[ -z "$removals" ] || die "apt would remove $removals; install ${missing[*]} by hand"

install() { run_logged "$log" "installing them" "${apt[@]}" --fix-broken install "${missing[@]}"; }
# After a dpkg that was killed, apt refuses to work until what it left is finished.
finish_interrupted() { grep -q 'dpkg was interrupted' "$log" && run_logged "$log" "finishing what an interrupted dpkg left" dpkg --configure -a; }

let_finish="apt to finish: what it leaves half installed would have to be repaired by hand"
install || { finish_interrupted && install; } || { keep_log=1; end 1; }
find_missing
[ ${#missing[@]} -eq 0 ] || die "still missing after the install: ${missing[*]}"
