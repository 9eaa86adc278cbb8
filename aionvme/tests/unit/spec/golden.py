"""Where the golden files are: bytes of other people's controllers, and nvme-cli's reading of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2] / "golden"
CONTROLLERS = ("qemu-10.0.2", "spdk-26.05")


def read_bytes(controller: str, name: str) -> bytes:
    """The bytes of one capture."""
    return (ROOT / controller / f"{name}.bin").read_bytes()


def read_json(controller: str, name: str) -> Any:
    """What nvme-cli read in them."""
    return json.loads((ROOT / controller / f"{name}.json").read_text())
