"""Runs `recorder.sh`, the double of DevStack, on a directory of its own, with doubles of the programs it starts."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from enos_crdb import shipped

RECORDER = Path(__file__).with_name("recorder.sh")
DATABASE_PASSWORD = "d4tabase-secret"
ADMIN_PASSWORD = "4dmin-secret"
REGION = "keystone-1"
ENDPOINTS = "keystone-1=http://192.0.2.10/identity/v3 keystone-2=http://192.0.2.11/identity/v3"

PROGRAM = """\
#!/bin/bash
# A double of {name}: it writes down how it was started.
echo "run {name} $*" >> "$RECORD"
{then}
"""
THEN = {
    "sudo": 'exec "$@"',
    "edit-constraints": "",
    "keystone-manage": """\
cp "$ROOT/etc/keystone/keystone.conf" "$ROOT/keystone.conf-of-keystone-manage"
echo "environment OS_BOOTSTRAP_PASSWORD=${OS_BOOTSTRAP_PASSWORD:+given}" >> "$RECORD"
[[ " $* " != *" $FAIL "* ]]""",
    "python3": """\
case "$1" in
    */merge_ini.py) exec REAL_PYTHON "$@" ;;
    *) [[ -z "$FAIL" || " $* " != *" $FAIL"* ]] ;;
esac""",
}


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """How one script of the double ended. ``lines`` are steps, phases, calls and programs in their order."""

    status: int
    lines: tuple[str, ...]
    trace: str
    root: Path

    def index(self, beginning: str) -> int:
        """Position of the first line that begins so. Raises `ValueError`."""
        found = next((number for number, line in enumerate(self.lines) if line.startswith(beginning)), None)
        if found is None:
            raise ValueError(f"nothing begins with {beginning!r} in\n" + "\n".join(self.lines))
        return found

    def like(self, part: str) -> list[str]:
        return [line for line in self.lines if part in line]

    def ini(self, path: str) -> configparser.ConfigParser:
        parser = configparser.ConfigParser(interpolation=None, default_section="-", allow_no_value=True)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        with (self.root / path).open(encoding="utf-8") as stream:
            parser.read_file(stream)
        return parser


class DevStackRecorder:
    """A host on which the double of DevStack runs, below `root`."""

    def __init__(self, root: Path, database: str = "enos_postgresql") -> None:
        self.root = root
        self.files = root / "opt/stack/enos_crdb-files"
        self.localrc: dict[str, str] = {
            "REGION_NAME": REGION,
            "ADMIN_PASSWORD": ADMIN_PASSWORD,
            "ENOS_CRDB_ENDPOINTS": ENDPOINTS,
        }
        self.services = ("key", database)
        shutil.copytree(shipped.directory("devstack_plugin"), root / "opt/stack/enos_crdb")
        _programs(root)
        self._private()

    def _private(self) -> None:
        """What the Ansible role writes before stack.sh starts."""
        url = f"postgresql+psycopg2://keystone:{DATABASE_PASSWORD}@192.0.2.20:5432/keystone?a=1&b=2"
        self.write("keystone.conf", f"[database]\nconnection = {url}\n\n[identity]\npassword_hash_rounds = 4\n")
        for name in ("fernet-keys/0", "fernet-keys/1", "credential-keys/0", "credential-keys/1"):
            self.write(f"private/{name}", f"key {name}")

    def write(self, name: str, text: str) -> None:
        """A file of ENOS_CRDB_FILES."""
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def run(self, script: str = "stack", *, fail: str = "", without: str = "", **localrc: str) -> Recorded:
        """Run ``stack``, ``unstack`` or ``clean`` with more variables of local.conf.

        `fail`: a word of the program that fails; `without`: a function that this DevStack does not have.
        """
        record = self.root / "record"
        record.write_text("", encoding="utf-8")
        (self.root / "localrc").write_text(self._localrc({**self.localrc, **localrc}), encoding="utf-8")
        environment = {
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "ROOT": str(self.root),
            "RECORD": str(record),
            "FAIL": fail,
            "WITHOUT": without,
        }
        done = subprocess.run(
            ["bash", str(RECORDER), script], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        lines = tuple(record.read_text(encoding="utf-8").replace(str(self.root), "").splitlines())
        return Recorded(status=done.returncode, lines=lines, trace=done.stdout + done.stderr, root=self.root)

    def _localrc(self, variables: Mapping[str, str]) -> str:
        lines = [f'{name}="{value}"' for name, value in variables.items()]
        lines += ["disable_all_services", f"enable_service {' '.join(self.services)}"]
        return "\n".join([*lines, "enable_plugin enos_crdb file://$DEST/enos_crdb", ""])


def _programs(root: Path) -> None:
    places = {
        "sudo": "bin",
        "edit-constraints": "opt/stack/requirements/.venv/bin",
        "keystone-manage": "opt/stack/data/venv/bin",
        "python3": "opt/stack/data/venv/bin",
    }
    for name, place in places.items():
        path = root / place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        then = THEN[name].replace("REAL_PYTHON", sys.executable)
        path.write_text(PROGRAM.format(name=name, then=then), encoding="utf-8")
        path.chmod(0o755)
