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

find_package() { apt-cache depends --important linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[^ <>]*\)$/\1/p' | head -n 1; }

package=$(find_package)
if [ -z "$package" ]; then
	say "refreshing apt's lists to find the kernel package"
	apt-get update -qq >&2 || true
	package=$(find_package)
fi
[ -n "$package" ] || die "apt knows no kernel package: is linux-image-amd64 in its sources?"
readonly release=${package#linux-image-}
readonly folder=$cache/guest-$release

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

mkdir -p "$cache"
exec 9>"$cache/guest.lock"
flock 9
if [ ! -e "$folder/vmlinuz" ]; then
	work=$(mktemp -d "$cache/guest-work.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	say "downloading $package (about 70 MB) and unpacking it into $folder"
	(cd "$work" && apt-get -o APT::Sandbox::User=root download -qq "$package" >&2 && dpkg-deb -x "$package"_*.deb .) || die "cannot get the package $package"
	depmod -b "$work" "$release"
	mv "$work/boot/vmlinuz-$release" "$work/vmlinuz"
	rm -rf "${work:?}"/*.deb "${work:?}/boot" "${work:?}/usr"
	echo "$release" >"$work/release"
	chmod 755 "$work"
	mv "$work" "$folder"
fi
# The initramfs holds our own init: made anew when that changed.
if [ ! -e "$folder/initrd" ] || [ "$(dirname "$0")/../../test/guest/init.sh" -nt "$folder/initrd" ]; then
	make_initrd "$folder"
fi
echo "$folder"
