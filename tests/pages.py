"""The console blocks of a page of the documentation: its commands, and what they are said to print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TUTORIAL = ROOT / "docs" / "tutorial" / "first-result.md"


@dataclass(frozen=True, kw_only=True)
class Example:
    """A command of a page, and the lines it is said to print; ``...`` stands for anything."""

    command: str
    output: tuple[str, ...]


def examples(page: str) -> Iterator[Example]:
    """The commands of the ``console`` blocks of a Markdown page, in order."""
    for block in re.findall(r"^```console\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE):
        for text in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *output = text.splitlines()
            yield Example(command=command, output=tuple(line for line in output if line.strip() not in ("", "...")))


def shown(line: str, output: str, position: int) -> int:
    """Where the first line like `line` ends in `output`, after `position`; -1 when there is none."""
    pattern = r"[^\n]*".join(re.escape(part.strip()) for part in line.split("..."))
    found = re.compile(pattern).search(output, position)
    return found.end() if found else -1
