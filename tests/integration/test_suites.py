"""Every system that hosts may run, with every backend of its packages.

All the other tests run on Debian 12. In CI, the newest Debian is tried once; ``$ENOS_CRDB_SUITES`` names more suites
(``trixie,noble``), or ``all`` of them with all backends: minutes each. ``$ENOS_CRDB_UBUNTU_MIRROR`` says where Ubuntu's
archive is, if hosts may have its packages from there.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from enos_crdb.command import SubprocessRunner
from enos_crdb.errors import CommandError
from enos_crdb.providers.nspawn.suite import is_ubuntu
from tests.integration.engine import Engine
from tests.integration.machines import Machines, boot, skip_without_hosts

pytestmark = [pytest.mark.nspawn, pytest.mark.deep, pytest.mark.destructive]

ASKED = os.environ.get("ENOS_CRDB_SUITES", "")
SUITES = ("trixie", "noble", "jammy")
WANTED = SUITES if ASKED == "all" else tuple(filter(None, ASKED.split(","))) or ("trixie",)
BACKENDS = ("postgresql", "mariadb", "galera") if ASKED else ("postgresql",)
VERSIONS = {
    ("bullseye", "postgresql"): "13.",
    ("bullseye", "mariadb"): "10.5.",
    ("trixie", "postgresql"): "17.",
    ("trixie", "mariadb"): "11.8.",
    ("trixie", "galera"): "11.8.",
    ("noble", "postgresql"): "16.",
    ("noble", "mariadb"): "10.11.",
    ("noble", "galera"): "10.11.",
    ("jammy", "postgresql"): "14.",
    ("jammy", "mariadb"): "10.6.",
    ("jammy", "galera"): "10.6.",
}
"""What each distribution ships."""

BENCH = ("--scenario", "keystone/authenticate-user-and-validate-token", "--times", "4", "--concurrency", "2")


def archive(suite: str) -> str | None:
    """A mirror that has `suite`, where this machine's own is of another distribution. Skips where there is none."""
    if not is_ubuntu(suite):
        return None
    mirror = os.environ.get("ENOS_CRDB_UBUNTU_MIRROR")
    if mirror is None:
        pytest.skip(f"$ENOS_CRDB_UBUNTU_MIRROR names no archive for {suite}")
    with tempfile.NamedTemporaryFile() as release:
        try:
            url = f"{mirror}/dists/{suite}/InRelease"
            SubprocessRunner().run(["/usr/lib/apt/apt-helper", "download-file", url, release.name], timeout_s=60)
        except CommandError as error:
            pytest.skip(f"no {suite} at $ENOS_CRDB_UBUNTU_MIRROR: {error}")
    return mirror


@pytest.fixture(autouse=True)
def machine() -> None:
    for suite in WANTED:
        skip_without_hosts(suite)


def document(backend: str) -> dict[str, Any]:
    """As few hosts as the backend can do with."""
    machines = [{"roles": ["database", "keystone", "rally"]}]
    if backend == "galera":
        machines.append({"roles": ["database"], "count": 2})  # type: ignore[dict-item]
    return {"name": f"suite-{backend}", "provider": "nspawn", "machines": machines, "database": {"backend": backend}}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("suite", [suite for suite in WANTED if suite != "bullseye"])
def test_a_backend_of_the_distribution(engine: Engine, tmp_path: Path, suite: str, backend: str) -> None:
    file = tmp_path / "suite.yaml"
    file.write_text(yaml.safe_dump({**document(backend), "nspawn": {"suite": suite, "mirror": archive(suite)}}))
    engine.run("deploy", "--env", str(file))
    runs(engine, VERSIONS[suite, backend])
    engine.forget_logs()
    engine.run("deploy", "--env", str(file))
    assert engine.changed() == {}, "a second deployment changes nothing"
    engine.run("destroy", "--hosts", "keep")
    assert engine.on("database-1", "systemctl --failed --no-legend").strip() == ""


def runs(engine: Engine, version: str) -> None:
    """A short load, and the version that the database tells."""
    engine.run("bench", "keystone", *BENCH)
    engine.run("collect")
    manifest = json.loads((engine.run_directory() / "manifest.json").read_text())
    assert manifest["versions"]["database-1"]["things"]["database"].startswith(version)
    assert engine.on("database-1", "systemctl --failed --no-legend").strip() == ""


@pytest.fixture
def mixed() -> Iterator[Machines]:
    """A machine with Debian 11 and one with Debian 12: local hosts all have the same."""
    directory = Path(tempfile.mkdtemp(prefix="enos_crdb-suites-", dir="/var/tmp"))
    made = boot(directory, {"old": None}, suite="bullseye")
    newer = boot(directory / "newer", {"new": None})
    yield Machines(made.provider, {**made.hosts, **newer.hosts})
    newer.provider.destroy()
    made.provider.destroy()
    shutil.rmtree(directory)


@pytest.mark.skipif("bullseye" not in ASKED and ASKED != "all", reason="$ENOS_CRDB_SUITES does not name bullseye")
@pytest.mark.parametrize("backend", ["postgresql", "mariadb"])
def test_debian_11_keeps_a_database(engine: Engine, tmp_path: Path, mixed: Machines, backend: str) -> None:
    hosts = [{"address": host.address, "keyfile": host.keyfile} for host in mixed.hosts.values()]
    machines = [{"roles": ["database"]}, {"roles": ["keystone", "rally"]}]
    own = {"name": "old", "provider": "static", "machines": machines, "static": {"hosts": hosts}}
    file = tmp_path / "old.yaml"
    file.write_text(yaml.safe_dump({**own, "database": {"backend": backend}}))
    engine.run("deploy", "--env", str(file))
    runs(engine, VERSIONS["bullseye", backend])
    engine.run("destroy")

    file.write_text(yaml.safe_dump({**own, "machines": machines[::-1], "database": {"backend": backend}}))
    refused = engine.run("deploy", "--env", str(file), status=5).output
    assert "keystone-2026.1 needs Python 3.10 or newer, but the hosts have Python 3.9" in refused
    engine.run("destroy")
