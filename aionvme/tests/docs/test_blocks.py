"""Every code block of README.md and docs/*.md is executed, or says why not and is counted."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from aionvme.tests.docs.pages import REASONS, execute, parse, unexecuted

pytest.importorskip("typer", reason="the command line is an extra")

REPO = Path(__file__).parents[3]
PAGES = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
# How many blocks of each page are not executed. A page that is not here has none.
UNEXECUTED = {
    "README.md": 3,
    "announcement.md": 1,
    "command-line.md": 2,
    "containers.md": 2,
    "figures.md": 3,
    "perf.md": 1,
    "port-from-pynvme.md": 1,
    "real-drive.md": 10,
    "threads.md": 1,
    "top.md": 4,
    "tutorial.md": 1,
    "vfio-user.md": 2,
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_blocks(page: Path, tmp_path: Path) -> None:
    """Each block of a page does what the page shows."""
    execute(page, tmp_path)


def test_unexecuted_blocks() -> None:
    """Those that are not executed are only those that were counted here, each with one of the reasons."""
    found = {page.name: unexecuted(page) for page in PAGES}
    assert {name: len(blocks) for name, blocks in found.items() if blocks} == UNEXECUTED
    reasons = Counter(reason for blocks in found.values() for _, reason in blocks)
    assert set(reasons) <= REASONS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_block_is_passed_over(page: Path) -> None:
    """A Markdown parser finds the same blocks: none is indented, or in a list, and so not executed."""
    tokens = MarkdownIt().parse(page.read_text())
    shown = [token for token in tokens if token.type in ("fence", "code_block")]
    assert [token.content for token in shown if token.type == "code_block"] == []
    languages = [token.info.strip() for token in shown if not token.info.startswith("{")]
    visible = [example for example in parse(page) if "language" in example.region.lexemes]
    assert [example.parsed[0] for example in visible] == languages


WRONG = {
    "output": "```console\n$ echo one\ntwo\n```",
    "status": "```console\n$ false\n```",
    "no output": "```console\n$ echo one\n```",
    "printed": "```python\nprint(1)\n```\n\n```text\n2\n```",
    "not shown": "```python\nprint(1)\n```",
    "not JSON": "```json\n{]\n```",
    "no language": "```\nls\n```",
    "no reason": "<!-- not executed: because -->\n```python\n1 / 0\n```",
    "exception": "```python\n1 / 0\n```",
    "in another namespace": "```python\nfound\n```",
    "command": "```console\n$ aionvme hello nonsense:\n...\n```",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_found(text: str, tmp_path: Path) -> None:
    """A block that does not do what it shows fails."""
    page = tmp_path / "page.md"
    page.write_text(text + "\n")
    with pytest.raises((AssertionError, ArithmeticError, NameError, ValueError), match=r"."):
        execute(page, tmp_path)


RIGHT = """
<!-- file: answer.py -->
```python
print(6 * 7)
```

```console
$ python answer.py   # a comment
42
$ echo one; echo \\
two
...
two
```

<!-- exit status: 2 -->
```console
$ aionvme hello nonsense:
error: ...
```

<!-- invisible-code-block: python
import asyncio
-->

```python
async def later() -> int:
    await asyncio.sleep(0)
    return 12

print(await later(), "ms")
```

<!-- figures vary -->
```text
3.5 ms
```
"""


def test_what_is_right_passes(tmp_path: Path) -> None:
    """Files, patterns, exit statuses, Python that awaits, and figures that vary."""
    page = tmp_path / "page.md"
    page.write_text(RIGHT)
    execute(page, tmp_path)
    assert len(parse(page)) == 6
    assert re.match("print", (tmp_path / "answer.py").read_text())
