"""The look at aarch64's instructions notices an access that is split, and a barrier that is weaker or not there."""

from __future__ import annotations

import pytest

from tools.aarch64.__main__ import WANTED, check

BODIES = {name: [word.replace(" w", "\tw1, [x0]").replace(" x", "\tx1, [x0]") for word in wanted]
          for name, wanted in WANTED.items()}  # fmt: skip


def listing(bodies: dict[str, list[str]]) -> str:
    """As objdump prints it."""
    return "\n\n".join(
        "\n".join([f"0000000000400900 <{name}>:", *(f"  400900:\t{line}" for line in (*body, "ret"))])
        for name, body in bodies.items()
    )


def test_what_is_right() -> None:
    """Nothing is said of it."""
    assert check(listing(BODIES)) == []


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("write64", ["str\tw1, [x0]", "str\tw2, [x0, #4]"]),
        ("read32", ["ldrh\tw0, [x0]"]),
        ("full", ["dmb\tish"]),
        ("post", ["str\tx1, [x0]", "str\tw3, [x2]", "dmb\toshst"]),
        ("tell", ["str\tw1, [x0]", "ldr\tw0, [x2]"]),
    ],
)
def test_what_is_wrong(name: str, body: list[str]) -> None:
    """It is said which function it is."""
    [problem] = check(listing(BODIES | {name: body}))
    assert problem.startswith(f"{name} is ")
