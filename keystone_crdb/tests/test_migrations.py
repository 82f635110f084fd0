"""The command that runs Keystone's migrations one by one."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "keystone.conf"
    path.write_text(f"[database]\nconnection = sqlite:///{tmp_path}/keystone.db\n")
    (tmp_path / "plugin.conf").write_text("[database]\nconnection_parameters = plugin=keystone_crdb\n")
    return path


def migrations(configuration: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    files = [f"--config-file={configuration}", f"--config-file={configuration.with_name('plugin.conf')}"]
    command = [sys.executable, "-W", "ignore", "-m", "keystone_crdb", "migrations", *files, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_revision_passes_once_and_then_the_database_is_refused(configuration: Path) -> None:
    done = migrations(configuration)
    assert done.returncode == 0, done.stderr
    *revisions, verdict = done.stdout.splitlines()
    assert revisions[0].startswith("27e647c0fad4")
    assert len(revisions) >= 8
    assert all(" passed " in line for line in revisions)
    assert verdict.startswith("All passed on 3.")
    again = migrations(configuration)
    assert (again.returncode, again.stdout) == (1, "")
    assert "tables" in again.stderr


def test_a_failure_names_revision_statement_and_the_servers_words(configuration: Path) -> None:
    with sqlite3.connect(configuration.with_name("keystone.db")) as database:
        database.execute("CREATE VIEW access_rule AS SELECT 1")
    done = migrations(configuration, "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert not report["passed"]
    first, *others = report["revisions"]
    assert (first["revision"], first["outcome"]) == ("27e647c0fad4", "failed")
    assert first["statement"].startswith("CREATE TABLE access_rule")
    assert first["message"] == "there is already a view named access_rule" or "already exists" in first["message"]
    assert {step["outcome"] for step in others} == {"not tried"}


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    done = migrations(tmp_path / "keystone.conf")
    assert done.returncode == 1
    assert "configuration cannot be read" in done.stderr
