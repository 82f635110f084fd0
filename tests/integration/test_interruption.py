"""Ctrl-C and kill -9: what was begun is continued by the same command, and `destroy` cleans.

One test for each kind of work always runs; every step with every signal is deep.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.integration.engine import ArgvWatch, Engine, mark_of, traces
from tests.integration.interruptions import LOCAL, ansible_of, interrupted, until
from tests.integration.runs import SCENARIOS, SERVING, bench, no_secret_outside_its_file, the_run_is_complete
from tests.integration.shared import Shared

pytestmark = pytest.mark.nspawn
on_postgresql = pytest.mark.xdist_group("postgresql")

FILE = ("--env", LOCAL)
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


def destroyed(engine: Engine) -> None:
    """Destroy what was begun: nothing is left."""
    directory, mark = engine.directory, mark_of(engine.directory)
    engine.run("destroy")
    assert traces(directory, mark or str(directory)) == []


@pytest.mark.destructive
def test_work_on_this_machine(engine: Engine) -> None:
    for by in SIGNALS:
        interrupted(engine, ("deploy", *BARE), "Preparing this machine", by)
    engine.run("deploy", *BARE, "--phase", "machine")
    destroyed(engine)
    for by in SIGNALS:
        interrupted(engine, ("deploy", *BARE), "Preparing this machine", by)
        destroyed(engine)
    engine.run("destroy")  # a second time does no harm


@pytest.mark.destructive
def test_hosts_that_start(engine: Engine) -> None:
    def one_boots() -> None:
        until(lambda: list(engine.directory.glob("hosts/*/console.log")))

    def start(by: signal.Signals) -> None:
        interrupted(engine, ("deploy", *BARE), "Starting the hosts", by, one_boots)

    start(signal.SIGINT)
    first = engine.directory
    start(signal.SIGKILL)
    engine.run("deploy", *BARE, "--phase", "hosts")
    assert engine.directory == first, "it is the same deployment that was continued"
    assert [engine.on(host, "hostname").strip() for host in ("database-1", "rally-1")] == ["database-1", "rally-1"]
    destroyed(engine)
    for by in SIGNALS:
        start(by)
        destroyed(engine)


@pytest.mark.destructive
def test_ansible_that_runs(engine: Engine) -> None:
    """That `deploy` continues is seen wherever `pair` is used: it was made so."""
    for by in SIGNALS:
        interrupted(engine, ("deploy", *FILE), "Configuring the database", by, ansible_of(engine, "database"))
        destroyed(engine)


@on_postgresql
def test_what_was_interrupted_was_continued(pair: Shared) -> None:
    assert len(list(pair.results.glob("local-*"))) == 1, "it is one deployment that was begun and continued"
    assert "admin" in pair.run("openstack", "--", "user", "list", "-f", "value", "-c", "Name").output


@on_postgresql
def test_rally_that_runs(pair: Shared) -> None:
    for by in SIGNALS:
        pair.interrupt(LOAD, at="Waiting for the end of Rally", by=by, into=lambda: pair.on("database-1", SERVING))
        assert (pair.run_directory() / "manifest.json").exists()
    a_run_is_complete_and_begins_with_a_fresh_database(pair)


def a_run_is_complete_and_begins_with_a_fresh_database(pair: Shared) -> None:
    demo = ("project", "create", "demo", "--or-show", "-f", "value", "-c", "name")
    assert "demo" in pair.run("openstack", "--", *demo).output
    with ArgvWatch(pair) as watch:
        bench(pair, scenarios=SCENARIOS[:1])
    assert watch.seen == set()
    the_run_is_complete(pair, hosts=("database-1", "rally-1"), backend="postgresql", scenarios=SCENARIOS[:1])
    no_secret_outside_its_file(pair.directory, pair.secrets)
    assert "demo" not in pair.run("openstack", "--", "project", "list", "-f", "value", "-c", "Name").output


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

    engine.interrupt(LOAD, at="Waiting for the end of Rally", by=by, into=lambda: engine.on("database-1", SERVING))
    assert (engine.run_directory() / "manifest.json").exists()
    engine.run(*LOAD[:-3], "4", "--concurrency", "2")
    engine.interrupt(("collect",), at="Collecting journals", by=by)
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
