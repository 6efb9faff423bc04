#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes Debian's own kernel (6.1, with ip_vs) ready for the QEMU guest of the tests, once per machine, and caches it.
#
#   tools/setup/guest-kernel.sh
#
# The kernel package is downloaded and unpacked, not installed. The last line on stdout is the folder that holds vmlinuz,
# initrd and lib/modules; progress goes to stderr. Needs `tools/setup/deps.sh guest`, and root only where apt has no package lists.
# shellcheck source=tools/setup/lib.sh
. "$(dirname "$0")/lib.sh"

# What the guest needs before it sees the host's file system.
readonly boot_modules=(virtio_pci 9pnet_virtio 9p overlay)
init=$(realpath "$(dirname "$0")/../../test/guest/init.sh")
cache=$(cache_folder)
log=$cache/guest.log
work=
writes_to=("$cache")

case ${1-} in
'') ;;
-h | --help) usage; exit 0 ;;
*) die "unknown argument '$1' (see --help)" ;;
esac
for tool in apt-cache apt-get dpkg-deb depmod modprobe cpio gzip flock; do
	command -v "$tool" >/dev/null || die "no $tool: run tools/setup/deps.sh guest as root first"
done
[ -x /bin/busybox ] || die "no /bin/busybox: run tools/setup/deps.sh guest as root first"

# shellcheck disable=SC2317 # lib.sh calls it
clean_up() { [ -z "$work" ] || rm -rf "$work"; }

# The release of what was unpacked by an earlier run, the latest first: used if apt knows of nothing newer, as without a network.
find_cached() {
	local kernel
	for kernel in "$cache"/guest-[0-9]*/vmlinuz; do
		[ ! -f "$kernel" ] || printf '%s\n' "${kernel%/vmlinuz}"
	done | sort -rV | sed -n '1s|.*/guest-||p'
}

# The kernel package that apt knows of; nothing if it knows none, as without package lists, when apt-cache fails.
find_package() {
	local depends
	depends=$(apt-cache depends --important linux-image-amd64 2>/dev/null) || return 0
	sed -n 's/^ *Depends: \(linux-image-[^ <>]*\)$/\1/p' <<<"$depends" | sed -n 1p
}

refresh_lists() { run_logged "$log" "refreshing apt's package lists" apt-get -q --error-on=any -o Acquire::Retries=3 -o Acquire::http::Timeout=30 update; }

download() {
	run_logged "$log" "downloading $package (about 70 MB)" \
		env -C "$work" apt-get -o APT::Sandbox::User=root -o Acquire::Retries=3 -o Acquire::http::Timeout=30 download -q "$package"
}

# Leaves the package in $work. What apt knows may be older than what the mirror has: then, if the cache has none, retried with new lists.
fetch_package() {
	download && return
	[ -z "$cached" ] || return
	say "retrying with new package lists"
	refresh_lists || return
	package=$(find_package)
	[ -n "$package" ] || return
	download
}

# Makes $folder of the package in $work. The last step is the one that makes it visible.
unpack_package() {
	say "unpacking it into $folder"
	dpkg-deb -x "$work"/linux-image-*.deb "$work/kernel"
	depmod -b "$work/kernel" "$release"
	mv "$work/kernel/boot/vmlinuz-$release" "$work/kernel/vmlinuz"
	rm -rf "$work/kernel/boot" "$work/kernel/usr"
	chmod 755 "$work/kernel"
	rm -rf "$folder"
	mv -T "$work/kernel" "$folder"
}

# The initramfs holds our own init. The copy of it beside the initramfs shows what the initramfs was made from, so it is written last.
make_initrd() {
	local root=$work/initramfs modules path order=()
	mkdir -p "$root"/{bin,proc,sys,dev,newroot} "$root/lib/modules/$release"
	cp /bin/busybox "$root/bin/busybox"
	ln -s busybox "$root/bin/sh"
	modules=$(for module in "${boot_modules[@]}"; do modprobe -d "$folder" -S "$release" --show-depends "$module"; done | sed -n 's/^insmod \(.*[^ ]\) *$/\1/p' | awk '!seen[$0]++')
	while read -r path; do
		cp "$path" "$root/lib/modules/$release/"
		order+=("/lib/modules/$release/$(basename "$path")")
	done <<<"$modules"
	printf '%s\n' "${order[@]}" >"$root/modules"
	cp "$init" "$root/init"
	chmod 755 "$root/init"
	(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initrd"
	cp "$init" "$work/initrd.init"
	mv "$work/initrd" "$folder/initrd"
	mv "$work/initrd.init" "$folder/initrd.init"
}

mkdir -p "$cache"
lock "$cache/guest.lock" "making the guest's kernel"
rm -rf "$cache"/guest-work.* # of a run that was killed
package=$(find_package)
cached=$(find_cached)
if [ -z "$package$cached" ]; then
	refresh_lists || true
	package=$(find_package)
	[ -n "$package" ] || die "apt knows no kernel package: is linux-image-amd64 in its sources?"
fi
release=${package#linux-image-}
release=${release:-$cached}
folder=$cache/guest-$release
if [ ! -e "$folder/vmlinuz" ] || ! cmp -s "$init" "$folder/initrd.init"; then
	work=$(mktemp -d "$cache/guest-work.XXXXXX")
fi
if [ ! -e "$folder/vmlinuz" ]; then
	if fetch_package; then
		release=${package#linux-image-} folder=$cache/guest-${package#linux-image-}
		unpack_package
	else
		[ -n "$cached" ] || die "cannot get the package $package"
		say "taking $cached instead, which is in the cache"
		release=$cached folder=$cache/guest-$cached
	fi
fi
cmp -s "$init" "$folder/initrd.init" || make_initrd
echo "$folder"
