# The root of a guest of the VM tier: the host's own, below an overlay. A part of init.sh.
root=/new
mkdir -p /host /rw $root
# Nothing changes the host's files meanwhile, so they may be cached: each Python start is seconds faster.
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /host || fail "mount the host's root"
mount -t tmpfs tmpfs /rw && mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/host,upperdir=/rw/upper,workdir=/rw/work overlay $root || fail "mount the overlay"
mkdir -p $root/proc $root/sys $root/dev
mount -t proc proc $root/proc
mount -t sysfs sysfs $root/sys
mount -t devtmpfs devtmpfs $root/dev
mkdir -p $root/dev/pts $root/dev/shm $root/dev/hugepages
mount -t devpts devpts $root/dev/pts
mount -t tmpfs tmpfs $root/dev/shm
mount -t hugetlbfs hugetlbfs $root/dev/hugepages
mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
