"""The record of a run: written, read, upgraded, refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import synthetic
from enos_crdb import record
from enos_crdb.errors import StateError
from enos_crdb.model import System
from tests.golden import PLACE

STORED = next((PLACE / "stored").glob("*/runs/*"))
"""A run that was measured, and stored in version 1."""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A directory with the record of that run."""
    shutil.copy(STORED / record.FILE, tmp_path)
    return tmp_path


def change(run: Path, changes: Callable[[dict[str, Any]], Any]) -> None:
    document = json.loads((run / record.FILE).read_text())
    changes(document)
    (run / record.FILE).write_text(json.dumps(document))


def test_a_record_of_version_1_is_upgraded(run: Path) -> None:
    found = record.read(run)
    assert found.run == STORED.name
    assert (found.backend, found.configuration.bench.times) == ("postgresql", 40)
    assert found.names("database", "keystone") == ("database-1",)
    assert found.hosts[0].system == System(
        distribution="debian", version="12", codename="bookworm", python="3.11", machine="x86_64"
    )
    assert [client.rally for client in found.clients] == ["rally-1"]
    assert len(found.scenarios) == 7
    assert {scenario.status for scenario in found.scenarios} == {"ok"}
    assert found.scenario("keystone/get-entities").slug == "04-get-entities"
    assert found.network is not None
    assert [len(matrix.rtt) for matrix in found.network.matrices] == [4, 4]
    assert not found.network.refused


def test_what_is_written_is_read(run: Path) -> None:
    found = record.read(run)
    record.write(found, run)
    assert json.loads((run / record.FILE).read_text())["schema_version"] == record.VERSION
    assert record.read(run) == found


def test_the_record_of_a_campaign_s_run_keeps_its_place_in_it(tmp_path: Path) -> None:
    campaign = synthetic.write_campaign(
        tmp_path, combinations=synthetic.grid(("galera",), (10.0,)), runs=1, iterations=5
    )
    (run,) = tmp_path.glob("*/runs/*")
    labels = record.read(run).campaign
    assert labels
    assert (labels.campaign, labels.repetition, labels.attempt) == (campaign.name, 1, 1)
    assert labels.factors == {"backend": "galera", "delay_ms": "10"}


def test_how_hosts_are_reached_is_not_kept(run: Path) -> None:
    found = record.read(run)
    hosts = tuple(replace(host, user="researcher", variables={"gateway": "researcher"}) for host in found.hosts)
    record.write(replace(found, hosts=hosts), run)
    assert "researcher" not in (run / record.FILE).read_text()
    assert record.read(run).hosts == found.hosts


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (lambda document: document.update(schema_version=99), r"has schema version 99, .* reads up to 2\.\nA later"),
        (lambda document: document.pop("schema_version"), "is not that of a run"),
        (lambda document: document.update(schema_version=0), "is not that of a run: KeyError 0"),
        (lambda document: document.pop("hosts"), "is not that of a run: hosts: Field required"),
        (lambda document: document.update(hosts=None), "is not that of a run: hosts: Input should be a valid"),
        (lambda document: document["configuration"]["bench"].update(times=0), "configuration.bench.times"),
        (lambda document: document["scenarios"][0].pop("clients"), "scenarios.0.clients: Field required"),
        (lambda document: document["network"]["before"]["rtt"][0].update(median_ms="x"), "network.before.rtt.0.median"),
    ],
)
def test_what_is_no_record_is_refused(run: Path, changes: Callable[[dict[str, Any]], Any], said: str) -> None:
    change(run, changes)
    with pytest.raises(StateError, match=f"(?s){said}"):
        record.read(run)


def test_a_field_that_a_later_version_added_does_no_harm(run: Path) -> None:
    change(run, lambda document: document.update(weather="fair"))
    assert record.read(run).run == STORED.name
