"""Plug-ins: what installed packages bring, and what a broken one does."""

from __future__ import annotations

from pathlib import Path

import pytest

import aionvme
from aionvme.admin import vendors
from aionvme.spec.vendors import Registry

PLUGIN = """
from aionvme import Vendor
one = Vendor(name="plugged", vid=0x1234)
several = [Vendor(name="first", vid=0x1234), Vendor(name="second", vid=0x1234)]
"""


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """An empty registry of a process that has not looked for plug-ins yet."""
    registry = Registry()
    monkeypatch.setattr(vendors, "REGISTRY", registry)
    monkeypatch.setattr(vendors, "_loaded", False)
    return registry


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, **entries: str) -> None:
    """A package with these entry points, as an installer leaves it."""
    (folder / "acme_plugin.py").write_text(PLUGIN)
    info = folder / "acme_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-plugin\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
    (info / "entry_points.txt").write_text(f"[aionvme.vendors]\n{lines}")
    monkeypatch.syspath_prepend(str(folder))


def test_plugins_are_registered_once(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry point gives one entry or several; the second look finds nothing to do."""
    install(tmp_path, monkeypatch, a="acme_plugin:one", b="acme_plugin:several")
    assert not vendors.loaded()
    vendors.load_plugins()
    assert [vendor.name for vendor in registry] == ["plugged", "first", "second"]
    assert vendors.loaded()
    registry.unregister("plugged")
    vendors.load_plugins()
    assert [vendor.name for vendor in registry] == ["first", "second"]


def test_a_broken_plugin_is_named_and_left_out(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No such module, no such name, and what is no entry: each is a warning, and the good one counts."""
    install(
        tmp_path, monkeypatch, a="acme_nowhere:one", b="acme_plugin:missing", c="acme_plugin:__doc__",
        d="acme_plugin:PLUGIN", e="acme_plugin:one",
    )  # fmt: skip
    vendors.load_plugins()
    assert [vendor.name for vendor in registry] == ["plugged"]
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == 4
    assert all("acme-plugin" in text for text in warned)


def test_registering_by_hand(registry: Registry) -> None:
    """A name that is taken is the caller's error."""
    aionvme.register_vendor(aionvme.Vendor(name="acme", vid=1))
    with pytest.raises(aionvme.UsageError, match="acme"):
        aionvme.register_vendor(aionvme.Vendor(name="acme", vid=2))
    assert [vendor.vid for vendor in registry] == [1]
