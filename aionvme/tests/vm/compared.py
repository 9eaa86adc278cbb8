"""Owns which sub-commands that show something are compared with nvme-cli on QEMU's controller, and why some are not."""

from __future__ import annotations

#: What is behind the device on nvme-cli's command line, and behind the address on ours. These a quick run has, too.
FIRST: dict[str, str] = {
    "id-ctrl": "",
    "id-ns": "--namespace-id=1",
    "smart-log": "",
    "error-log": "",
    "fw-log": "",
    "get-feature": "",
}
OTHERS: dict[str, str] = {
    "list-ns": "",
    "ns-descs": "--namespace-id=1",
    "nvm-id-ctrl": "",
    "nvm-id-ns": "--namespace-id=1",
    "id-iocs": "",
    "changed-ns-list-log": "",
    # Without --csi nvme-cli shows what the kernel's driver selected, which has zoned namespaces, too.
    "effects-log": "--csi=0",
    "primary-ctrl-caps": "",
    "list-secondary": "",
    # The guest lets nvme-cli map registers (tools/vm/machine.py).
    "show-regs": "",
    "show-regs --verbose": "",
    "get-reg": "--offset=0x8",
    "get-reg --verbose": "--cap --vs --csts",
}
#: What QEMU's controller does not have: refused by way of the kernel, and so by ours.
REFUSED: dict[str, str] = {
    "list-ctrl": "",
    "cmdset-ind-id-ns": "--namespace-id=1",
    "sanitize-log": "",
    "self-test-log": "",
    "supported-log-pages": "",
    "endurance-log": "--group-id=1",
    "ana-log": "",
    "persistent-event-log": "--action=1",
    "telemetry-log": "--output-file=/tmp/telemetry --host-generate=0",
    "get-lba-status": "--namespace-id=1 --action=0x11 --max-dw=15 --range-len=8",
    "resv-report": "--namespace-id=1",
}
#: By a test of their own, of the kernel's controllers.
LISTS = ("list", "list-subsys")
#: Not compared here, and why.
REASONS: dict[str, str] = {
    "cmd-set-independent-id-ns": "another name of cmdset-ind-id-ns",
    "get-log": "a key of nvme-cli's JSON has the address of a buffer in it, and what is under it is text with points",
    "get-property": "nvme-cli sends a command of Fabrics, which a PCI controller refuses; get-reg is compared",
}
