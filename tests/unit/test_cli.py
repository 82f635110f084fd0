"""The command line without hosts: what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.synthetic import Synthetic, write_campaign
from enos_crdb.__main__ import main
from enos_crdb.cli.session import Session
from enos_crdb.config.scenarios import SCENARIOS
from enos_crdb.errors import BenchError, ConfigurationError, Interrupted, PrerequisiteError, StateError
from enos_crdb.model import Lease
from enos_crdb.providers.nspawn import prerequisites
from enos_crdb.store import Store
from enos_crdb.testing import FakeProvider

ROOT = Path(__file__).resolve().parents[2]
LOCAL = str(ROOT / "configs" / "local.yaml")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENOS_CRDB_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path / "results"


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def test_dry_run_prints_the_plan_and_touches_nothing(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("deploy", "--env", LOCAL, "--dry-run", "--set", "openstack.keystone.cache=none") == 0
    shown = capsys.readouterr().out
    for words in ("database-1", "rally-1", "postgresql", "cache none", "4 hash rounds", "steps:", "verify"):
        assert words in shown
    assert not store.exists()


def test_dry_run_prints_what_a_virtual_machine_gets_that_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "vagrant.yaml"
    file.write_text(
        "name: x\nprovider: vagrant\nmachines: [{roles: [database, keystone, rally]}]\n"
        "database: {backend: postgresql}\n"
    )
    assert call("deploy", "--env", str(file), "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "2048 MB" in shown
    assert "no limit" not in shown


def test_a_wrong_file_ends_with_status_2_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("name: x\nprovder: nspawn\n")
    assert call("deploy", "--env", str(file)) == ConfigurationError.exit_code
    assert "wrong.yaml:2: provder: unknown key. Did you mean `provider`?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["deploy"],
        ["deply"],
        ["--nope"],
        ["bench", "keystone", "--load", "medium"],
        ["deploy", "--env", LOCAL, "--set", "x"],
    ],
    ids=["no file", "no such command", "no such option", "no such choice", "bad --set"],
)
def test_a_wrong_command_line_ends_with_status_2(arguments: list[str]) -> None:
    assert call(*arguments) == 2


@pytest.mark.parametrize(
    "arguments",
    [["info"], ["bench", "keystone"], ["collect"], ["report"], ["destroy"], ["ssh", "x"], ["logs", "x"], ["openstack"]],
    ids=lambda arguments: arguments[0],
)
def test_without_a_deployment_commands_say_how_to_make_one(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == StateError.exit_code
    assert "enos_crdb deploy --env FILE" in capsys.readouterr().err


def test_only_a_reservation_can_be_given_back_without_its_deployment(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("destroy", "--env", LOCAL) == StateError.exit_code
    assert "cannot be found without it" in capsys.readouterr().err
    assert call("destroy", "--env", LOCAL, "--hosts", "keep") == StateError.exit_code
    assert "what is on its hosts is not known" in capsys.readouterr().err


def test_destroying_what_a_file_asks_for_takes_its_living_deployment(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a_deployment(store)
    monkeypatch.setattr(
        "enos_crdb.phases.context.providers.provide", lambda request: FakeProvider(configuration=request.configuration)
    )
    assert call("destroy", "--env", LOCAL) == 0
    assert "Runs and logs stay in" in capsys.readouterr().out
    assert call("info") == 0
    assert "destroyed at" in capsys.readouterr().out


def test_values_are_replaced_in_a_file_only(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("destroy", "--set", "name=other") == ConfigurationError.exit_code
    assert "give --env as well" in capsys.readouterr().err


def test_info_tells_how_long_the_hosts_are_reserved(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deployment = a_deployment(store).current()
    for left_s, said in ((7260.5, "2:01 hours left"), (-60, "the hosts are gone")):
        deployment.save(lease=Lease(ends_at=time.time() + left_s, jobs=("rennes: 42",)))
        assert call("info") == 0
        shown = capsys.readouterr().out
        assert said in shown
        assert "reservation rennes: 42" in shown
    assert call("info", "--json") == 0
    assert json.loads(capsys.readouterr().out)["lease"]["remaining_s"] < 0


def a_deployment(store: Path) -> Store:
    from enos_crdb import config

    made = Store(store)
    configuration = config.load(Path(LOCAL))
    made.create(configuration.name, configuration.model_dump(mode="json"))
    return made


def test_info_of_an_interrupted_deployment_says_what_comes_next(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_deployment(store)
    assert call("info") == 0
    assert "next step: machine" in capsys.readouterr().out
    assert call("info", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["hosts"] == []
    assert facts["backend"] == "postgresql"


def test_bench_on_an_incomplete_deployment_is_refused(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_deployment(store)
    assert call("bench", "keystone") == StateError.exit_code
    assert "Continue it with `enos_crdb deploy`" in capsys.readouterr().err


def test_bench_options_are_checked_as_the_file_is(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_deployment(store)
    assert call("bench", "keystone", "--scenario", "keystone/get-entites") == ConfigurationError.exit_code
    assert "keystone/get-entities" in capsys.readouterr().err
    assert call("bench", "keystone", "--times", "1", "--concurrency", "2") == ConfigurationError.exit_code


def test_bench_refuses_values_that_only_a_deployment_can_change(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_deployment(store)
    assert call("bench", "keystone", "--set", "openstack.keystone.cache=none") == ConfigurationError.exit_code
    assert "only values of `bench`" in capsys.readouterr().err


def test_check_tells_what_deploy_would_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lack = prerequisites.Lack(what="debootstrap", package="debootstrap", why="makes the base image")
    monkeypatch.setattr(prerequisites, "missing", lambda *_, **__: [lack])
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert call("check", "--env", LOCAL) == 0
    assert "`deploy` installs it with apt (debootstrap)" in capsys.readouterr().out
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert call("check", "--env", LOCAL) == PrerequisiteError.exit_code
    assert "sudo apt-get install -y --no-install-recommends debootstrap" in capsys.readouterr().err


def test_check_looks_at_the_file_that_would_be_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prerequisites, "missing", lambda *_, **__: [])
    file = str(ROOT / "configs" / "local-cockroachdb.yaml")
    assert call("check", "--env", file, "--set", "database.binary=/nonexistent") == ConfigurationError.exit_code
    assert "database.binary: /nonexistent cannot be read" in capsys.readouterr().err


def test_a_report_without_runs(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_deployment(store)
    assert call("report") == StateError.exit_code
    assert "has no run yet" in capsys.readouterr().err


def test_every_scenario_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("scenarios") == 0
    shown = capsys.readouterr().out
    assert set(SCENARIOS) <= set(shown.split()), "whole, to be copied"
    assert len(SCENARIOS) == 21 + 1, "all of KeystoneBasic, and Authenticate.keystone"
    assert shown.count(" * ") == 7


def test_schema_and_configurations_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("schema") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Configuration"
    assert call("configs") == 0
    assert "local-galera.yaml" in capsys.readouterr().out
    assert call("configs", "local.yaml") == 0
    assert "backend: postgresql" in capsys.readouterr().out
    assert call("configs", "nope.yaml") == 2


def test_exit_codes_are_one_per_kind_of_error() -> None:
    kinds = (ConfigurationError, PrerequisiteError, StateError, BenchError)
    assert len({kind.exit_code for kind in kinds}) == len(kinds)


def test_sigterm_interrupts_the_engine_and_kills_its_workers_quietly() -> None:
    program = """
import os, signal, sys
from enos_crdb import __main__
__main__.cli.main = lambda **_: work()
def work():
    ready, begun = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(begun, b"x")  # a signal in the midst of a fork is lost: Python clears those of the parent
        signal.pause()
    os.read(ready, 1)
    os.kill(child, signal.SIGTERM)
    print("worker", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
__main__.main([])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert done.stdout.strip() == f"worker {128 + signal.SIGTERM}"
    assert "Traceback" not in done.stderr
    assert done.returncode == Interrupted.exit_code


@pytest.mark.parametrize("problem", ["", "2 of 10 iterations failed"], ids=["well", "missed its SLA"])
def test_run_ends_with_a_page_whatever_was_measured(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], problem: str
) -> None:
    combination = Synthetic(backend="postgresql", factors={"backend": "postgresql"})
    write_campaign(store, combinations=[combination], runs=1, iterations=10, scenarios=["keystone/create-user"])
    (deployment,) = (path.parent for path in store.glob("*/deployment.json"))

    def bench(session: Session, section: object) -> None:
        if problem:
            raise BenchError(problem)

    monkeypatch.setattr(Session, "deploy", lambda *_, **__: None)
    monkeypatch.setattr(Session, "bench", bench)
    status = call("--deployment", str(deployment), "run", "--env", LOCAL)
    assert status == (BenchError.exit_code if problem else 0)
    (page,) = deployment.glob("runs/*/report.html")
    said = capsys.readouterr()
    assert str(page) in said.out.replace("\n", "")
    assert problem in said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["deploy", "--env", LOCAL],
        ["deploy", "--env", LOCAL, "--phase", "rally"],
        ["run", "--env", LOCAL],
        ["bench", "keystone"],
        ["collect"],
        ["emulate"],
        ["emulate", "--clear"],
        ["emulate", "--rtt-ms", "10"],
        ["destroy"],
        ["destroy", "--hosts", "keep"],
        ["destroy", "--env", LOCAL],
    ],
    ids=lambda arguments: " ".join(arguments).replace(LOCAL, "FILE"),
)
def test_no_command_touches_what_another_works_on(
    store: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def provide(request: object) -> None:
        raise AssertionError("hosts are asked for")

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()}

    monkeypatch.setattr("enos_crdb.phases.context.providers.provide", provide)
    deployment = a_deployment(store).current()
    with deployment.locked():
        before = files()
        assert call(*arguments) == StateError.exit_code
        assert files() == before
    said = f"{deployment.directory.name} is in use by another enos_crdb (process {os.getpid()})"
    assert said in " ".join(capsys.readouterr().err.split())
