# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: Apache-2.0
# The guest's first process, after the variables that run.sh wrote before it.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LANG=C.UTF-8
mount -t tmpfs tmpfs /mnt && mkdir -p /mnt/results
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 out /mnt/results
export SLUICE_RESULTS=/mnt/results
: >/mnt/results/.started
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
# modprobe looks below /lib/modules, where the host has nothing for this kernel.
mkdir -p "/lib/modules/$(uname -r)" && mount --bind "$kernel/lib/modules/$(uname -r)" "/lib/modules/$(uname -r)"
ln -sfn /proc/self/fd /dev/fd
ip link set lo up
modprobe -a ip_vs ip_vs_rr ip_vs_wrr ip_vs_lc ip_vs_wlc ip_vs_lblc ip_vs_lblcr ip_vs_dh ip_vs_sh ip_vs_fo ip_vs_ovf ip_vs_sed ip_vs_nq ip_vs_mh ip_vs_ftp dummy veth
cd "$directory" || exit
echo 'sluice guest: start'
"${command[@]}" </dev/null
echo $? >/mnt/results/.status
echo 'sluice guest: end'
sync
poweroff -f
