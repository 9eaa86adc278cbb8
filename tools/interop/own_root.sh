# The root of a guest of the interop tier: the initramfs itself, with the programs that it has. A part of init.sh.
root=/
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p /tmp /dev/shm /mnt
mount -t tmpfs tmpfs /dev/shm
ln -s mke2fs /usr/sbin/mkfs.ext4
