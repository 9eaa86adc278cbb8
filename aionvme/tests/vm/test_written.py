"""The host's part: what tests in the guest wrote is in the raw images after power-off."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aionvme.tests.vm.conftest import NAMED, Machine
from aionvme.tests.vm.manifest import Manifest, Record, mismatches

pytestmark = pytest.mark.vm_host


def test_every_record_is_in_the_images(machine: Machine, manifest: Manifest) -> None:
    """The whole tier has records, and each is found byte for byte where the guest says that it wrote it."""
    records = manifest.read()
    assert records or NAMED, "no test in the guest recorded a write"
    functions = (*machine.drives.values(), machine.shared, machine.hot)
    images = {name: image for function in functions for name, image in function.images.items()}
    problems = mismatches(records, images)
    assert not problems, "\n".join(problems)
    print(f"{len(records)} records, {sum(len(record.data) for record in records)} bytes, all found")


def test_the_comparison_finds_a_wrong_byte(tmp_path: Path) -> None:
    """The comparison itself is sound: one byte that differs, or an image that is too short, is reported."""
    data = os.urandom(1024)
    image = tmp_path / "image"
    image.write_bytes(bytes(512) + data)
    right = Record("S", 512, data, "t")
    assert mismatches([right], {"S": image}) == []
    wrong = Record("S", 512, data[:700] + bytes([data[700] ^ 1]) + data[701:], "t")
    assert "from byte 1212 on" in mismatches([wrong], {"S": image})[0]
    assert "ends after 1024 bytes" in mismatches([Record("S", 512, data + b"x", "t")], {"S": image})[0]


def test_a_later_record_covers_an_earlier_one(tmp_path: Path) -> None:
    """Where two records overlap the later one is expected; the earlier one keeps the rest."""
    image = tmp_path / "image"
    image.write_bytes(b"aabbbbcc")
    older, newer = Record("S", 0, b"aaaa", "t"), Record("S", 2, b"bbbb", "t")
    assert mismatches([older, newer], {"S": image}) == []
    assert len(mismatches([newer, older], {"S": image})) == 2
