"""The table of the kernel's numbers against the header of this system."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from aionvme.pci import abi

HEADER = Path("/usr/include/linux/vfio.h")

# Older headers have no fields for padding; this one grew by it.
GREW = "vfio_device_info"


def _program(text: str) -> tuple[str, dict[str, int]]:
    """A program that prints what this header has of the table, and what the table says."""
    expected: dict[str, int] = {}
    for name, value in vars(abi).items():
        if re.match(r"VFIO_[A-Z]", name) and isinstance(value, int) and re.search(rf"\b{name}\b", text):
            expected[name] = value
    for struct, (size, offsets) in abi.STRUCTS.items():
        if not re.search(rf"^struct {struct} {{", text, re.MULTILINE):
            continue
        if struct != GREW:
            expected[f"sizeof(struct {struct})"] = size
        for field, offset in offsets.items():
            if field != "pad":
                expected[f"offsetof(struct {struct}, {field})"] = offset
    rows = "\n".join(f'printf("%llu\\n", (unsigned long long)({name}));' for name in expected)
    head = "#include <linux/vfio.h>\n#include <stddef.h>\n#include <stdio.h>\n"
    return f"{head}int main(void) {{\n{rows}\nreturn 0; }}\n", expected


@pytest.mark.skipif(not HEADER.exists(), reason=f"no {HEADER} (package linux-libc-dev)")
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_vfio_is_as_in_the_header(tmp_path: Path) -> None:
    """Constants, sizes and offsets that the system's header has too are those of the table."""
    program, expected = _program(HEADER.read_text())
    assert len(expected) > 100
    (tmp_path / "abi.c").write_text(program)
    subprocess.run(["cc", "-o", tmp_path / "abi", tmp_path / "abi.c"], check=True)
    printed = subprocess.run([tmp_path / "abi"], check=True, capture_output=True, text=True).stdout
    assert dict(zip(expected, map(int, printed.split()), strict=True)) == expected


def test_iommufd_structures_begin_with_their_size() -> None:
    """Every structure of iommufd begins with `size`, every one that VFIO reads a length of with `argsz`."""
    for name, (_, offsets) in abi.STRUCTS.items():
        if name.startswith("iommu_") and name != "iommu_iova_range":
            assert offsets["size"] == 0
        elif "argsz" in offsets:
            assert offsets["argsz"] == 0
