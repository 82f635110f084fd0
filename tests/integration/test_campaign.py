"""A campaign on real hosts: killed in the middle, resumed, a host killed under it; every run counted once."""

from __future__ import annotations

import json
import os
import signal
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from enos_crdb import loading
from enos_crdb.campaign import Campaign
from enos_crdb.store import read_json
from tests.integration.engine import Engine

pytestmark = pytest.mark.nspawn

LOAD = "Waiting for the end of Rally"
EXPERIMENT = """\
experiment: crash
configuration:
  provider: nspawn
  machines: [{roles: [database, keystone]}, {roles: [rally]}]
  database: {backend: postgresql}
  openstack: {keystone: {password_hash_rounds: 4}}
  bench: {scenarios: [keystone/create-and-list-tenants], concurrency: 2, http_timeout_s: 15}
factors:
  backend: {path: database.backend, levels: [postgresql, mariadb]}
  times: {path: bench.times, levels: [15, 16]}
exclude:
  - {backend: mariadb, times: 16}
repetitions: {deployments: 1, runs: 1}
"""


def watched(
    engine: Engine, arguments: Sequence[str], marks: Sequence[str], act: Callable[[int], None]
) -> tuple[int, str]:
    """Run a command and call `act` with its process when it has printed all of `marks`, one after the other."""
    process = engine.start(["--verbose", *arguments])
    assert process.stdout is not None
    seen, wanted = [], list(marks)
    for line in process.stdout:
        seen.append(line)
        if wanted and wanted[0] in line:
            wanted.pop(0)
            if not wanted:
                act(process.pid)
    status = process.wait(timeout=60)
    assert not wanted, f"it never printed {wanted[0]!r}:\n{''.join(seen)}"
    return status, "".join(seen)


def kill_all(process: int) -> None:
    os.killpg(process, signal.SIGKILL)


SHORT = """\
experiment: short
configuration:
  provider: nspawn
  machines: [{roles: [database, keystone]}, {roles: [rally]}]
  database: {backend: postgresql}
  openstack: {keystone: {password_hash_rounds: 4}}
  bench: {scenarios: [keystone/create-and-list-tenants], concurrency: 2}
factors:
  times: {path: bench.times, levels: [10, 11]}
repetitions: {deployments: 1, runs: 1}
"""


@pytest.mark.deep
@pytest.mark.destructive
def test_a_campaign_that_is_killed_is_resumed(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "short.yaml"
    file.write_text(SHORT)
    command = ("campaign", str(file))
    status, _ = watched(engine, command, ["run 2/2", LOAD], kill_all)
    assert status == -signal.SIGKILL
    assert "--resume" in engine.run(*command, status=7).output

    engine.run(*command, "--resume")
    (directory,) = (engine.results / "campaigns").iterdir()
    done = Campaign(directory)
    assert done.finished
    told = [(entry["item"], entry["status"], entry["cause"], entry["start"]) for entry in done.entries]
    assert [row[:3] for row in told] == [(1, "ok", ""), (2, "failed", "interrupted"), (2, "ok", "")]
    assert [row[3] for row in told if row[1] == "ok"] == ["fresh", "reset"], "the living deployment is used again"
    assert len({entry["state"] for entry in done.entries if entry["status"] == "ok"}) == 1, "a reset keeps no row"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the torn run
        table = loading.load(directory)
    sizes = table[table["metric"] == "iteration"].groupby("run", observed=True).size()
    assert sorted(sizes) == [10, 11], "every run is counted once"
    assert read_json(next(engine.results.glob("short-*/deployment.json")))["destroyed_at"], "nothing is left behind"


@pytest.mark.deep
@pytest.mark.destructive
def test_a_campaign_survives_a_kill_and_a_lost_host(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "crash.yaml"
    file.write_text(EXPERIMENT)
    command = ("campaign", str(file))
    status, _ = watched(engine, command, ["run 2/3", LOAD], kill_all)
    assert status == -signal.SIGKILL

    refused = engine.run(*command, status=7).output
    assert "is not finished" in refused
    assert "--resume" in refused

    status, output = watched(
        engine, [*command, "--resume"], ["run 3/3", LOAD], lambda _: engine.local_hosts.kill_host("database-1")
    )
    assert status == 0, output
    (directory,) = (engine.results / "campaigns").iterdir()
    done = Campaign(directory)
    assert done.finished
    told = [(entry["item"], entry["status"], entry["cause"]) for entry in done.entries]
    assert told == [
        (1, "ok", ""),
        (2, "failed", "interrupted"),
        (2, "ok", ""),
        (3, "failed", "hosts"),
        (3, "ok", ""),
    ], output

    good = [entry for entry in done.entries if entry["status"] == "ok"]
    assert [entry["combination"] for entry in good] == [item["combination"] for item in done.document["plan"]]
    assert [entry["start"] for entry in good] == ["fresh", "reset", "fresh"]
    states: dict[str, set[str]] = {entry["deployment"]: set() for entry in good}
    for entry in good:
        states[entry["deployment"]].add(entry["state"])
    assert [len(found) for found in states.values()] == [1, 1], "a reset brings back what a fresh deployment holds"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the torn run and the one without its host
        table = loading.load(directory)
    assert set(table["run"]) == {entry["run"] for entry in good}
    assert len(table.attrs["skipped"]) == 2
    for path in engine.results.glob("crash-*/deployment.json"):
        assert read_json(path)["destroyed_at"], "nothing is left behind"
    assert json.loads((directory / "under-way.json").read_text())["living"] is None
