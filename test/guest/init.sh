#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The guest's first program: loads what 9p needs, shows the host's root, read-only under an overlay, and hands over to the script of the test.
# Only busybox exists here.
export PATH=/bin
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
while read -r module; do /bin/busybox insmod "$module"; done </modules
/bin/busybox mkdir /host /memory
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro host /host || /bin/busybox poweroff -f
# The guest's writes stay in its own memory.
/bin/busybox mount -t tmpfs tmpfs /memory
/bin/busybox mkdir /memory/upper /memory/work
/bin/busybox mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work overlay /newroot || /bin/busybox poweroff -f
/bin/busybox mount -t tmpfs tmpfs /newroot/run
# The script comes in the folder for the results: its path on the host may have spaces, which the kernel's command line cannot carry well.
/bin/busybox mkdir /out
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,ro out /out || /bin/busybox poweroff -f
/bin/busybox cp /out/.script /newroot/run/sluice-guest-script
/bin/busybox umount /out
/bin/busybox mount -o move /proc /newroot/proc
/bin/busybox mount -o move /sys /newroot/sys
/bin/busybox mount -o move /dev /newroot/dev
exec /bin/busybox switch_root /newroot /run/sluice-guest-script
