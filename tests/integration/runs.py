"""Short runs on deployments of tests, and what every run must have and may not have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from tests.integration.engine import Engine

SCENARIOS = (
    "keystone/authenticate-user-and-validate-token",
    "keystone/create-and-list-users",
    "keystone/create-add-and-list-user-roles",
)
ITERATIONS = 6
SERVING = "until ss -Htn state established '( sport = :5000 )' | grep -q . ; do sleep 0.1; done"
"""Ends when the Keystone of a host is asked for something."""


def bench(engine: Engine, *more: str, scenarios: Sequence[str] = SCENARIOS, status: int = 0) -> str:
    """A run of few iterations."""
    options = [word for scenario in scenarios for word in ("--scenario", scenario)]
    return engine.run(
        "bench", "keystone", *options, "--times", str(ITERATIONS), "--concurrency", "2", *more, status=status
    ).output


def no_secret_outside_its_file(directory: Path, secrets: dict[str, str]) -> None:
    for path in directory.rglob("*"):
        inside_a_host = path.is_relative_to(directory / "hosts")  # the hosts' own disks are theirs
        if path.is_file() and not inside_a_host and path.name not in ("secrets.json", "openrc", "clouds.yaml"):
            content = path.read_bytes()
            for name, secret in secrets.items():
                assert secret.encode() not in content, f"{name} is in {path}"


def the_run_is_complete(
    engine: Engine, *, hosts: tuple[str, ...], backend: str, scenarios: Sequence[str] = SCENARIOS
) -> None:
    run = engine.run_directory()
    manifest = json.loads((run / "manifest.json").read_text())
    assert [scenario["name"] for scenario in manifest["scenarios"]] == list(scenarios)
    assert manifest["configuration"]["database"]["backend"] == backend
    assert manifest["finished_at"]
    samples = pd.read_csv(run / "samples.csv")
    iterations = samples[samples.metric == "iteration"]
    assert iterations.groupby("scenario").size().to_dict() == dict.fromkeys(scenarios, ITERATIONS)
    assert set(samples.outcome) == {"ok"}
    assert (samples.value >= 0).all()
    summary = pd.read_csv(run / "summary.csv")
    assert set(scenarios) <= set(summary.scenario)
    for ending in ("database-1.json", "database-1.html"):
        assert len(list((run / "rally").glob(f"*{ending}"))) == len(scenarios), "what Rally itself wrote"
    for host in hosts:
        assert any((run / "hosts" / host).rglob("*journal*")), f"no journal of {host}"
        assert list((run / "hosts" / host).rglob("*.csv")), f"no CPU and memory of {host}"
    counters = [json.loads(path.read_text()) for path in sorted(run.glob("hosts/*/counters/*.json"))]
    assert counters, "no database counters"
    the_samples_are_what_rally_wrote(run)


def the_samples_are_what_rally_wrote(run: Path) -> None:
    """Seconds, as in the files that Rally wrote, for each scenario and iteration."""
    samples = pd.read_csv(run / "samples.csv")
    iterations = samples[samples.metric == "iteration"]
    assert set(iterations.unit) == {"s"}
    written = [
        iteration["duration"]
        for path in (run / "rally").glob("*database-1.json")
        for task in json.loads(path.read_text())["tasks"]
        for subtask in task["subtasks"]
        for workload in subtask["workloads"]
        for iteration in workload["data"]
    ]
    assert sorted(iterations.value) == pytest.approx(sorted(written), abs=2e-6), "to a microsecond"


def the_database_is_bound_to_its_network(engine: Engine, host: str) -> None:
    addresses = next(entry for entry in engine.state["resources"]["hosts"] if entry["name"] == host)["addresses"]
    listening = engine.on(host, "ss -Hltn")
    ports = [line.split()[3] for line in listening.splitlines() if line.split()[3].endswith((":5432", ":3306"))]
    assert ports
    assert {port.rsplit(":", 1)[0] for port in ports} <= {addresses["database"], "127.0.0.1", "[::1]"}
