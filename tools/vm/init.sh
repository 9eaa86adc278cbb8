#!/bin/sh
# The guest's first process: makes the host's root its own, runs one command in it, says how that ended, powers off.
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

nonce=$(sed -n 's/.*aionvme\.nonce=\([0-9a-f]*\).*/\1/p' /proc/cmdline)
for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name")" = aionvme.out ] && exec 3>"/dev/${port##*/}"
done

# A line of ours; the host takes it for ours by the number that it chose for this boot.
tell() { printf '@@%s %s %s\n' "$nonce" "$(cut -d' ' -f1 /proc/uptime)" "$*" >&3; }
fail() { tell "fail $*"; poweroff -f; exec sleep 1000; }

tell init
read -r modules </modules
modprobe -a $modules || fail "modprobe -a $modules"
tell modules

root=/new
mkdir -p /host /rw $root
fast=trans=virtio,version=9p2000.L,msize=512000
# Nothing changes the host's files meanwhile, so they may be cached: each Python start is seconds faster.
mount -t 9p -o "ro,$fast,cache=loose" host /host || fail "mount the host's root"
mount -t tmpfs tmpfs /rw && mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/host,upperdir=/rw/upper,workdir=/rw/work overlay $root || fail "mount the overlay"
mkdir -p $root/proc $root/sys $root/dev $root/run/aionvme-vm
mount -t 9p -o "$fast" share $root/run/aionvme-vm || fail "mount the shared folder"
mount -t proc proc $root/proc
mount -t sysfs sysfs $root/sys
mount -t devtmpfs devtmpfs $root/dev
mkdir -p $root/dev/pts $root/dev/shm $root/dev/hugepages
mount -t devpts devpts $root/dev/pts
mount -t tmpfs tmpfs $root/dev/shm
mount -t hugetlbfs hugetlbfs $root/dev/hugepages
ip link set lo up

tell root

chroot $root /bin/sh /run/aionvme-vm/command.sh </dev/null >&3 2>&1
status=$?
sync
echo >&3 # ends a line that the command may have left open
tell "exit $status"
poweroff -f
