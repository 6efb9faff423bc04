#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes Debian's own kernel (6.1, with ip_vs) ready for the QEMU guest of the tests, once per machine, and caches it.
#
#   tools/setup/guest-kernel.sh
#
# The kernel package is downloaded and unpacked, not installed. The last line on stdout is the folder that holds vmlinuz,
# initrd and lib/modules; progress goes to stderr. Needs `tools/setup/deps.sh guest`.
set -euo pipefail

readonly cache=${SLUICE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sluice}
# What the guest needs before it sees the host's file system.
readonly boot_modules=(virtio_pci 9pnet_virtio 9p overlay)

# shellcheck source=tools/setup/lib.sh
. "$(dirname "$0")/lib.sh"

case ${1-} in
'') ;;
-h | --help) usage; exit 0 ;;
*) die "unknown argument '$1' (see --help)" ;;
esac

# What was unpacked by an earlier run, the latest first: serves where apt knows of nothing newer, as without a network.
find_cached() {
	[ -d "$cache" ] || return 0
	find "$cache" -mindepth 2 -maxdepth 2 -path '*/guest-*/vmlinuz' -printf '%h\n' | sort -rV | sed -n '1s|.*/guest-||p'
}

# The kernel package that apt knows of; nothing where it knows none, as without package lists, where apt-cache fails.
find_package() {
	local depends
	depends=$(apt-cache depends --important linux-image-amd64 2>/dev/null) || return 0
	sed -n 's/^ *Depends: \(linux-image-[^ <>]*\)$/\1/p; T; q' <<<"$depends"
}

package=$(find_package)
if [ -z "$package" ] && [ -z "$(find_cached)" ]; then
	say "refreshing apt's lists to find the kernel package"
	apt-get update -qq >&2 || true
	package=$(find_package)
fi
cached=$(find_cached)
[ -n "$package$cached" ] || die "apt knows no kernel package: is linux-image-amd64 in its sources?"
release=${package#linux-image-}
release=${release:-$cached}
folder=$cache/guest-$release

make_initrd() {
	local root=$1/initramfs modules
	mkdir -p "$root"/{bin,proc,sys,dev,newroot} "$root/lib/modules/$release"
	cp /bin/busybox "$root/bin/busybox"
	ln -s busybox "$root/bin/sh"
	modules=$(for module in "${boot_modules[@]}"; do modprobe -d "$1" -S "$release" --show-depends "$module"; done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++')
	local order=()
	while read -r path; do
		cp "$path" "$root/lib/modules/$release/"
		order+=("/lib/modules/$release/$(basename "$path")")
	done <<<"$modules"
	printf '%s\n' "${order[@]}" >"$root/modules"
	cp "$(dirname "$0")/../../test/guest/init.sh" "$root/init"
	chmod 755 "$root/init"
	(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$1/initrd"
	rm -rf "$root"
}

# Fails where the package cannot be had; what is in the cache is whole.
fetch_kernel() {
	local work=$1
	run_logged "$cache/guest.log" "downloading $package (about 70 MB)" \
		env -C "$work" apt-get -o APT::Sandbox::User=root -o Acquire::Retries=3 -o Acquire::http::Timeout=30 download -qq "$package" || return
	say "unpacking it into $folder"
	# The last step is the one that makes it visible; none before it may have failed.
	dpkg-deb -x "$work/$package"_*.deb "$work" &&
		depmod -b "$work" "$release" &&
		mv "$work/boot/vmlinuz-$release" "$work/vmlinuz" &&
		rm -rf "${work:?}"/*.deb "${work:?}/boot" "${work:?}/usr" &&
		echo "$release" >"$work/release" &&
		chmod 755 "$work" &&
		mv "$work" "$folder"
}

mkdir -p "$cache"
exec 9>"$cache/guest.lock"
flock 9
if [ ! -e "$folder/vmlinuz" ]; then
	work=$(mktemp -d "$cache/guest-work.XXXXXX")
	trap 'stop_running; rm -rf "$work"' EXIT
	if ! fetch_kernel "$work"; then
		[ -n "$cached" ] || die "cannot get the package $package"
		say "taking $cached instead, which is in the cache"
		release=$cached folder=$cache/guest-$cached
	fi
fi
# The initramfs holds our own init: made anew when that changed.
if [ ! -e "$folder/initrd" ] || [ "$(dirname "$0")/../../test/guest/init.sh" -nt "$folder/initrd" ]; then
	make_initrd "$folder"
fi
echo "$folder"
