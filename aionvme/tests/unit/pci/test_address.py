"""The text forms of addresses."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionvme.errors import AddressError
from aionvme.pci.address import (
    MockAddress,
    PciAddress,
    VfioUserAddress,
    parse_address,
    parse_bdf,
    parse_size,
)

TOKEN = UUID("2ab74924-c335-45f4-9b16-8569e5b08258")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0000:01:00.0", PciAddress("0000:01:00.0")),
        ("01:00.0", PciAddress("0000:01:00.0")),
        (" 0000:0A:1f.7 ", PciAddress("0000:0a:1f.7")),
        ("10000:01:00.0", PciAddress("10000:01:00.0")),
        ("01:00.0?iommu=group", PciAddress("0000:01:00.0", "group")),
        (f"01:00.0?iommu=iommufd&vf_token={TOKEN}", PciAddress("0000:01:00.0", "iommufd", TOKEN)),
        ("mock:", MockAddress()),
        ("mock:?size=1GiB&lba=4096", MockAddress({"size": "1GiB", "lba": "4096"})),
        ("vfio-user:/run/ctrl", VfioUserAddress("/run/ctrl")),
        ("VFIO-USER:ctrl?timeout=0.5", VfioUserAddress("ctrl", timeout=0.5)),
        ("trtype:PCIE traddr:0000:01:00.0", PciAddress("0000:01:00.0")),
        ("trtype=pcie traddr=0000.01.00.0 ns:2", PciAddress("0000:01:00.0", ns=2)),
        (
            "trtype:VFIOUSER traddr:/run/ctrl subnqn:nqn.2019-07.io:x=y ns:1",
            VfioUserAddress("/run/ctrl", "nqn.2019-07.io:x=y", 1),
        ),
    ],
)
def test_each_form_is_read(text: str, expected: object) -> None:
    """Every form that the design names gives its address."""
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nvme0",
        "/dev/nvme0",
        "0000:01:20.0",
        "0000:01:00.8",
        "0000:01:00.0 x",
        "01:00.0?iommu=fast",
        "01:00.0?vf_token=7",
        "01:00.0?iommu",
        "01:00.0?iommu=",
        "01:00.0?iommu=group&iommu=group",
        "01:00.0?speed=1",
        "mock:x",
        "mock:?size",
        "vfio-user:",
        "vfio-user:?timeout=1",
        "vfio-user:/run/ctrl?timeout=0",
        "vfio-user:/run/ctrl?timeout=-1",
        "vfio-user:/run/ctrl?timeout=nan",
        "vfio-user:/run/ctrl?timeout=inf",
        "vfio-user:/run/ctrl?timeout=soon",
        "vfio-user:/run/ctrl?speed=1",
        "trtype:PCIE",
        "trtype:TCP traddr:1.2.3.4",
        "traddr:01:00.0",
        "trtype:PCIE traddr:01:00.0 color:red",
        "trtype:PCIE traddr:01:00.0 traddr:02:00.0",
        "trtype:PCIE traddr:01:00.0 ns:x",
        "trtype: traddr:01:00.0",
    ],
)
def test_bad_text_is_told_the_forms(text: str) -> None:
    """What is no address is quoted, and the accepted forms are listed."""
    with pytest.raises(AddressError, match=r"Accepted are|Run `aionvme list`") as error:
        parse_address(text)
    assert repr(text) in str(error.value) or text.partition("?")[0] in str(error.value)


def test_another_type_is_a_type_error() -> None:
    """A wrong type stays TypeError."""
    with pytest.raises(TypeError):
        parse_address(b"mock:")  # type: ignore[arg-type]


@given(
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 255),
    st.integers(0, 31),
    st.integers(0, 7),
    st.sampled_from(["auto", "group", "iommufd", "noiommu"]),
    st.none() | st.uuids(),
)
def test_an_address_reads_back_from_its_text(
    domain: int, bus: int, device: int, function: int, iommu: str, token: UUID | None
) -> None:
    """The text of a PCI address is the address again."""
    address = PciAddress(f"{domain:04x}:{bus:02x}:{device:02x}.{function}", iommu, token)
    assert parse_address(str(address)) == address


def test_other_addresses_read_back() -> None:
    """So is the text of the other two."""
    for text in ("mock:", "mock:?size=1MiB&lba=512", "vfio-user:/run/a b", "vfio-user:/x?timeout=0.1234567"):
        assert str(parse_address(text)) == text


def test_addresses_are_values() -> None:
    """Equal addresses hash alike, and the options of a mock can't be changed from outside."""
    options = {"size": "1"}
    address = MockAddress(options)
    options["size"] = "2"
    assert address.options["size"] == "1"
    assert (
        len({address, MockAddress({"size": "1"}), PciAddress("0000:01:00.0"), PciAddress("0000:01:00.0")})
        == 2
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("4096", 4096),
        ("4096B", 4096),
        ("512KiB", 512 << 10),
        ("64 MiB", 64 << 20),
        ("1GiB", 1 << 30),
        ("1gib", 1 << 30),
        ("2G", 2 << 30),
        ("1GB", 10**9),
        ("3TiB", 3 << 40),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    """Binary and decimal units are told apart."""
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5GiB", "4iB", "1 XiB", "1GiBs"])
def test_bad_sizes(text: str) -> None:
    """What is no size is refused with examples."""
    with pytest.raises(AddressError, match="64MiB"):
        parse_size(text)


def test_bdf_is_written_as_in_sysfs() -> None:
    """Short and capital forms become the one that sysfs has."""
    assert parse_bdf("A:B.1") == "0000:0a:0b.1"
