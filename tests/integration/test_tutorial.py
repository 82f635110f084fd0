"""The tutorial is a script: its console blocks are run, and what they show must appear."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.integration.engine import ROOT, Engine, mark_of, traces

pytestmark = pytest.mark.nspawn

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


def test_the_tutorial_works_as_it_stands(engine: Engine) -> None:
    place = engine.results.parent  # its `results` is where `engine` looks for what a failure leaves
    programs = place / "bin"
    programs.mkdir()
    program = programs / "enos_crdb"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m enos_crdb "$@"\n')
    program.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "160",
    }
    mark, directory = None, None
    for example in examples(TUTORIAL.read_text(encoding="utf-8")):
        done = subprocess.run(
            ["bash", "-c", example.command],
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, f"$ {example.command}\n{done.stdout}"
        position = 0
        for line in example.output:
            position = shown(line, done.stdout, position)
            assert position >= 0, f"$ {example.command}\nnever shows, in order: {line}\n\n{done.stdout}"
        if mark is None and (engine.results / "current").exists():
            directory = engine.directory
            mark = mark_of(directory)
    assert mark is not None
    assert directory is not None
    assert traces(directory, mark) == []
