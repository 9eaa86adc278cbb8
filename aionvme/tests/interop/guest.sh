# What the guest of the interop tier does with its controller. Each step leaves what it printed, and how it ended, in
# the folder that is shared with the host, for the tests to look at; a step that fails does not end the script.
cd /run/aionvme-vm || exit 1
mkdir steps

# step NAME COMMAND...: its output, errors, exit status and seconds.
step() {
    name=$1 began=$(cut -d' ' -f1 /proc/uptime)
    shift
    "$@" >steps/$name.out 2>steps/$name.err
    status=$?
    echo $status >steps/$name.status
    echo "$began to $(cut -d' ' -f1 /proc/uptime) s: $name: $status"
    return $status
}

# wait_until COMMAND...: at most 60 s.
wait_until() {
    tries=600
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        sleep 0.1
    done
}
gone() { [ ! -b "$1" ]; }
# The kernel looks at namespaces side by side and numbers them as they come: which is which stands in their `nsid`.
named() {
    first='' second=''
    for disk in /sys/block/nvme0n*; do
        case $(cat $disk/nsid) in
            1) first=/dev/${disk##*/} ;;
            2) second=/dev/${disk##*/} ;;
        esac
    done
    [ -b "$first" ] && [ -b "$second" ]
}
attached() { wait_until named; }
attribute() { cat "/sys/block/${second##*/}/$1"; }

# Writes, reads back and compares checksums, at several depths, in pieces that are longer than one command, by several
# processes at once. One fio does it all: it takes seconds to start here.
verify() {
    fio --direct=1 --ioengine=libaio --filename=$second --verify=crc32c --verify_fatal=1 --group_reporting \
        --output-format=json \
        --name=depth1 --rw=randwrite --bs=4k --iodepth=1 --size=512k \
        --name=depth32 --stonewall --rw=randwrite --bsrange=4k-64k --iodepth=32 --size=4m \
        --name=large --stonewall --rw=write --bs=1m --iodepth=2 --size=8m \
        --name=jobs --stonewall --rw=randwrite --bsrange=512-16k --iodepth=8 --size=1m --numjobs=4 --offset_increment=8m
}
# works NAME: what is written now is read back.
copied() {
    dd if=payload of=$second oflag=direct bs=64k count=4 && dd if=$second iflag=direct bs=64k count=4 | cmp -n 262144 - payload
}
works() { step works-$1 copied; }
counts() {
    step stat-$1 cat /sys/block/${first##*/}/stat /sys/block/${second##*/}/stat
    step smart-log-$1 nvme smart-log /dev/nvme0 -o json
}
interrupts() { grep nvme0q /proc/interrupts; }
attributes() { (cd /sys/class/nvme/nvme0 && grep -r . serial model firmware_rev transport state queue_count cntlid); }

step attached attached || { dmesg >&2; exit 1; }
step attributes attributes
step list nvme list -o json
step id-ctrl nvme id-ctrl /dev/nvme0 -o json
step id-ctrl-raw nvme id-ctrl /dev/nvme0 -b
step id-ns nvme id-ns $first -o json
step id-ns-raw nvme id-ns $first -b
step list-ns nvme list-ns /dev/nvme0 -o json
step smart-log nvme smart-log /dev/nvme0 -o json

# What QEMU's own controller has not: as nvme-cli reads it, and the bytes.
captured() {
    name=$1
    shift
    step $name nvme $name "$@" -o json
    step $name-raw nvme $name "$@" -o binary
}
step resv-register nvme resv-register $first --nrkey=7 --rrega=0
captured resv-report $first
step resv-unregister nvme resv-register $first --crkey=7 --rrega=1
captured sanitize-log /dev/nvme0
captured supported-log-pages /dev/nvme0
# Of as many bytes as have the first event, a snapshot of SMART: nvme-cli 2.13 crashes as it makes JSON of the next
# (VSIL and EL are swapped where it takes a power on event apart; linux-nvme/nvme-cli, issue 2809). Text it makes of all.
step persistent-establish nvme persistent-event-log /dev/nvme0 --action=1
step persistent nvme persistent-event-log /dev/nvme0 --action=0 --log_len=1064 -o json
step persistent-text nvme persistent-event-log /dev/nvme0 --action=0 --log_len=4096
step persistent-raw nvme persistent-event-log /dev/nvme0 --action=0 -o binary
step persistent-release nvme persistent-event-log /dev/nvme0 --action=2
# nvme-cli gives no bytes of this one.
step self-test-log nvme self-test-log /dev/nvme0 -o json
step self-test-log-raw nvme get-log /dev/nvme0 --log-id=6 --log-len=564 -b

counts before
step fio verify
counts after
step interrupts interrupts

file_system() {
    mkfs.ext4 -q -F $first && mount $first /mnt || return
    for number in 1 2 3 4; do cp payload /mnt/payload$number || return; done
    rm /mnt/payload1 /mnt/payload3 && fstrim /mnt && umount /mnt
}
read_back() {
    mount -o ro $first /mnt && cmp payload /mnt/payload2 && umount /mnt
}
step file-system file_system
step fsck e2fsck -f -n $first
step read-back read_back

discard() { blkdiscard -o 0 -l 1048576 $second && dd if=$second iflag=direct bs=64k count=16; }
step discard discard

step bad-read nvme read $second --start-block=0xffffffff --block-count=0 --data-size=512
step error-log nvme error-log /dev/nvme0 -o json

step reset nvme reset /dev/nvme0
step state cat /sys/class/nvme/nvme0/state
works reset

function=/sys/class/nvme/nvme0/device
function_reset() { echo 1 >$function/reset; }
step function-reset function_reset
works function-reset

# The kernel's record of what it asks of the admin queue, from here on.
tracing=/sys/kernel/tracing
record() {
    mount -t tracefs tracefs $tracing && echo 'qid == 0' >$tracing/events/nvme/nvme_setup_cmd/filter &&
        echo 1 >$tracing/events/nvme/nvme_setup_cmd/enable
}
step record record
rebind() {
    slot=$(basename "$(readlink -f $function)")
    echo "$slot" >/sys/bus/pci/drivers/nvme/unbind && wait_until gone $second || return
    echo "$slot" >/sys/bus/pci/drivers/nvme/bind && attached
}
step rebind rebind
step admin-commands cat $tracing/trace
works rebind

step format nvme format $second --force --block-size=4096
step block-size attribute queue/logical_block_size
works format

# The kernel notices either by an asynchronous event.
namespaces() {
    nvme delete-ns /dev/nvme0 --namespace-id=2 && wait_until gone $second || return
    nvme create-ns /dev/nvme0 --nsze=65536 --ncap=65536 --block-size=512 && nvme list-ns /dev/nvme0 --all &&
        nvme attach-ns /dev/nvme0 --namespace-id=2 --controllers="$(cat /sys/class/nvme/nvme0/cntlid)" && attached
}
step namespaces namespaces
step size attribute size
works namespaces

step read-again read_back
step dmesg dmesg
