"""Owns the sub-commands that set features, reservations, directives and virtualization, and those for security."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aionvme.cli import console
from aionvme.cli.nvme import acting
from aionvme.cli.nvme.acting import LongTimeout, timed
from aionvme.cli.nvme.frame import Call, Commands
from aionvme.cli.nvme.options import DataFile, DataLen, NamespaceId, byte_count, switch, value
from aionvme.errors import UsageError

__all__ = ["commands"]

commands = Commands("Settings")

_TIMESTAMP, _TIMESTAMP_BYTES, _TIMESTAMP_VALUE = 0x0E, 8, 6
_Key = byte_count


@commands.add("set-feature", example="set-feature mock: -f 4 -V 0x157", panel="Features and registers")
def set_feature(
    call: Call,
    feature_id: Annotated[int, value("--feature-id", "-f", help="Feature identifier.")] = 0,
    nsid: NamespaceId = None,
    new: Annotated[int | None, value("--value", "-V", help="The value: dword 11.", parser=byte_count)] = None,
    cdw12: Annotated[int, value("--cdw12", "-c", help="Dword 12.")] = 0,
    uuid_index: Annotated[int, value("--uuid-index", "-U", help="UUID index.")] = 0,
    data_len: DataLen = None,
    data: DataFile = None,
    save: Annotated[bool, switch("--save", "-s", help="The value outlives a power cycle.")] = False,
) -> None:
    """Set a feature. Data, of a feature that has some, is of a file or standard input."""
    from aionvme.spec import entries
    from aionvme.spec.features import FEATURES

    if not feature_id:
        raise UsageError(
            "set-feature: say which feature: --feature-id NUM; `aionvme get-feature ADDRESS` lists those that there are"
        )
    if uuid_index > 127:
        raise UsageError(f"--uuid-index is from 0 to 127, not {uuid_index}")
    known = FEATURES.get(feature_id)
    nbytes = known.SIZE if data_len is None and known is not None else data_len or 0
    payload: bytes | None = None
    if nbytes and feature_id == _TIMESTAMP and new is not None:
        payload = new.to_bytes(_TIMESTAMP_VALUE, "little").ljust(_TIMESTAMP_BYTES, b"\0")
    elif nbytes:
        payload = acting.read_input(data, nbytes)
    elif new is None:
        raise UsageError(f"set-feature: say what feature {feature_id:#x} is set to: --value NUM")
    word = 0 if payload is not None and feature_id == _TIMESTAMP else new or 0

    async def act(connected: Call) -> int:
        sqe = entries.set_features(
            feature_id,
            cdw11=word,
            cdw12=cdw12,
            cdw14=uuid_index,
            nsid=_nsid(connected, feature_id, nsid),
            save=save,
        )
        if payload is None:
            return int((await connected.ctrlr.admin_raw(sqe)).dw0)
        with connected.ctrlr.dma_alloc(len(payload)) as buf:
            memoryview(buf)[:] = payload
            return int((await connected.ctrlr.admin_raw(sqe, data=buf, write=True)).dw0)

    call.run(act)
    _show_set(call, feature_id, new or 0, cdw12, save, payload)


def _show_set(call: Call, fid: int, new: int, cdw12: int, save: bool, payload: bytes | None) -> None:
    from aionvme.cli.nvme import words
    from aionvme.cli.nvme.output import hex_dump

    call.say(
        f"set-feature:{fid:#04x} ({words.feature_name(fid)}), value:{_hex(new)}, cdw12:{_hex(cdw12)}, "
        f"save:{_plain(int(save))}"
    )
    if payload and call.human:
        console.result(hex_dump(payload))
    if not save:
        console.note("Without --save it is so until the next reset, which is when the next command connects.")


def _hex(found: int) -> str:
    # C's %#0*x with 10 places, or 8 for 0, which has no 0x.
    return f"{found:#010x}" if found else "0" * 8


def _plain(found: int) -> str:
    return f"{found:#x}" if found else "0"


def _nsid(call: Call, fid: int, nsid: int | None) -> int:
    """As told; of a feature that each namespace has, the only namespace if there is one."""
    from aionvme.spec.feature import Scope
    from aionvme.spec.features import FEATURES

    if nsid is not None:
        return nsid
    known = FEATURES.get(fid)
    return call.namespace(None).nsid if known is not None and known.SCOPE == Scope.NAMESPACE else 0


# -- reservations ------------------------------------------------------------------------------------------------------

_RESERVATIONS = "Reservations"
_CrKey = Annotated[int, value("--crkey", "-c", help="Current reservation key.", parser=_Key)]
_Ignore = Annotated[bool, switch("--iekey", "-i", help="Whatever the current key is.")]
_Rtype = Annotated[
    int,
    value("--rtype", "-t", help="1 write exclusive, 2 exclusive access; 3, 4 registrants only; 5, 6 all of them."),
]  # fmt: skip


@commands.add("resv-register", example="resv-register mock: -n 1 -k 0x1234", panel=_RESERVATIONS)
async def resv_register(
    call: Call,
    nsid: NamespaceId = None,
    crkey: _CrKey = 0,
    nrkey: Annotated[int, value("--nrkey", "-k", help="New reservation key.", parser=_Key)] = 0,
    rrega: Annotated[int, value("--rrega", "-r", help="0 register, 1 unregister, 2 replace.")] = 0,
    cptpl: Annotated[
        int, value("--cptpl", "-p", help="At a loss of power: 0 as before, 2 released, 3 kept.")
    ] = 0,
    iekey: _Ignore = False,
) -> None:
    """Register, unregister or replace this host's reservation key."""
    if cptpl > 3 or cptpl == 1:
        raise UsageError(f"invalid cptpl:{cptpl}: it is 0, 2 or 3")
    if rrega > 2:
        raise UsageError(f"invalid rrega:{rrega}: it is 0, 1 or 2")
    async with call.ctrlr.alloc_io_qpair() as qp:
        await qp.reservation_register(
            call.namespace(nsid), rrega, crkey=crkey, nrkey=nrkey, ignore_key=iekey, cptpl=cptpl
        )
    call.say("NVME Reservation  success")


@commands.add("resv-acquire", example="resv-acquire 0000:01:00.0 -n 1 -c 0x1234 -t 1", panel=_RESERVATIONS)
def resv_acquire(
    call: Call,
    nsid: NamespaceId = None,
    crkey: _CrKey = 0,
    prkey: Annotated[int, value("--prkey", "-p", help="The key that is preempted.", parser=_Key)] = 0,
    rtype: _Rtype = 0,
    racqa: Annotated[int, value("--racqa", "-a", help="0 acquire, 1 preempt, 2 preempt and abort.")] = 0,
    iekey: _Ignore = False,
    timeout: LongTimeout = None,
) -> None:
    """Acquire a reservation of a namespace, or preempt another host's."""
    if racqa > 2:
        raise UsageError(f"invalid racqa:{racqa}: it is 0, 1 or 2")
    timed(call, timeout)

    async def act(connected: Call) -> None:
        async with connected.ctrlr.alloc_io_qpair() as qp:
            await qp.reservation_acquire(
                connected.namespace(nsid), racqa, rtype, crkey=crkey, prkey=prkey, ignore_key=iekey
            )

    call.run(act)
    call.say("NVME Reservation Acquire success")


@commands.add("resv-release", example="resv-release 0000:01:00.0 -n 1 -c 0x1234 -t 1", panel=_RESERVATIONS)
def resv_release(
    call: Call,
    nsid: NamespaceId = None,
    crkey: _CrKey = 0,
    rtype: _Rtype = 0,
    rrela: Annotated[int, value("--rrela", "-a", help="0 release, 1 clear, which takes all keys too.")] = 0,
    iekey: _Ignore = False,
    timeout: LongTimeout = None,
) -> None:
    """Release this host's reservation, or clear all of a namespace."""
    if rrela > 1:
        raise UsageError(f"invalid rrela:{rrela}: it is 0 or 1")
    timed(call, timeout)

    async def act(connected: Call) -> None:
        async with connected.ctrlr.alloc_io_qpair() as qp:
            await qp.reservation_release(
                connected.namespace(nsid), rrela, rtype, crkey=crkey, ignore_key=iekey
            )

    call.run(act)
    call.say("NVME Reservation Release success")


# -- security ----------------------------------------------------------------------------------------------------------

_SECURITY = "Security"
_Secp = Annotated[int, value("--secp", "-p", help="Security protocol.")]
_Spsp = Annotated[int, value("--spsp", "-s", help="What is specific to the protocol.")]
_Nssf = Annotated[int, value("--nssf", "-N", help="NVMe security specific field.")]
_AnyNsid = Annotated[int, value("--namespace-id", "-n", help="Namespace, where the protocol has one.")]


@commands.add("security-send", example="security-send mock: -p 0xf0 -s 1 -t 16 -f FILE", panel=_SECURITY)
def security_send(
    call: Call,
    nsid: _AnyNsid = 0,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="The data; standard input if not given.")
    ] = None,
    nssf: _Nssf = 0,
    secp: _Secp = 0,
    spsp: _Spsp = 0,
    tl: Annotated[int, value("--tl", "-t", help="Transfer length, bytes.", parser=byte_count)] = 0,
    timeout: LongTimeout = None,
) -> None:
    """Send data to a security protocol of the controller."""
    timed(call, timeout)
    if not tl:
        raise UsageError("security-send: say how many bytes are sent: --tl NUM")
    payload = acting.read_input(file, tl)

    async def act(connected: Call) -> None:
        await connected.ctrlr.security_send(secp, payload, specific=spsp, nssf=nssf, nsid=nsid)

    call.run(act)
    call.say("NVME Security Send Command Success")


@commands.add("security-recv", example="security-recv mock: -p 0 -x 512", panel=_SECURITY)
def security_recv(
    call: Call,
    nsid: _AnyNsid = 0,
    size: Annotated[int, value("--size", "-x", help="Bytes that are received.", parser=byte_count)] = 0,
    nssf: _Nssf = 0,
    secp: _Secp = 0,
    spsp: _Spsp = 0,
    al: Annotated[int, value("--al", "-t", help="Allocation length, instead of -x.", parser=byte_count)] = 0,
    timeout: LongTimeout = None,
) -> None:
    """Receive the answer of a security protocol of the controller."""
    from aionvme.cli.nvme.options import Output
    from aionvme.cli.nvme.output import hex_dump, print_bytes

    timed(call, timeout)
    nbytes = size or al
    if not nbytes:
        raise UsageError("security-recv: say how many bytes are received: --size NUM")

    async def act(connected: Call) -> bytes:
        return await connected.ctrlr.security_receive(secp, nbytes, specific=spsp, nssf=nssf, nsid=nsid)

    found = call.run(act)
    if call.output == Output.BINARY:
        print_bytes(found)
        return
    call.say("NVME Security Receive Command Success")
    if call.human:
        console.result(hex_dump(found))


# -- directives --------------------------------------------------------------------------------------------------------

_DIRECTIVES = "Directives"
_Dtype = Annotated[int, value("--dir-type", "-D", help="0 identify, 1 streams.")]
_Dspec = Annotated[int, value("--dir-spec", "-S", help="What is specific to the directive.")]
_Doper = Annotated[int, value("--dir-oper", "-O", help="Operation.")]


def _operation(dtype: int, doper: int, known: dict[int, tuple[int, ...]]) -> None:
    if dtype not in known:
        raise UsageError(f"invalid directive type {dtype}: it is 0 (identify) or 1 (streams)")
    if doper not in known[dtype]:
        listed = ", ".join(map(str, known[dtype]))
        raise UsageError(f"--dir-oper: directive type {dtype} has the operations {listed}, not {doper}")


@commands.add("dir-send", example="dir-send mock: -n 1 -D 0 -O 1 -T 1 -e 1", panel=_DIRECTIVES)
def dir_send(
    call: Call,
    nsid: _AnyNsid = 1,
    data_len: DataLen = None,
    dir_type: _Dtype = 0,
    target_dir: Annotated[
        int | None, value("--target-dir", "-T", help="Directive that is enabled or not.")
    ] = None,
    dir_spec: _Dspec = 0,
    dir_oper: _Doper = 0,
    endir: Annotated[int, value("--endir", "-e", help="1 enables it, 0 disables it.")] = 1,
    input_file: Annotated[
        Path | None, typer.Option("--input-file", "-i", help="The data; standard input if not given.")
    ] = None,
) -> None:
    """Send an operation of a directive: enable one, or release streams."""
    from aionvme.spec.directives import EnableCdw12

    _operation(dir_type, dir_oper, {0: (1,), 1: (1, 2)})
    if dir_type == 0 and target_dir is None:
        raise UsageError("dir-send: say which directive is enabled or disabled: --target-dir NUM")
    cdw12 = EnableCdw12(endir=endir & 1, dtype=target_dir or 0).value if dir_type == 0 else 0
    payload = acting.read_input(input_file, data_len) if data_len else None

    async def act(connected: Call) -> int:
        return await connected.ctrlr.directive_send(
            dir_type, dir_oper, dspec=dir_spec, nsid=nsid, data=payload, cdw12=cdw12
        )

    result = call.run(act)
    call.say(
        f"dir-send: type {_plain(dir_type)}, operation {_plain(dir_oper)}, spec_val {_plain(dir_spec)}, "
        f"nsid {_plain(nsid)}, result {_plain(result)}"
    )


_RECEIVED = {(0, 1): 4096, (1, 1): 32, (1, 2): 4096, (1, 3): 0}


@commands.add("dir-receive", example="dir-receive mock: -n 1 -D 0 -O 1 -H", panel=_DIRECTIVES)
async def dir_receive(
    call: Call,
    nsid: _AnyNsid = 1,
    data_len: DataLen = None,
    dir_type: _Dtype = 0,
    dir_spec: _Dspec = 0,
    dir_oper: _Doper = 0,
    req_resource: Annotated[int, value("--req-resource", "-r", help="Streams that are asked for.")] = 0,
) -> None:
    """Receive what a directive says: which directives there are, or the state of streams."""
    from aionvme.cli.nvme.options import Output
    from aionvme.cli.nvme.output import hex_dump, print_bytes

    _operation(dir_type, dir_oper, {0: (1,), 1: (1, 2, 3)})
    nbytes = data_len if data_len is not None else _RECEIVED[dir_type, dir_oper]
    cdw12 = req_resource if (dir_type, dir_oper) == (1, 3) else 0
    found = await call.ctrlr.directive_receive(
        dir_type, dir_oper, dspec=dir_spec, nsid=nsid, nbytes=nbytes, cdw12=cdw12
    )
    data = found if isinstance(found, bytes) else b""
    if call.output == Output.BINARY:
        print_bytes(data)
        return
    result = 0 if isinstance(found, bytes) else int(found)
    call.say(
        f"dir-receive: type:{_plain(dir_type)}, operation:{_plain(dir_oper)}, spec:{_plain(dir_spec)}, "
        f"nsid:{_plain(nsid)}, result:{_plain(result)}"
    )
    if data and call.human:
        _show_directive(call, dir_type, dir_oper, data) if call.detail else console.result(hex_dump(data))


def _show_directive(call: Call, dtype: int, doper: int, data: bytes) -> None:
    from aionvme.cli.nvme.output import hex_dump
    from aionvme.spec.directives import DirectiveType, IdentifyDirectives

    if (dtype, doper) != (0, 1):
        console.result(hex_dump(data))
        return
    found = IdentifyDirectives.decode(data.ljust(IdentifyDirectives.SIZE, b"\0"))
    console.facts(
        [
            (each.name.lower().replace("_", " "), "enabled" if found.enables(each) else "supported")
            for each in DirectiveType
            if found.supports(each)
        ]
    )


# -- virtualization ----------------------------------------------------------------------------------------------------


@commands.add("virt-mgmt", example="virt-mgmt 0000:01:00.0 -c 1 -r 0 -a 8 -n 2", panel="Virtualization")
async def virt_mgmt(
    call: Call,
    cntlid: Annotated[int, value("--cntlid", "-c", help="Controller identifier.")] = 0,
    rt: Annotated[int, value("--rt", "-r", help="Resources: 0 queues, 1 interrupts.")] = 0,
    act: Annotated[
        int, value("--act", "-a", help="1 primary flexible, 7 secondary offline, 8 assign, 9 online.")
    ] = 0,
    nr: Annotated[int, value("--nr", "-n", help="How many resources.")] = 0,
) -> None:
    """Give a secondary controller resources, or take it on- or offline."""
    from aionvme.spec.virtualization import VirtualizationAction, virtualization_management

    if act not in list(VirtualizationAction):
        raise UsageError(f"--act is 1, 7, 8 or 9, not {act}")
    # As it is: whether the controller has the command is for its status to say.
    sqe = virtualization_management(action=act, cntlid=cntlid, resource=rt, count=nr)
    cpl = await call.ctrlr.admin_raw(sqe)
    call.say(f"success, Number of Controller Resources Modified (NRM):{_plain(cpl.dw0 & 0xFFFF)}")
