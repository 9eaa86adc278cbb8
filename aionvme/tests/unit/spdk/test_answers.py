"""Errno, completions, and which log pages and features a controller says that it has."""

from __future__ import annotations

import errno
import logging

import attrs
import pytest

import aionvme
from aionvme import Status, StatusCode, spdk
from aionvme.spdk.failing import errno_of


@attrs.frozen
class Cpl:
    """What the functions read of a completion."""

    status: Status
    dw0: int = 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (aionvme.UsageError("x"), errno.EINVAL),
        (aionvme.WrongLoopError("x"), errno.EINVAL),
        (aionvme.QueueFullError("x"), errno.ENOMEM),
        (MemoryError(), errno.ENOMEM),
        (aionvme.ControllerLostError("x"), errno.ENXIO),
        (aionvme.ControllerFailedError("x"), errno.ENXIO),
        (aionvme.ControllerResetError("x"), errno.EAGAIN),
        (aionvme.CommandTimeoutError(1, 2, 3, 4.0), errno.ETIMEDOUT),
        (aionvme.AddressError("x"), errno.ENODEV),
        (aionvme.NvmeError("x"), errno.EIO),
        (aionvme.StatusError(Status(2), opcode=1, qid=2, cid=3), errno.ENXIO),
        (OSError(errno.EACCES, "x"), errno.EACCES),
        (OSError("x"), errno.EIO),
    ],
)
def test_errno(error: Exception, code: int) -> None:
    """Each exception has its negative errno."""
    assert errno_of(error) == -code


def test_reasons_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A mistake of the caller's is logged with its reason; a full queue, which is none, is not."""
    with caplog.at_level(logging.DEBUG, "aionvme.spdk"):
        errno_of(aionvme.QueueFullError("full"))
        errno_of(aionvme.UsageError("why it was"))
    assert [record.getMessage() for record in caplog.records] == ["UsageError: why it was"]


@pytest.mark.parametrize("code", [StatusCode.SUCCESS, StatusCode.INVALID_FIELD, StatusCode.COMPARE_FAILURE])
def test_is_error(code: StatusCode) -> None:
    """Type and code alone make an error; the other bits of the status do not."""
    for dnr in (False, True):
        cpl = Cpl(Status.of(code, dnr=dnr))
        assert spdk.spdk_nvme_cpl_is_error(cpl) == (code != 0)
        assert spdk.spdk_nvme_cpl_is_success(cpl) == (code == 0)


def test_is_pi_error() -> None:
    """The three checks of protection information are, and their numbers in another type are not."""
    found = [field for field in range(8 << 8) if spdk.spdk_nvme_cpl_is_pi_error(Cpl(Status(field)))]
    assert found == [0x282, 0x283, 0x284]


def test_is_abort_success() -> None:
    """Bit 0 of dword 0 of a success says that nothing was aborted."""
    assert spdk.spdk_nvme_cpl_is_abort_success(Cpl(Status(0), 0))
    assert not spdk.spdk_nvme_cpl_is_abort_success(Cpl(Status(0), 1))
    assert not spdk.spdk_nvme_cpl_is_abort_success(Cpl(Status(2), 0))


def test_status_in_words() -> None:
    """The words are those of the status, and of its type."""
    status = Status.of(StatusCode.COMPARE_FAILURE)
    assert spdk.spdk_nvme_cpl_get_status_string(status) == status.text
    assert spdk.spdk_nvme_cpl_get_status_string_ext(status, 5) == status.text
    words = [spdk.spdk_nvme_cpl_get_status_type_string(Status(sct << 8)) for sct in range(8)]
    assert words == [
        "GENERIC",
        "COMMAND SPECIFIC",
        "MEDIA ERROR",
        "PATH",
        "RESERVED",
        "RESERVED",
        "RESERVED",
        "VENDOR SPECIFIC",
    ]
