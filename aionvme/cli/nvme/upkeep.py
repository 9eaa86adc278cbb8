"""Owns the sub-commands that format, sanitize, test and reset a device, and those for its firmware."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aionvme.cli import console
from aionvme.cli.nvme import acting
from aionvme.cli.nvme.acting import LongForce, check_can_ask, left_behind, may_destroy, one_of
from aionvme.cli.nvme.frame import Call, Commands
from aionvme.cli.nvme.options import NamespaceId, byte_count, switch, value
from aionvme.errors import OperationFailedError, StatusError, UsageError
from aionvme.spec.firmware import CommitAction, ResetNeeded
from aionvme.spec.media import SanitizeAction, SelfTestCode

if TYPE_CHECKING:
    from aionvme import FirmwareCommitted
    from aionvme.spec.logs import SanitizeLog

__all__ = ["commands"]

commands = Commands("The device")

_ALL = 0xFFFFFFFF


@commands.add("format", example="format 0000:01:00.0 -n 1 -l 0 -s 1")
def format_(
    call: Call,
    nsid: NamespaceId = None,
    lbaf: Annotated[int | None, value("--lbaf", "-l", help="Format; that in use if not given.")] = None,
    ses: Annotated[int, value("--ses", "-s", help="Secure erase: 0 none, 1 user data, 2 cryptographic.")] = 0,
    pi: Annotated[int, value("--pi", "-i", help="Protection information: 0 off, types 1 to 3.")] = 0,
    pil: Annotated[int, value("--pil", "-p", help="Its place in the metadata: 0 last, 1 first bytes.")] = 0,
    ms: Annotated[int, value("--ms", "-m", help="1: metadata follows each block's data.")] = 0,
    reset: Annotated[bool, switch("--reset", "-r", help="Reset the controller afterwards.")] = False,
    block_size: Annotated[
        int | None, value("--block-size", "-b", help="Bytes of a block, instead of -l.", parser=byte_count)
    ] = None,
    force: LongForce = False,
    raw_binary: acting.OwnB = False,
) -> None:
    """Format a namespace, or all (FFFFFFFFh). All data in it is lost."""
    if lbaf is not None and block_size is not None:
        raise UsageError("give one of --lbaf and --block-size")
    for name, found, most in (("--ses", ses, 2), ("--pi", pi, 3), ("--pil", pil, 1), ("--ms", ms, 1)):
        if found > most:
            raise UsageError(f"{name} is from 0 to {most}, not {found}")
    check_can_ask(call, force)

    async def act(connected: Call) -> int:
        wanted = connected.nsid(nsid)
        form = _lbaf(connected, wanted, lbaf, block_size)
        which = "ALL namespaces" if wanted == _ALL else f"namespace {wanted}"
        await may_destroy(connected, f"format {which}", force)
        with left_behind(
            "the controller was told to abort the format: what the namespace has is not known; format it again"
        ):
            await connected.follow(
                connected.ctrlr.format_nvm(
                    wanted, lbaf=form, ses=ses, pi=pi, pil=bool(pil), mset=bool(ms),
                    all_namespaces=wanted == _ALL, timeout=connected.timeout,
                ),
                "formatting",
            )  # fmt: skip
        if reset:
            await connected.ctrlr.reset()
        return wanted

    call.say(f"Success formatting namespace:{call.run(act):x}")


def _lbaf(call: Call, nsid: int, lbaf: int | None, block_size: int | None) -> int:
    if lbaf is not None:
        return lbaf
    if nsid == _ALL:
        if block_size is not None:
            raise UsageError("--block-size is for one namespace; of all of them say the format with --lbaf")
        return 0
    data = call.namespace(nsid).data
    if block_size is None:
        return int(data.lba_format_index)
    for index, form in enumerate(data.lba_formats):
        if form.lbads and form.block_size == block_size and form.ms == 0:
            return index
    raise UsageError(f"no format has blocks of {block_size} bytes without metadata: choose one with --lbaf")


# -- sanitize ----------------------------------------------------------------------------------------------------------

_SANITIZE = {
    "exit_failure": SanitizeAction.EXIT_FAILURE,
    "start_block_erase": SanitizeAction.BLOCK_ERASE,
    "start_overwrite": SanitizeAction.OVERWRITE,
    "start_crypto_erase": SanitizeAction.CRYPTO_ERASE,
    "exit_media_verification": SanitizeAction.EXIT_MEDIA_VERIFICATION,
}
_EXITS = (SanitizeAction.EXIT_FAILURE, SanitizeAction.EXIT_MEDIA_VERIFICATION)


@commands.add("sanitize", example="sanitize 0000:01:00.0 -a start-crypto-erase --wait")
def sanitize(
    call: Call,
    sanact: Annotated[
        int,
        value(
            "--sanact", "-a", parser=one_of(**_SANITIZE), metavar="ACTION",
            help="1 exit-failure, 2 start-block-erase, 3 start-overwrite, 4 start-crypto-erase, "
            "5 exit-media-verification.",
        ),
    ] = 0,
    no_dealloc: Annotated[bool, switch("--no-dealloc", "-d", help="Blocks stay allocated.")] = False,
    oipbp: Annotated[bool, switch("--oipbp", "-i", help="Invert the pattern between passes.")] = False,
    owpass: Annotated[int, value("--owpass", "-n", help="Passes of an overwrite, 0 for 16.")] = 0,
    ause: Annotated[bool, switch("--ause", "-u", help="A failure may be left without another.")] = False,
    ovrpat: Annotated[int, value("--ovrpat", "-p", help="Pattern of an overwrite, 32 bits.")] = 0,
    emvs: Annotated[bool, switch("--emvs", "-e", help="Enter media verification afterwards.")] = False,
    wait: Annotated[bool, switch("--wait", "-w", help="Wait for the end, and show how far it is.")] = False,
    force: Annotated[bool, switch("--force", "-f", help="Do not ask.")] = False,
) -> None:  # fmt: skip
    """Erase the whole subsystem, past every cache. Begun, nothing stops it; `sanitize-log` shows how far it is."""
    from aionvme.spec import media

    if sanact not in list(SanitizeAction):
        raise UsageError("Invalid Sanitize Action: give --sanact 1 to 5, or its name")
    if owpass > 15:
        raise UsageError("OWPASS out of range [0-15]")
    ends = SanitizeAction(sanact) in _EXITS
    if not ends:
        check_can_ask(call, force)
    sqe = media.sanitize(
        sanact, ause=ause, owpass=owpass, oipbp=oipbp, ndas=no_dealloc, emvs=emvs, ovrpat=ovrpat
    )

    async def act(connected: Call) -> None:
        if not ends:
            await may_destroy(connected, "sanitize ALL namespaces", force)
        await connected.ctrlr.admin_raw(sqe)
        if wait and not ends:
            with left_behind(
                "the sanitize operation goes on in the device, and nothing stops it: "
                f"`aionvme sanitize-log {shlex.quote(connected.address)}` shows how far it is"
            ):
                await _sanitized(connected)

    call.run(act)
    call.say("sanitize: Success" + (", sanitized" if wait and not ends else ""))


async def _sanitized(call: Call) -> SanitizeLog:
    return await call.follow(call.ctrlr.sanitize_progress(), "sanitizing")


# -- firmware ----------------------------------------------------------------------------------------------------------


@commands.add("fw-download", example="fw-download 0000:01:00.0 -f FILE")
def fw_download(
    call: Call,
    fw: Annotated[Path | None, typer.Option("--fw", "-f", help="File of the image.")] = None,
    xfer: Annotated[
        int | None, value("--xfer", "-x", help="Bytes of each transfer.", parser=byte_count)
    ] = None,
    offset: Annotated[int, value("--offset", "-O", help="Where it belongs in the image, in dwords.")] = 0,
    progress: Annotated[bool, switch("--progress", "-p", help="Show it: as ever, from a second on.")] = False,
    ignore_ovr: Annotated[
        bool, switch("--ignore-ovr", "-i", help="Go on where a piece overlaps one that is there.")
    ] = False,
) -> None:
    """Download a firmware image, or a part of one.

    The controller forgets it at its next reset, which is when the next command connects: `fw-commit --fw FILE`
    downloads and commits in one.
    """
    if fw is None:
        raise UsageError("--fw is required: the file of the image")
    image = acting.read_input(fw)
    send = _download_over if ignore_ovr else _download
    call.run(lambda connected: send(connected, image, offset * 4, xfer))
    call.say("Firmware download success")
    console.note(
        "The controller forgets the image at its next reset, which is when the next command connects: "
        "`aionvme fw-commit --fw FILE` downloads and commits in one."
    )


async def _download(call: Call, image: bytes, offset: int = 0, piece: int | None = None) -> None:
    with left_behind("the image was not committed: the device goes on with its firmware; begin again"):
        await call.follow(call.ctrlr.firmware_download(image, offset=offset, piece=piece), "downloading")


async def _download_over(call: Call, image: bytes, offset: int, piece: int | None) -> None:
    step = piece or _PIECE
    for at in range(0, len(image), step):
        try:
            await _download(call, image[at : at + step], offset + at)
        except StatusError as error:
            if error.status.name != "OVERLAPPING_RANGE":
                raise
            console.note(f"the piece at {offset + at:#x} overlaps another, which was ignored")


# nvme-cli's piece of an image, where none is said.
_PIECE = 4096
_COMMIT = {
    "replace": 0,
    "replace_and_activate": 1,
    "set_active": 2,
    "replace_and_activate_immediate": 3,
    "replace_boot_partition": 6,
    "activate_boot_partition": 7,
}
# Those by which an image runs after a reset.
_AT_RESET = (1, 2)


@commands.add(
    "fw-commit", "fw-activate", example="fw-commit 0000:01:00.0 --fw FILE -s 2 -a replace-and-activate"
)
def fw_commit(
    call: Call,
    slot: Annotated[int, value("--slot", "-s", help="Slot, 0 for the controller's choice.")] = 0,
    action: Annotated[
        int,
        value(
            "--action", "-a", parser=one_of(**_COMMIT), metavar="ACTION",
            help="0 replace, 1 replace-and-activate, 2 set-active, 3 replace-and-activate-immediate, "
            "6 replace-boot-partition, 7 activate-boot-partition.",
        ),
    ] = 0,
    bpid: Annotated[int, value("--bpid", "-b", help="Boot partition.")] = 0,
    fw: Annotated[Path | None, typer.Option("--fw", help="File of an image that is downloaded before.")] = None,
    raw_binary: acting.OwnB = False,
) -> None:  # fmt: skip
    """Put an image into a slot, or choose the slot that is used after the next reset."""
    if slot > 7:
        raise UsageError(f"invalid slot:{slot}: slots are 0 to 7")
    if action not in _COMMIT.values():
        raise UsageError(f"invalid action:{action}: actions are {', '.join(map(str, _COMMIT.values()))}")
    if bpid > 1:
        raise UsageError(f"invalid boot partition id:{bpid}: it is 0 or 1")
    image = acting.read_input(fw) if fw is not None else None

    async def act(connected: Call) -> FirmwareCommitted:
        if image is not None:
            await _download(connected, image)
        return await connected.ctrlr.firmware_commit(slot, CommitAction(action), boot_partition=bpid)

    committed = call.run(act)
    call.say(f"Success committing firmware action:{action} slot:{slot}")
    if committed.reset > ResetNeeded.CONTROLLER:
        console.note(f"It is activated by a {committed.reset.name.lower().replace('_', ' ')} reset.")
    elif action in _AT_RESET:
        console.note("It runs after the next reset, which is when the next command connects.")


# -- self-test ---------------------------------------------------------------------------------------------------------

_STARTED = {
    SelfTestCode.SHORT: "Short Device self-test started",
    SelfTestCode.EXTENDED: "Extended Device self-test started",
    SelfTestCode.VENDOR: "Vendor specific Device self-test started",
    SelfTestCode.ABORT: "Aborting device self-test operation",
}


@commands.add("device-self-test", example="device-self-test 0000:01:00.0 -s 1 --wait")
async def device_self_test(
    call: Call,
    nsid: Annotated[
        int, value("--namespace-id", "-n", help="Which is tested: 0 the controller alone; all if not given.")
    ] = _ALL,
    self_test_code: Annotated[
        int, value("--self-test-code", "-s", help="0 show, 1 short, 2 extended, 0xe the vendor's, 0xf abort.")
    ] = 0,
    wait: Annotated[bool, switch("--wait", "-w", help="Wait for the end; Ctrl-C aborts the test.")] = False,
) -> None:
    """Begin a self-test of the device, abort it, or say how far it is. `self-test-log` has the results."""
    from aionvme.spec import media

    if self_test_code == 0:
        await _running(call, wait)
        return
    if self_test_code not in list(SelfTestCode):
        raise UsageError(f"--self-test-code: 0, 1, 2, 0xe or 0xf, not {self_test_code:#x}")
    code = SelfTestCode(self_test_code)
    if not wait or code == SelfTestCode.ABORT:
        await call.ctrlr.admin_raw(media.device_self_test(code, nsid=nsid))
        call.say(_STARTED[code])
        if code == SelfTestCode.SHORT:
            console.note(
                "A reset ends a short test, which is when the next command connects: --wait for its end."
            )
        return
    if call.human:
        console.note(_STARTED[code])
    with left_behind("the self-test was aborted"):
        await _tested(call, call.ctrlr.device_self_test(code, nsid))


async def _running(call: Call, wait: bool) -> None:
    from aionvme.spec.opcodes import LogPageId

    log = await call.ctrlr.get_log_page(LogPageId.DEVICE_SELF_TEST)
    if not log.running:
        call.say("no self test running")
    elif wait:
        with left_behind("the self-test goes on in the device"):
            await _tested(call, call.ctrlr.self_test_progress())
    else:
        call.say(f"progress {log.percent}%")


async def _tested(call: Call, operation: Any) -> None:
    try:
        await call.follow(operation, "testing")
    except OperationFailedError as error:
        raise OperationFailedError(
            f"{error}: `aionvme self-test-log {shlex.quote(call.address)}` has it in full", error.result
        ) from error
    call.say("Device self-test: Success")


# -- resets ------------------------------------------------------------------------------------------------------------


@commands.add("reset", example="reset 0000:01:00.0")
async def reset_(call: Call) -> None:
    """Reset the controller, and bring it up again."""
    await call.ctrlr.reset()
    call.say("Reset: Success")


@commands.add("subsystem-reset", example="subsystem-reset 0000:01:00.0")
async def subsystem_reset(call: Call) -> None:
    """Reset the NVM subsystem: every controller of it, in whosever hands they are."""
    await call.ctrlr.subsystem_reset()
    call.say("Subsystem-reset: Success")
