"""Owns fuzzing every decoder of `aionvme.spec` with atheris, which looks for bytes that take new ways through them.

    pip install --group fuzz                 # of Pythons that atheris has a wheel for
    python -m tools.fuzz --seconds 600

A decoder may raise `DecodeError`, and nothing else; atheris writes the bytes that made it raise another exception into
a file. The tests have hypothesis do it as well (`aionvme/tests/unit/spec/test_every_structure.py`), and that alone for
the compiled completion path, which atheris does not see into.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

WORK = Path(__file__).resolve().parents[1] / ".cache/fuzz"


def decoders() -> list[Callable[[bytes], Any]]:
    """Every `decode` of a structure, list or log page, and every `decode_x(data)`."""
    import aionvme.spec
    from aionvme.spec.listing import Listing
    from aionvme.spec.structure import Structure

    found: dict[str, Callable[[bytes], Any]] = {}
    for module in pkgutil.walk_packages(aionvme.spec.__path__, "aionvme.spec."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if value in (Listing, Structure):
                continue
            if inspect.isclass(value) and inspect.ismethod(getattr(value, "decode", None)):
                found[f"{value.__module__}.{value.__name__}"] = getattr(value, "decode")  # noqa: B009
            elif inspect.isfunction(value) and name.startswith("decode_") and _takes_bytes(value):
                found[f"{value.__module__}.{name}"] = value
    return [found[name] for name in sorted(found)]


def _takes_bytes(function: Callable[..., Any]) -> bool:
    wanted = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty
    ]
    return len(wanted) == 1


def one(data: bytes, among: list[Callable[[bytes], Any]]) -> None:
    """What the first byte says reads the others."""
    from aionvme.spec.errors import DecodeError

    if data:
        with suppress(DecodeError):
            among[data[0] % len(among)](data[1:])


def main(argv: Sequence[str]) -> int:
    """Run it; exit status 0 means that nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args(argv)
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        print("there is no atheris here: `pip install --group fuzz`, for Pythons that it has a wheel for")
        return 1
    with atheris.instrument_imports(include=["aionvme.spec"]):
        among = decoders()
    print(f"{len(among)} decoders", flush=True)
    WORK.mkdir(parents=True, exist_ok=True)
    words = [sys.argv[0], f"-max_total_time={options.seconds}", "-max_len=8192", f"-artifact_prefix={WORK}/"]
    atheris.Setup(words, lambda data: one(data, among))
    # It ends the process by itself.
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
