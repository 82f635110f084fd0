"""The tutorial is a script: its console blocks are run, and what they show must appear."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest

from tests.integration.engine import ROOT, Engine, mark_of, traces
from tests.pages import TUTORIAL, examples, shown

pytestmark = [pytest.mark.nspawn, pytest.mark.deep, pytest.mark.destructive]


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
