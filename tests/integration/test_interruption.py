"""Ctrl-C and kill -9: what was begun is continued by the same command, and `destroy` cleans.

One test for each kind of work always runs; every step with every signal is deep.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from tests.integration.engine import Ended, Engine, mark_of, traces
from tests.integration.runs import ITERATIONS, SCENARIOS, bench
from tests.integration.shared import Shared

pytestmark = pytest.mark.nspawn
on_postgresql = pytest.mark.xdist_group("postgresql")

FILE = ("--env", "configs/local.yaml")
STEPS = (
    "Preparing this machine",
    "Installing the software once",
    "Starting the hosts",
    "Configuring the database",
    "Configuring Keystone",
    "Configuring Rally",
    "Checking every Keystone against every other",
)
SIGNALS = [signal.SIGINT, signal.SIGKILL]
BARE = (*FILE, "--set", "nspawn.layers=false")
"""Hosts with nothing on them: for what comes before anything is installed."""
LOAD = ("bench", "keystone", "--scenario", "keystone/get-entities", "--times", "30", "--concurrency", "2")
SERVING = "until ss -Htn state established '( sport = :5000 )' | grep -q . ; do sleep 0.1; done"


def until(there: Callable[[], object], timeout_s: float = 120) -> None:
    """Wait until something is there."""
    deadline = time.monotonic() + timeout_s
    while not there():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def interrupted(
    engine: Engine, words: Sequence[str], at: str, by: signal.Signals, into: Callable[[], object] | None = None
) -> Ended:
    """A command that got a signal, and ended by it."""
    ended = engine.interrupt(words, at=at, by=by, into=into)
    assert ended.status == (130 if by == signal.SIGINT else -signal.SIGKILL), ended.output
    return ended


def destroyed(engine: Engine) -> None:
    """Destroy what was begun; nothing is left, and a second time does no harm."""
    directory, mark = engine.directory, mark_of(engine.directory)
    engine.run("destroy")
    assert traces(directory, mark or str(directory)) == []
    engine.run("destroy")


@pytest.mark.destructive
def test_work_on_this_machine(engine: Engine) -> None:
    for by in SIGNALS:
        interrupted(engine, ("deploy", *BARE), "Preparing this machine", by)
        engine.run("deploy", *BARE, "--phase", "machine")
        interrupted(engine, ("deploy", *BARE), "Preparing this machine", by)
        destroyed(engine)


@pytest.mark.destructive
def test_hosts_that_start(engine: Engine) -> None:
    def one_boots() -> None:
        until(lambda: list(engine.directory.glob("hosts/*/console.log")))

    def start(by: signal.Signals) -> None:
        interrupted(engine, ("deploy", *BARE), "Starting the hosts", by, one_boots)

    for by in SIGNALS:
        start(by)
        destroyed(engine)
    start(signal.SIGINT)
    first = engine.directory
    start(signal.SIGKILL)
    engine.run("deploy", *BARE, "--phase", "hosts")
    assert engine.directory == first, "it is the same deployment that was continued"
    assert [engine.on(host, "hostname").strip() for host in ("database-1", "rally-1")] == ["database-1", "rally-1"]
    destroyed(engine)


@pytest.mark.destructive
def test_ansible_that_runs(engine: Engine) -> None:
    interrupted(engine, ("deploy", *FILE), "Configuring the database", signal.SIGINT, ansible_of(engine, "database"))
    destroyed(engine)

    interrupted(engine, ("deploy", *FILE), "Configuring the database", signal.SIGKILL, ansible_of(engine, "database"))
    first = engine.directory
    interrupted(engine, ("deploy", *FILE), "Configuring Keystone", signal.SIGINT, ansible_of(engine, "keystone"))
    engine.run("deploy", *FILE)
    assert engine.directory == first, "it is the same deployment that was continued"
    assert "admin" in engine.run("openstack", "--", "user", "list", "-f", "value", "-c", "Name").output

    interrupted(engine, LOAD, "Run Rally", signal.SIGKILL, lambda: engine.on("database-1", SERVING))
    interrupted(engine, ("destroy",), "Giving the hosts back", signal.SIGKILL)
    destroyed(engine)


def ansible_of(engine: Engine, playbook: str) -> Callable[[], None]:
    """Waits until a task of `playbook` has ended since now was asked for."""

    def tasks() -> int:
        return sum(log.read_text().count("\n") for log in engine.directory.glob(f"logs/*{playbook}.log"))

    def wait() -> None:
        before = tasks()
        until(lambda: tasks() > before + 3)

    return wait


@on_postgresql
def test_rally_that_runs(pair: Shared) -> None:
    for by in SIGNALS:
        pair.interrupt(LOAD, at="Run Rally", by=by, into=lambda: pair.on("database-1", SERVING))
        assert (pair.run_directory() / "manifest.json").exists()
    bench(pair, scenarios=SCENARIOS[:1])
    samples = pd.read_csv(pair.run_directory() / "samples.csv")
    assert len(samples[samples.metric == "iteration"]) == ITERATIONS, "nothing of the Rally that was killed is left"
    assert set(samples.outcome) == {"ok"}


@on_postgresql
def test_a_report_that_is_written(pair: Shared) -> None:
    if not list(pair.directory.glob("runs/*/summary.csv")):
        bench(pair, scenarios=SCENARIOS[:1])
    run = pair.run_directory()
    for by in SIGNALS:
        before = {path: path.read_bytes() for path in (run / "samples.csv", run / "manifest.json")}
        pages = {path.stat().st_mtime_ns for path in run.glob("figures/*.svg")}
        drawn = lambda: {path.stat().st_mtime_ns for path in run.glob("figures/*.svg")} - pages  # noqa: B023, E731
        interrupted(pair, ("report",), SCENARIOS[0].removeprefix("keystone/"), by, lambda: until(drawn))  # noqa: B023
        assert not (run / "report.html").exists() or whole(run / "report.html")
        pair.run("report")
        assert whole(run / "report.html")
        assert {path: path.read_bytes() for path in before} == before


def whole(page: Path) -> bool:
    return page.read_text().rstrip().endswith("</html>")


@pytest.mark.deep
@pytest.mark.destructive
@pytest.mark.parametrize("by", SIGNALS, ids=["ctrl-c", "kill-9"])
def test_deploy_continues_after_an_interruption_of_each_step(engine: Engine, by: signal.Signals) -> None:
    for step in STEPS:
        interrupted(engine, ("deploy", *FILE), step, by)
    first = engine.directory
    engine.run("deploy", *FILE)
    assert engine.directory == first, "it is the same deployment that was continued"
    assert "admin" in engine.run("openstack", "--", "user", "list", "-f", "value", "-c", "Name").output

    engine.interrupt(LOAD, at="Run Rally", by=by, into=lambda: engine.on("database-1", SERVING))
    assert (engine.run_directory() / "manifest.json").exists()
    engine.run(*LOAD[:-3], "4", "--concurrency", "2")
    engine.interrupt(("collect",), at="Pack journals", by=by)
    engine.run("collect")
    engine.interrupt(("destroy",), at="Giving the hosts back", by=by)
    destroyed(engine)


# After Ctrl-C the engine has put away more than after kill -9: two steps of it are enough.
@pytest.mark.deep
@pytest.mark.destructive
@pytest.mark.parametrize(
    ("step", "by"),
    [(step, signal.SIGKILL) for step in STEPS]
    + [(step, signal.SIGINT) for step in ("Starting the hosts", "Configuring the database")],
)
def test_destroy_cleans_after_an_interruption(engine: Engine, step: str, by: signal.Signals) -> None:
    interrupted(engine, ("deploy", *FILE), step, by)
    destroyed(engine)
