"""The collector, run for real on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from tests.unit.role_files import PROGRAMS

COLLECT = PROGRAMS / "collect.py"


def collect(tmp_path: Path, **request: Any) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Files of the archive, and the answer."""
    archive = tmp_path / "archive.tar.gz"
    done = subprocess.run(
        [sys.executable, str(COLLECT)],
        input=json.dumps({"archive": str(archive), **request}),
        capture_output=True,
        text=True,
        check=True,
    )
    found = {}
    with tarfile.open(archive) as packed:
        for member in packed:
            stream = packed.extractfile(member)
            assert stream is not None
            assert member.mode == 0o600
            found[member.name] = stream.read()
    assert archive.stat().st_mode & 0o777 == 0o600
    return found, json.loads(done.stdout)


def test_files_come_as_they_are_under_their_path(tmp_path: Path) -> None:
    (tmp_path / "etc" / "deep").mkdir(parents=True)
    (tmp_path / "etc" / "a.conf").write_bytes(b"\xff binary")
    (tmp_path / "etc" / "b.txt").write_text("not asked for")
    found, answer = collect(
        tmp_path,
        files=[f"{tmp_path}/etc/*.conf", f"{tmp_path}/etc/d*", f"{tmp_path}/nothing/*"],
        named={"usage.csv": f"{tmp_path}/etc/b.txt", "absent.csv": f"{tmp_path}/absent"},
    )
    assert set(found) == {f"files{tmp_path}/etc/a.conf", "usage.csv", "versions.json"}
    assert found[f"files{tmp_path}/etc/a.conf"] == b"\xff binary"
    assert not [problem for problem in answer["problems"] if str(tmp_path) in problem]


def test_versions_of_things_and_virtualenvs(tmp_path: Path) -> None:
    site = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    for name in ("rally_openstack-4.1.0", "SQLAlchemy-2.1.9", "zope.interface-7.1"):
        (site / f"{name}.dist-info").mkdir(parents=True)
    found, answer = collect(
        tmp_path,
        commands={"greeting": ["echo", "server 15.20"], "broken": ["false"], "absent": ["no-such-program"]},
        virtualenvs={"rally": str(tmp_path / "venv"), "none": str(tmp_path / "nowhere")},
    )
    versions = json.loads(found["versions.json"])
    assert versions["things"] == {"greeting": "server 15.20", "broken": "", "absent": ""}
    assert versions["virtualenvs"] == {
        "rally": {"rally-openstack": "4.1.0", "sqlalchemy": "2.1.9", "zope-interface": "7.1"},
        "none": {},
    }
    assert versions["kernel"]
    assert versions["processors"] >= 1
    assert any(problem.startswith("false: status 1") for problem in answer["problems"])
    assert any(problem.startswith("no-such-program: ") for problem in answer["problems"])
