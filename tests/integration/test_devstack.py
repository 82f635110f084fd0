"""DevStack as an installer: on real hosts with a fake DevStack; with the real one where its repositories are reachable.

What is shown with the fake is how stack.sh is run, followed and undone, never how long DevStack takes.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tests.doubles import devstack
from tests.doubles.standin.build import build
from tests.integration.engine import Engine
from tests.integration.standin import INSTALL

pytestmark = [pytest.mark.nspawn, pytest.mark.deep, pytest.mark.destructive]

CONTROL = "10.213.77.0/24"
GATEWAY = "10.213.77.1"
"""This machine, as the hosts see it."""
GIT_BASE = os.environ.get("ENOS_CRDB_GIT_BASE", "")


def experiment(directory: Path, *, backend: str = "postgresql", **more: Any) -> str:
    """A deployment file: Keystone on two hosts, one of them with the database and Rally, too."""
    keystone = more.pop("keystone", {})
    release = more.pop("release", "2026.1")
    control = more.pop("control", CONTROL)
    machines = more.pop("machines", [{"roles": ["database", "keystone", "rally"]}, {"roles": ["keystone"]}])
    content = {
        "name": "devstack",
        "provider": "nspawn",
        # The fake is served at the gateway of these hosts and while the test runs: no layer is made of it.
        "nspawn": {"layers": control != CONTROL},
        "machines": machines,
        "networks": {"control": {"cidr": control}},
        "database": {"backend": backend},
        "openstack": {"installer": "devstack", "release": release, "devstack": more, "keystone": keystone},
    }
    path = directory / "experiment.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


@pytest.fixture
def git_base(tmp_path: Path) -> Iterator[str]:
    """Where hosts find a fake DevStack."""
    if shutil.which("git") is None:
        pytest.skip("git is not on this machine")
    devstack.make(tmp_path / "git")
    with devstack.served(tmp_path / "git") as port:
        yield f"git://{GATEWAY}:{port}"


def calls(engine: Engine, host: str) -> list[str]:
    """What the fake DevStack on `host` was asked to do."""
    return engine.on(host, "cat /opt/stack/fake/calls").split("\n")[:-1]


def test_with_a_fake_devstack(engine: Engine, tmp_path: Path, git_base: str) -> None:
    first, second = "database-1", "keystone-1"

    # A failure has a reason, and not a thousand lines.
    file = experiment(tmp_path, git_base=git_base, settings={"FAKE_FAIL": True})
    said = engine.run("deploy", "--env", file, status=5).output
    assert "ERROR: No matching distribution found for oslo.fake" in said
    assert "stack.sh ended with status 1" in said
    assert "World dumped" not in said
    assert engine.secrets["keystone_admin_password"] not in said

    # One that takes too long is ended.
    file = experiment(tmp_path, git_base=git_base, settings={"FAKE_SLEEP": 600}, timeout_s=10)
    started = time.monotonic()
    said = engine.run("deploy", "--env", file, status=5).output
    assert "stack.sh was ended after 10 s" in said
    assert time.monotonic() - started < 600, "nobody waited for the end of its sleep"

    # It succeeds: one host makes the schema, the other joins; milestones are seen while it runs.
    file = experiment(tmp_path, git_base=git_base)
    said = engine.run("deploy", "--env", file).output
    assert f"{first}: Starting Keystone" in said
    assert f"{second}: Waiting for the other Keystone" in said
    assert {
        engine.on(host, "cat /opt/stack/fake/local.conf.* | grep -o 'MODE=.*' | tail -1") for host in (first, second)
    } == {
        "MODE=bootstrap\n",
        "MODE=join\n",
    }
    openrc = (engine.directory / "openrc").read_text()
    assert f"http://{GATEWAY.removesuffix('1')}" in openrc
    assert "/identity/v3" in openrc
    for host in (first, second):
        engine.on(host, "test $(stat -c %a:%U /opt/stack/devstack/local.conf) = 600:stack")

    # A second deployment changes nothing.
    engine.forget_logs()
    before = calls(engine, first)
    engine.run("deploy", "--env", file)
    assert engine.changed() == {}
    assert calls(engine, first) == before

    # Another configuration of Keystone: unstacked and stacked again, without a download.
    engine.run("deploy", "--env", experiment(tmp_path, git_base=git_base, keystone={"workers": 3}))
    assert calls(engine, second)[-2:] == ["unstack", "run OFFLINE=True"]
    assert "processes = 3" in engine.on(second, "cat /opt/stack/enos_crdb-files/uwsgi.ini")

    # Hosts that are kept are unstacked, or cleaned when that is asked for; no password stays.
    engine.run("destroy", "--hosts", "keep")
    assert calls(engine, first)[-1] == "unstack"
    secret = engine.secrets["keystone_admin_password"]
    engine.on(
        first, f"test -z \"$(grep -rlsF -e '{secret}' /opt/stack/devstack /opt/stack/enos_crdb-files /etc/keystone)\""
    )
    engine.run("deploy", "--env", experiment(tmp_path, git_base=git_base, clean=True))
    assert calls(engine, first)[-1] == "run OFFLINE=True"
    engine.run("destroy", "--hosts", "keep")
    assert calls(engine, first)[-1] == "clean"
    engine.run("destroy")


def test_a_branch_that_is_not_there_is_named(engine: Engine, tmp_path: Path, git_base: str) -> None:
    machines = [{"roles": ["database", "keystone", "rally"]}]
    file = experiment(tmp_path, git_base=git_base, branch="stable/2031.1", machines=machines)
    said = engine.run("deploy", "--env", file, status=5).output
    assert "DevStack cannot be cloned" in said
    assert "openstack.devstack.branch" in said


real = pytest.mark.skipif(
    not GIT_BASE, reason="ENOS_CRDB_GIT_BASE names no repositories (openstack/devstack, keystone...)"
)


@real
@pytest.mark.parametrize("backend", ["postgresql", "mariadb"])
def test_with_the_real_devstack(engine: Engine, tmp_path: Path, backend: str) -> None:
    """Two hosts share one Keystone database; a Rally scenario goes through it."""
    file = experiment(tmp_path, backend=backend, control="auto", git_base=GIT_BASE)
    engine.run("deploy", "--env", file, timeout_s=1800)
    engine.forget_logs()
    engine.run("deploy", "--env", file)
    assert engine.changed() == {}
    endpoints = engine.run("openstack", "--", "endpoint", "list", "-f", "json").output
    assert {entry["Region"] for entry in json.loads(endpoints)} == {"database-1", "keystone-1"}
    token = "source devstack/openrc admin admin > /dev/null && openstack token issue -f value -c id"
    assert engine.on("keystone-1", f"sudo -iu stack bash -c '{token}'").strip(), "as DevStack's users do"

    load = ("--load", "heavy", "--times", "6", "--concurrency", "2")
    engine.run("bench", "keystone", "--scenario", "keystone/create-and-list-users", *load)
    run = engine.run_directory()
    samples = pd.read_csv(run / "samples.csv")
    assert set(samples.outcome) == {"ok"}
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["configuration"]["openstack"]["installer"] == "devstack"
    versions = json.loads((run / "hosts" / "keystone-1" / "versions.json").read_text())["things"]
    assert {len(versions[f"{name}_commit"].split()[0]) for name in ("devstack", "keystone")} == {40}
    for name in ("stack.sh.log", "keystone.conf"):
        assert list((run / "hosts" / "keystone-1" / "files").rglob(name))
    for path in (run / "hosts").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert [name for name, secret in engine.secrets.items() if secret.encode() in content] == []


@real
@pytest.mark.parametrize(
    ("release", "branch", "backend"),
    [("2026.1", None, "postgresql"), ("2025.2", None, "mariadb"), ("2026.2", "master", "mariadb")],
)
def test_one_host_with_the_real_devstack(
    engine: Engine, tmp_path: Path, release: str, branch: str | None, backend: str
) -> None:
    """Every release on the only host, with DevStack's Rally and signed tokens; unstacked, cleaned, and made again."""
    host = "database-1"
    options: dict[str, Any] = {"backend": backend, "release": release, "branch": branch}
    options |= {"keystone": {"workers": 3, "token_provider": "jws"}, "rally": True, "git_base": GIT_BASE}
    options |= {"machines": [{"roles": ["database", "keystone", "rally"]}], "control": "auto"}
    file = experiment(tmp_path, **options)
    engine.run("deploy", "--env", file, timeout_s=1800)
    token = engine.run("openstack", "--", "token", "issue", "-f", "value", "-c", "id").output.strip()
    assert token.count(".") == 2, "a JSON web token"
    workers = engine.on(host, "pgrep -cP $(systemctl show -P MainPID devstack@keystone)")
    assert int(workers) == 3
    assert "deploy->finished" in engine.on(host, "sudo -iu stack bash -lc 'rally deployment list'")
    assert tables(engine, host, backend).isdisjoint({"deployments", "tasks", "workloads"}), "Rally's are elsewhere"
    assert "user" in tables(engine, host, backend)
    load = ("--times", "6", "--concurrency", "2")
    engine.run("bench", "keystone", "--scenario", "keystone/authenticate-user-and-validate-token", *load)
    samples = pd.read_csv(engine.run_directory() / "samples.csv")
    assert set(samples.outcome) == {"ok"}

    engine.run("destroy", "--hosts", "keep")
    nothing_is_left(engine, host)
    engine.run("deploy", "--env", experiment(tmp_path, clean=True, **options), timeout_s=1800)
    assert "OFFLINE=True" in engine.on(host, "systemctl show -P Environment enos-crdb-stack")
    engine.run("destroy", "--hosts", "keep")
    nothing_is_left(engine, host)
    assert engine.on(host, "ls -d /opt/stack/data/venv 2>/dev/null || true") == "", "clean.sh took it away"
    if release == "2026.1":  # minutes
        engine.run("deploy", "--env", file, timeout_s=1800)
        assert engine.run("openstack", "--", "token", "issue", "-f", "value", "-c", "id").output.strip().count(".") == 2
    engine.run("destroy")


def nothing_is_left(engine: Engine, host: str) -> None:
    """No password, and nothing that serves or failed."""
    secret = engine.secrets["keystone_admin_password"]
    assert engine.on(host, f"grep -rlsF -e '{secret}' /opt/stack /etc /var/lib/enos_crdb || true") == ""
    assert engine.on(host, "systemctl --failed --no-legend").strip() == ""
    assert "inactive" in engine.on(host, "systemctl is-active devstack@keystone || true")


def tables(engine: Engine, host: str, backend: str) -> set[str]:
    """Names of the tables of the database under test."""
    query = "SELECT table_name FROM information_schema.tables"
    command = {"postgresql": "runuser -u postgres -- psql -Atd keystone -c", "mariadb": "mariadb -Ne"}[backend]
    return set(engine.on(host, f"{command} '{query}'").split())


@real
def test_the_real_devstack_on_a_stand_in_for_cockroachdb(engine: Engine, tmp_path: Path) -> None:
    """The stand-in is PostgreSQL with CockroachDB's commands and certificates: what it serves is no measurement."""
    host = "database-1"
    file = experiment(
        tmp_path,
        backend="cockroachdb",
        control="auto",
        git_base=GIT_BASE,
        machines=[{"roles": ["database", "keystone", "rally"]}],
    )
    binary = build(tmp_path / "cockroach")
    options = ("--env", file, "--set", f"database.binary={binary}", "--set", "database.replicas=1")
    for step in ("machine", "layers", "hosts", "install"):
        engine.run("deploy", *options, "--phase", step, timeout_s=1800)
    engine.on(host, " && ".join(INSTALL))
    engine.run("deploy", *options, timeout_s=1800)
    assert engine.run("openstack", "--", "token", "issue", "-f", "value", "-c", "id").output.strip()
    assert engine.on(host, "stat -c %U /etc/keystone/cockroachdb/client.keystone.key").strip() == "stack"
    connection = "cockroachdb+psycopg2://keystone@"
    assert connection in engine.on(host, "cat /etc/keystone/keystone.conf")
    assert connection not in engine.on(host, "cat /opt/stack/logs/stack.sh.log"), "merged by a program that reads files"
    engine.run("destroy")
