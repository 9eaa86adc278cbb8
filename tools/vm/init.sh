#!/bin/sh
# A guest's first process: makes a root, runs one command in it, says how that ended, powers off.
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

# Sets `root`, and mounts what is to be seen there.
. /root.sh
mkdir -p $root/run/aionvme-vm
mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000" share $root/run/aionvme-vm || fail "mount the shared folder"
ip link set lo up

tell root

chroot $root /bin/sh /run/aionvme-vm/command.sh </dev/null >&3 2>&1
status=$?
sync
echo >&3 # ends a line that the command may have left open
tell "exit $status"
poweroff -f
