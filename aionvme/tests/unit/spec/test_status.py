"""Status codes and the status field."""

from __future__ import annotations

import enum
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionvme.spec.status import Status, StatusCode, StatusCodeType

# As libnvme's types.h and Linux' nvme.h number them, by our names.
EXPECTED = {
    "SUCCESS": 0x000,
    "INVALID_OPCODE": 0x001,
    "INVALID_FIELD": 0x002,
    "COMMAND_ID_CONFLICT": 0x003,
    "DATA_TRANSFER_ERROR": 0x004,
    "ABORTED_POWER_LOSS": 0x005,
    "INTERNAL_ERROR": 0x006,
    "ABORTED_BY_REQUEST": 0x007,
    "ABORTED_SQ_DELETION": 0x008,
    "ABORTED_FAILED_FUSED": 0x009,
    "ABORTED_MISSING_FUSED": 0x00A,
    "INVALID_NAMESPACE_OR_FORMAT": 0x00B,
    "COMMAND_SEQUENCE_ERROR": 0x00C,
    "INVALID_SGL_SEGMENT_DESCRIPTOR": 0x00D,
    "DATA_SGL_LENGTH_INVALID": 0x00F,
    "INVALID_CMB_USE": 0x012,
    "PRP_OFFSET_INVALID": 0x013,
    "ATOMIC_WRITE_UNIT_EXCEEDED": 0x014,
    "SGL_OFFSET_INVALID": 0x016,
    "HOST_ID_INCONSISTENT_FORMAT": 0x018,
    "KEEP_ALIVE_EXPIRED": 0x019,
    "ABORTED_PREEMPT": 0x01B,
    "SANITIZE_IN_PROGRESS": 0x01D,
    "NAMESPACE_WRITE_PROTECTED": 0x020,
    "COMMAND_INTERRUPTED": 0x021,
    "ADMIN_MEDIA_NOT_READY": 0x024,
    "FDP_DISABLED": 0x029,
    "LBA_OUT_OF_RANGE": 0x080,
    "CAPACITY_EXCEEDED": 0x081,
    "NAMESPACE_NOT_READY": 0x082,
    "RESERVATION_CONFLICT": 0x083,
    "FORMAT_IN_PROGRESS": 0x084,
    "KEY_EXISTS": 0x089,
    "COMPLETION_QUEUE_INVALID": 0x100,
    "INVALID_QUEUE_IDENTIFIER": 0x101,
    "INVALID_QUEUE_SIZE": 0x102,
    "ABORT_LIMIT_EXCEEDED": 0x103,
    "ASYNC_EVENT_LIMIT_EXCEEDED": 0x105,
    "INVALID_FIRMWARE_SLOT": 0x106,
    "INVALID_INTERRUPT_VECTOR": 0x108,
    "INVALID_LOG_PAGE": 0x109,
    "INVALID_FORMAT": 0x10A,
    "FIRMWARE_NEEDS_CONVENTIONAL_RESET": 0x10B,
    "INVALID_QUEUE_DELETION": 0x10C,
    "FEATURE_NOT_SAVEABLE": 0x10D,
    "FEATURE_NOT_CHANGEABLE": 0x10E,
    "FEATURE_NOT_NAMESPACE_SPECIFIC": 0x10F,
    "FIRMWARE_NEEDS_SUBSYSTEM_RESET": 0x110,
    "NAMESPACE_INSUFFICIENT_CAPACITY": 0x115,
    "NAMESPACE_ID_UNAVAILABLE": 0x116,
    "NAMESPACE_ALREADY_ATTACHED": 0x118,
    "NAMESPACE_IS_PRIVATE": 0x119,
    "NAMESPACE_NOT_ATTACHED": 0x11A,
    "CONTROLLER_LIST_INVALID": 0x11C,
    "SELF_TEST_IN_PROGRESS": 0x11D,
    "INVALID_CONTROLLER_ID": 0x11F,
    "SANITIZE_PROHIBITED_WITH_PMR": 0x123,
    "ANA_GROUP_ID_INVALID": 0x124,
    "COMMAND_SET_NOT_SUPPORTED": 0x129,
    "COMMAND_SET_COMBINATION_REJECTED": 0x12B,
    "INVALID_COMMAND_SET": 0x12C,
    "CONFLICTING_ATTRIBUTES": 0x180,
    "INVALID_PROTECTION_INFORMATION": 0x181,
    "WRITE_TO_READ_ONLY_RANGE": 0x182,
    "COMMAND_SIZE_LIMIT_EXCEEDED": 0x183,
    "FAST_COPY_NOT_POSSIBLE": 0x186,
    "INVALID_ZONE_OPERATION": 0x1B6,
    "ZONE_BOUNDARY_ERROR": 0x1B8,
    "ZONE_IS_FULL": 0x1B9,
    "ZONE_INVALID_WRITE": 0x1BC,
    "TOO_MANY_OPEN_ZONES": 0x1BE,
    "INVALID_ZONE_STATE_TRANSITION": 0x1BF,
    "WRITE_FAULT": 0x280,
    "UNRECOVERED_READ_ERROR": 0x281,
    "GUARD_CHECK_ERROR": 0x282,
    "APPLICATION_TAG_CHECK_ERROR": 0x283,
    "REFERENCE_TAG_CHECK_ERROR": 0x284,
    "COMPARE_FAILURE": 0x285,
    "ACCESS_DENIED": 0x286,
    "DEALLOCATED_OR_UNWRITTEN_BLOCK": 0x287,
    "STORAGE_TAG_CHECK_ERROR": 0x288,
    "INTERNAL_PATH_ERROR": 0x300,
    "ANA_PERSISTENT_LOSS": 0x301,
    "ANA_INACCESSIBLE": 0x302,
    "ANA_TRANSITION": 0x303,
    "CONTROLLER_PATHING_ERROR": 0x360,
    "HOST_PATHING_ERROR": 0x370,
    "COMMAND_ABORTED_BY_HOST": 0x371,
}
# Every number that SPDK's three lists, libnvme's ZNS list and its later additions have, Fabrics apart.
NUMBERS = (
    {*range(0x17), *range(0x18, 0x2D), *range(0x80, 0x8A)}
    | {0x100 + sc for sc in (*range(4), *range(5, 0x17), *range(0x18, 0x2E), 0x7F, *range(0x80, 0x84))}
    | {0x100 + sc for sc in (0x85, 0x86, 0x87, 0x89, *range(0xB6, 0xC0))}
    | {*range(0x280, 0x289)}
    | {0x300, 0x301, 0x302, 0x303, 0x360, 0x370, 0x371}
)
FIELDS = st.integers(0, 0x7FFF)


@pytest.mark.parametrize("name", EXPECTED)
def test_codes_are_numbered_as_elsewhere(name: str) -> None:
    """A code's number is the one that other people's headers give it."""
    assert StatusCode[name] == EXPECTED[name]


def test_the_table_is_complete() -> None:
    """No number that other people's headers know is missing, and none is invented."""
    assert {int(code) for code in StatusCode} == NUMBERS


def test_every_code_has_a_name_and_a_text_of_its_own() -> None:
    """Texts are there, differ from each other, and are sentences without an end."""
    texts = [code.text for code in StatusCode]
    assert all(text and text[0].isupper() and not text.endswith(".") for text in texts)
    assert len(set(texts)) == len(texts) == len(StatusCode.__members__)


def test_a_duplicate_number_fails_at_import() -> None:
    """The table is unique by enum's own check: a second name for a number is refused."""
    with pytest.raises(ValueError, match="duplicate values"):

        @enum.unique
        class _Twice(enum.IntEnum):
            A = 1
            B = 1

    assert enum.unique(StatusCode) is StatusCode


def test_types_are_numbered_as_in_the_specification() -> None:
    """Status code types have the numbers of the specification."""
    assert {each.name: int(each) for each in StatusCodeType} == {
        "GENERIC": 0,
        "COMMAND_SPECIFIC": 1,
        "MEDIA": 2,
        "PATH": 3,
        "VENDOR": 7,
    }


def test_a_field_is_taken_apart() -> None:
    """SC 7:0, SCT 10:8, CRD 12:11, M 13, DNR 14."""
    status = Status.from_field(0b1_0_10_010_10000001)
    assert (status.sct, status.sc, status.crd, status.more, status.dnr) == (2, 0x81, 2, False, True)
    assert status.code is StatusCode.UNRECOVERED_READ_ERROR
    assert status.name == "UNRECOVERED_READ_ERROR"
    assert status.text == str(status) == "Unrecovered read error"
    assert repr(status) == "<Status UNRECOVERED_READ_ERROR sct=0x2 sc=0x81, crd=2, dnr=True>"
    assert Status.from_field(0x2000).more


@given(FIELDS)
def test_any_field_comes_back_and_can_be_shown(field: int) -> None:
    """Every one of the 32768 fields has its parts, a name, a text, a repr and a hash."""
    status = Status.from_field(field)
    assert status.to_field() == int(status) == field
    parts = status.sc | status.sct << 8 | status.crd << 11 | status.more << 13 | status.dnr << 14
    assert parts == field
    assert status.name.isidentifier()
    assert status.text
    assert status.name in repr(status)
    assert hash(status) == hash(Status(field))
    assert pickle.loads(pickle.dumps(status)) == status


@given(FIELDS)
def test_only_success_is_false(field: int) -> None:
    """A status is false if and only if type and code are zero, whatever the other bits say."""
    assert bool(Status(field)) == (field & 0x7FF != 0)


@given(st.sampled_from(StatusCode), st.integers(0, 3), st.booleans(), st.booleans())
def test_a_status_equals_its_code(code: StatusCode, crd: int, more: bool, dnr: bool) -> None:
    """A status is equal to the code that it carries, from either side, and has its hash."""
    status = Status.of(code, crd=crd, more=more, dnr=dnr)
    assert status == code
    assert code == status
    assert hash(status) == hash(code)
    assert status.code is code
    assert (status.crd, status.more, status.dnr) == (crd, more, dnr)


def test_a_status_differs_from_other_things() -> None:
    """Other codes, other flags, and plain numbers are not equal to a status."""
    status = Status.of(StatusCode.LBA_OUT_OF_RANGE)
    assert status != StatusCode.CAPACITY_EXCEEDED
    assert status != Status.of(StatusCode.LBA_OUT_OF_RANGE, dnr=True)
    assert status == Status.of(StatusCode.LBA_OUT_OF_RANGE)
    assert status != 0x80
    assert {status: 1}[status] == 1


@pytest.mark.parametrize(
    ("field", "name", "text"),
    [
        (0x712, "VENDOR_SPECIFIC_7_12", "Vendor specific status (sct 7h, sc 12h)"),
        (0x0C5, "VENDOR_SPECIFIC_0_C5", "Vendor specific status (sct 0h, sc C5h)"),
        (0x1FF, "VENDOR_SPECIFIC_1_FF", "Vendor specific status (sct 1h, sc FFh)"),
        (0x017, "RESERVED_0_17", "Reserved status (sct 0h, sc 17h)"),
        (0x5C0, "RESERVED_5_C0", "Reserved status (sct 5h, sc C0h)"),
    ],
)
def test_unknown_codes_say_what_they_are(field: int, name: str, text: str) -> None:
    """A code that the table does not have is vendor specific or reserved, with its numbers."""
    status = Status.from_field(field)
    assert (status.name, status.text, status.code) == (name, text, None)
    assert status


def test_a_status_does_not_change() -> None:
    """Statuses are shared, and so cannot be written to."""
    status = Status.from_field(0x4002)
    assert Status.from_field(0x4002) is status
    with pytest.raises(AttributeError):
        status.sc = 1  # type: ignore[misc]
    with pytest.raises(AttributeError):
        status._field = 1


@pytest.mark.parametrize("field", [-1, 0x8000])
def test_a_field_has_fifteen_bits(field: int) -> None:
    """A field with the phase tag still in it, or a negative one, is refused."""
    with pytest.raises(ValueError, match="15 bits"):
        Status.from_field(field)
