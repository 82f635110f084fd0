"""The section `g5k` as values: what is asked of which place, under which name, at what cost. Without an API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from enos_crdb import config
from enos_crdb.config import Configuration
from enos_crdb.config.fixed import unlike
from enos_crdb.config.g5k import MAY_CHANGE, G5k, batches, cost, job_name

FILE = """
name: study
provider: g5k
g5k: {site: nantes, cluster: ecotype}
machines:
  - {roles: [database, keystone], count: 9, site: [rennes, nantes, lyon]}
  - {roles: [rally], site: rennes}
database: {backend: galera}
"""
PLACES = {
    "rennes": {"site": "rennes", "cluster": "paradoxe"},
    "lyon": {"servers": [f"nova-{number}.lyon.grid5000.fr" for number in (12, 3, 7, 1)]},
}


def experiment(**changed: Any) -> Configuration:
    overrides = [f"{path}={json.dumps(value)}" for path, value in changed.items()]
    return config.check(config.override(yaml.safe_load(FILE), overrides), source="test")


def section(text: str) -> G5k:
    document = yaml.safe_load(FILE)
    document["g5k"] |= yaml.safe_load(text)
    return config.check(document, source="test").g5k


@pytest.mark.parametrize(
    ("written", "walltime", "seconds"),
    [
        ('walltime: "02:00:00"', "02:00:00", 7200),
        ("walltime: 02:00:00", "02:00:00", 7200),  # text in YAML 1.1, for its leading zero
        ("walltime: 2:00:00", "02:00:00", 7200),  # a number there
        ("walltime: 10:00:00", "10:00:00", 36000),
        ("walltime: 36:30:00", "36:30:00", 131400),
        ('walltime: "120:00:00"', "120:00:00", 432000),
    ],
)
def test_a_walltime_with_and_without_quotes(written: str, walltime: str, seconds: int) -> None:
    read = section(written)
    assert (read.walltime, read.walltime_s) == (walltime, seconds)


@pytest.mark.parametrize(
    ("written", "date"),
    [
        ('reservation: "2026-12-01 19:00:00"', "2026-12-01 19:00:00"),
        ("reservation: 2026-12-01 19:00:00", "2026-12-01 19:00:00"),
        ("reservation: 2026-12-01T18:00:00Z", "2026-12-01 19:00:00"),
        ("reservation: 2026-07-01T18:00:00Z", "2026-07-01 20:00:00"),
    ],
)
def test_a_date_with_and_without_quotes(written: str, date: str) -> None:
    assert section(written).reservation == date


def test_hosts_come_from_the_place_of_their_label() -> None:
    asked = batches(*_asked(experiment(**{"g5k.places": PLACES})))
    assert [(batch.index, batch.label, batch.site, batch.cluster) for batch in asked] == [
        (0, "rennes", "rennes", "paradoxe"),
        (0, "nantes", "nantes", "ecotype"),
        (0, "lyon", "lyon", "nova"),
        (1, "rennes", "rennes", "paradoxe"),
    ]
    assert [batch.names for batch in asked[:3]] == [
        ("database-1", "database-4", "database-7"),
        ("database-2", "database-5", "database-8"),
        ("database-3", "database-6", "database-9"),
    ]
    assert asked[2].servers == tuple(f"nova-{number}.lyon.grid5000.fr" for number in (12, 3, 7))
    assert len({batch.role for batch in asked}) == 4


def test_servers_are_dealt_to_the_groups_in_order_and_the_rest_is_not_asked_for() -> None:
    servers = [f"ecotype-{number}.nantes.grid5000.fr" for number in range(12, 0, -1)]
    asked = batches(*_asked(experiment(**{"g5k": {"servers": servers}, "machines.0.site": "local"})))
    assert asked[0].servers == tuple(servers[:9])
    assert asked[1].servers == (servers[9],)


def test_a_minimum_lets_each_place_lose_as_many_as_the_group() -> None:
    asked = batches(*_asked(experiment(**{"machines.0.min": 8})))
    assert [batch.enough for batch in asked] == [2, 2, 2, 1]


def test_a_label_that_the_count_does_not_reach_is_no_error() -> None:
    """``--set machines.0.count=1`` on a file with places for nine sites."""
    assert [batch.label for batch in batches(*_asked(experiment(**{"machines.0.count": 3, "g5k.places": PLACES})))] == [
        "rennes",
        "nantes",
        "lyon",
        "rennes",
    ]


def test_the_name_of_the_jobs_tells_what_was_asked_for() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"machines.0.count": 10},
        {"g5k.cluster": "econome"},
        {"g5k.walltime": "03:00:00"},
        {"g5k.env_name": "debian12-min"},
        {"g5k.env_name": "debian12-min", "g5k.networks": {"database": "kavlan"}},
        {"g5k.queue": "production"},
        {"g5k.project": "mine"},
        {"g5k.reservation": "2026-12-01 19:00:00"},
        {"g5k.job_type": ["night"]},
        {"g5k.reservable_disks": True},
        {"g5k.places": PLACES},
        {"name": "other"},
    ]
    names = [_name(experiment(**changed)) for changed in changes]
    assert len(set(names)) == len(names)
    assert all(name.startswith(("enos_crdb-study-", "enos_crdb-other-")) for name in names)


def test_the_name_of_the_jobs_does_not_depend_on_what_may_change() -> None:
    same: list[dict[str, Any]] = [
        {},
        {"g5k.jump": True},
        {"g5k.key": "~/.ssh/id.pub"},
        {"bench.times": 700},
        {"machines.0.min": 8},
        {"database.max_connections": 77},
    ]
    assert len({_name(experiment(**changed)) for changed in same}) == 1


def test_what_may_change_is_not_fixed_and_all_else_is() -> None:
    document = experiment().model_dump(mode="json")
    others: dict[str, Any] = {"walltime": "09:00:00", "cluster": "econome", "jump": True, "key": "x.pub"}
    for key, value in others.items():
        changed = {**document, "g5k": {**document["g5k"], key: value}}
        assert (unlike(document, changed) is None) == (key in MAY_CHANGE), key


def test_the_stored_configuration_asks_for_the_same_jobs() -> None:
    first = experiment(**{"g5k.places": PLACES, "g5k.walltime": 36000, "g5k.reservation": "2026-12-01 19:00:00"})
    again = config.check(json.loads(json.dumps(first.model_dump(mode="json"))), source="deployment.json")
    assert _name(again) == _name(first)


def test_a_name_of_a_job_fits_into_oars_column() -> None:
    assert len(_name(experiment(name="n" * 48, **{"g5k.job_name": "j" * 30}))) <= 100


def test_the_cost_is_hosts_times_walltime() -> None:
    spent = cost(*_asked(experiment(**{"g5k.places": PLACES, "g5k.walltime": "02:30:00"})))
    assert (spent.hosts, spent.node_hours) == (10, 25.0)
    assert str(spent) == (
        "10 nodes (4 on rennes/paradoxe, 3 on nantes/ecotype, 3 on lyon/nova) for 2.5 h: 25 node-hours"
    )


@pytest.mark.parametrize("count", [3, 9, 45])
def test_nine_sites_by_one_setting(count: int) -> None:
    file = Path(__file__).parents[2] / "configs" / "g5k-9-sites.yaml"
    configuration = config.load(file, [f"machines.0.count={count}"])
    asked = batches(*_asked(configuration))
    assert cost(*_asked(configuration)).hosts == count + 1
    assert len({batch.label for batch in asked}) == min(count, 9)


def _asked(configuration: Configuration) -> tuple[G5k, Any]:
    return configuration.g5k, configuration.machines


def _name(configuration: Configuration) -> str:
    return job_name(configuration.g5k, configuration.machines, configuration.name)
