"""A stand-in for the program `vagrant`: it records its calls, and hands out containers for virtual machines.

What it shows of the engine holds for the engine; of Vagrant it shows nothing. It speaks as Vagrant 2.3 does.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class FakeVagrant:
    """The program, and the directory where its orders and its records are.

    Orders are files: ``pretend`` (there are no containers, only words), ``fail`` (the name of a machine that does not
    come up, and what vagrant says of it), ``slow`` (seconds that a machine takes), ``no-plugin``, ``layers`` (JSON: the
    layer that a machine's container boots from, which saves installing). It leaves ``cleaned-up`` after Ctrl-C.
    """

    directory: Path

    def install(self) -> None:
        """Make the executable."""
        program = self.directory / "bin" / "vagrant"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec env PYTHONPATH={ROOT} {sys.executable} -m tests.doubles.vagrant "$@"\n')
        program.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which a process finds it before any other vagrant."""
        path = f"{self.directory / 'bin'}:{os.environ['PATH']}"
        return {"PATH": path, "FAKE_VAGRANT": str(self.directory)}

    def order(self, name: str, text: str | None = "") -> None:
        """Give an order, or (None) take it back."""
        file = self.directory / name
        if text is None:
            file.unlink(missing_ok=True)
        else:
            file.write_text(text)

    def calls(self) -> list[Mapping[str, Any]]:
        """Every call so far: ``argv``, ``cwd``, ``environment`` (that of vagrant)."""
        file = self.directory / "calls.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def argvs(self) -> list[list[str]]:
        return [call["argv"] for call in self.calls()]

    def forget(self) -> None:
        """Forget the calls so far."""
        (self.directory / "calls.jsonl").unlink(missing_ok=True)
