"""Ctrl-C and kill -9 at every step of a deployment: `deploy` continues, `destroy` cleans."""

from __future__ import annotations

import signal

import pytest

from tests.integration.engine import Engine, mark_of, traces

pytestmark = pytest.mark.nspawn

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


@pytest.mark.parametrize("by", SIGNALS, ids=["ctrl-c", "kill-9"])
def test_deploy_continues_after_an_interruption_of_each_step(engine: Engine, by: signal.Signals) -> None:
    for step in STEPS:
        ended = engine.interrupt(("deploy", *FILE), at=step, by=by)
        assert ended.status in ((130,) if by == signal.SIGINT else (-signal.SIGKILL,)), ended.output
    first = engine.directory
    engine.run("deploy", *FILE)
    assert engine.directory == first, "it is the same deployment that was continued"
    assert "admin" in engine.run("openstack", "--", "user", "list", "-f", "value", "-c", "Name").output

    bench = ("bench", "keystone", "--scenario", "keystone/get-entities", "--times", "30", "--concurrency", "2")
    engine.interrupt(bench, at="Run Rally", by=by)
    assert (engine.run_directory() / "manifest.json").exists()
    engine.run(*bench[:-3], "4", "--concurrency", "2")
    engine.interrupt(("collect",), at="Pack journals", by=by)
    engine.run("collect")

    directory, mark = engine.directory, mark_of(engine.directory)
    assert mark is not None
    engine.interrupt(("destroy",), at="Giving the hosts back", by=by)
    engine.run("destroy")
    assert traces(directory, mark) == []


# After Ctrl-C the engine has put away more than after kill -9: two steps of it are enough.
@pytest.mark.parametrize(
    ("step", "by"),
    [(step, signal.SIGKILL) for step in STEPS]
    + [(step, signal.SIGINT) for step in ("Starting the hosts", "Configuring the database")],
)
def test_destroy_cleans_after_an_interruption(engine: Engine, step: str, by: signal.Signals) -> None:
    engine.interrupt(("deploy", *FILE), at=step, by=by)
    directory, mark = engine.directory, mark_of(engine.directory)
    engine.run("destroy")
    assert traces(directory, mark or str(directory)) == []
    engine.run("destroy")
