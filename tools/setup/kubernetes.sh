#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds Kubernetes 1.20.2 programs for the cluster tests, once per machine, and caches them.
#
#   tools/setup/kubernetes.sh [--with NAME]...
#
# Always built: kube-proxy and kube-apiserver. --with adds another program of the same source: kubectl, kubelet,
# kube-controller-manager, kube-scheduler, and of Kubernetes' own tests those of its network, e2e-network, and what their pods
# run: agnhost, regression-issue-74839. Needs `tools/setup/deps.sh test`, but not root.
# The last line on stdout is the folder of the programs; progress goes to stderr.
#
# e2e-network is tools/cluster/e2e/main.go, which imports test/e2e/network alone: 900 packages, built one by one with their names
# shown. The whole e2e.test, with every area's tests and every cloud's client, is several times that, in one silent `go test -c`.
#
# The source is Debian's source package (vendored: nothing else is downloaded), fetched through a sources list of our own,
# so the machine's apt settings and lists stay untouched. A program appears in the cache by rename, hence is always whole.
# shellcheck source=tools/setup/lib.sh
. "$(dirname "$0")/lib.sh"
here=$(realpath "$(dirname "$0")")

readonly version=1.20.2
readonly tarball=kubernetes_1.20.5+really1.20.2.orig.tar.gz # of the source package in bookworm
readonly mirror=${SLUICE_DEBIAN_MIRROR:-http://deb.debian.org/debian}
# Debian 12's own Go where it is there: a newer one may refuse sources of this age.
readonly go=${SLUICE_GO:-/usr/lib/go-1.19/bin}
readonly keyring=/usr/share/keyrings/debian-archive-keyring.gpg
cache=$(cache_folder)/kubernetes-$version
readonly bin=$cache/bin
readonly work=$cache/work       # removed after a build, whole or not
readonly go_cache=$cache/go     # kept by an interrupted build so that the next one continues, removed by a finished one
readonly log=$cache/build.log
writes_to=("$cache")
building='' # set while $work is ours

names=(kube-proxy kube-apiserver)
while [ $# -gt 0 ]; do
	case $1 in
	--with)
		case ${2-} in
		kubectl | kubelet | kube-controller-manager | kube-scheduler) names+=("$2") ;;
		e2e-network | agnhost | regression-issue-74839) names+=("$2") ;;
		*) die "--with takes kubectl, kubelet, kube-controller-manager, kube-scheduler, e2e-network, agnhost or regression-issue-74839, not '${2-}'" ;;
		esac
		shift 2
		;;
	-h | --help) usage; exit 0 ;;
	*) die "unknown argument '$1' (see --help)" ;;
	esac
done

# The requested programs that the cache lacks, in $missing.
find_missing() {
	local name
	missing=()
	for name in "${names[@]}"; do [ -x "$bin/$name" ] || missing+=("$name"); done
}

# make prints the name of each Go package that it compiles.
note_progress() {
	local count
	count=$(grep -cE '^[a-z][A-Za-z0-9_./-]*$' "$log") || return 0
	echo "$count Go packages so far"
}
step() { run_logged "$log" "$@" || end 1; }

# shellcheck disable=SC2317 # lib.sh calls it
clean_up() { [ -z "$building" ] || rm -rf "$work"; }

# Fetches the source package, checked by apt against Debian's archive key, unless an earlier run left it.
fetch_source() {
	orig=$cache/source/$tarball
	[ -f "$orig" ] && return 0
	[ -r "$keyring" ] || die "no $keyring: this needs Debian's archive keyring (package debian-archive-keyring)"
	mkdir -p "$work"/apt/{lists/partial,archives/partial} "$work/source"
	echo "deb-src [signed-by=$keyring] $mirror bookworm main" >"$work/apt/sources.list"
	local options=(
		-o "Dir::Etc::sourcelist=$work/apt/sources.list" -o Dir::Etc::sourceparts=-
		-o "Dir::State::lists=$work/apt/lists" -o "Dir::Cache=$work/apt" -o APT::Sandbox::User=root
		-o Acquire::Retries=3 -o Acquire::http::Timeout=30 -o Acquire::Languages=none
	)
	step "reading Debian's source index" apt-get "${options[@]}" --error-on=any update
	cd "$work/source"
	step "downloading the source package kubernetes" apt-get "${options[@]}" source --download-only kubernetes
	cd /
	[ -f "$work/source/$tarball" ] || die "$mirror has another version than $tarball: $(ls "$work/source")"
	mkdir -p "$cache/source"
	mv "$work/source/$tarball" "$orig"
}

# compile NAME...: programs of cmd/, by Kubernetes' own build, which puts the version into them.
compile() {
	# -v names each package as it is compiled. The build script takes tags, as the last argument: it takes all that follows for tags.
	# The cloud providers, a third of the work, are left out.
	step "compiling $* (about 4 minutes on 2 cores for the first ones)" make all WHAT="${*/#/cmd/}" \
		GOFLAGS="-mod=vendor -v -tags=providerless" KUBE_GIT_VERSION=v$version KUBE_GIT_COMMIT=debian KUBE_GIT_TREE_STATE=clean
}

# compile_test NAME: a program of test/. The source has what its build would generate, so the compiler alone will do. Linked statically: what
# tests run in a pod has an image to itself.
compile_test() {
	local package=test/images/$1
	if [ "$1" = e2e-network ]; then
		package=test/$1
		mkdir -p "$tree/$package"
		cp "$here/../cluster/e2e/main.go" "$tree/$package/"
	fi
	mkdir -p "$GOPATH/src/k8s.io"
	ln -sfn "$tree" "$GOPATH/src/k8s.io/kubernetes"
	cd "$GOPATH/src/k8s.io/kubernetes"
	step "compiling $1" env GO111MODULE=off CGO_ENABLED=0 go build -v -o "$tests/$1" \
		-ldflags "-s -w -X k8s.io/kubernetes/vendor/k8s.io/component-base/version.gitVersion=v$version" "./$package"
	cd "$tree"
}

build() {
	local name tree=$work/tree tests=$work/tests out programs=()
	mkdir -p "$tree" "$tests"
	step "unpacking the source" tar -C "$tree" --strip-components=1 -xf "$orig"
	[ ! -x "$go/go" ] || PATH=$go:$PATH
	mkdir -p "$go_cache"
	# The build script has a cache of its own, in the tree, which would be removed with it.
	mkdir -p "$tree/_output/local/go"
	ln -s "$go_cache" "$tree/_output/local/go/cache"
	export GOCACHE=$go_cache GOPATH=$work/gopath GOPROXY=off GOTOOLCHAIN=local
	unset MAKEFLAGS MFLAGS MAKELEVEL # of the make that may have called us
	cd "$tree"
	for name in "${missing[@]}"; do
		case $name in
		e2e-network | agnhost | regression-issue-74839) compile_test "$name" ;;
		*) programs+=("$name") ;;
		esac
	done
	[ ${#programs[@]} -eq 0 ] || compile "${programs[@]}"
	cd /
	mkdir -p "$bin"
	for name in "${missing[@]}"; do
		for out in "$tests/$name" "$tree"/_output/local/bin/*/*/"$name"; do [ ! -f "$out" ] || break; done
		[ -f "$out" ] || die "the build made no $name; see $log"
		mv "$out" "$bin/$name"
	done
	chmod -R u+w "$go_cache"
	rm -rf "$go_cache"
}

find_missing
if [ ${#missing[@]} -gt 0 ]; then
	for tool in apt-get go make rsync jq flock setsid; do
		command -v "$tool" >/dev/null || die "no $tool: run tools/setup/deps.sh test as root first"
	done
	mkdir -p "$cache"
	lock "$cache/lock" "building Kubernetes"
	find_missing # the other build may have made them
fi
if [ ${#missing[@]} -gt 0 ]; then
	building=1
	rm -rf "$work"
	: >"$log"
	fetch_source
	build
	say "built in $SECONDS s: ${missing[*]}"
fi
echo "$bin"
