"""The catalogue of scenarios, Rally tasks, and who runs them."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re

import pytest
from pydantic import ValidationError

from enos_crdb import rally
from enos_crdb.config.bench import Bench
from enos_crdb.model import Host, Resources


def host(name: str, number: int, *roles: str) -> Host:
    addresses = {"control": f"10.0.1.{number}", "database": f"10.0.2.{number}"}
    return Host(name=name, roles=roles, address=f"10.0.1.{number}", addresses=addresses)


THREE_SITES = Resources(
    hosts=(
        host("galera-1", 11, "database", "keystone"),
        host("galera-2", 12, "database", "keystone"),
        host("galera-3", 13, "database", "keystone"),
        host("rally-1", 14, "rally"),
        host("rally-2", 15, "rally"),
    ),
    networks=(),
)


def only_subtask(bench: Bench, name: str = "keystone/create-user") -> dict[str, object]:
    (subtask,) = rally.rally_task(rally.SCENARIOS[name], bench)["subtasks"]
    return dict(subtask)


def test_the_catalogue_is_that_of_the_installed_rally() -> None:
    plugins = pytest.importorskip("rally.plugins", reason="rally-openstack is only installed on the rally hosts")
    pytest.importorskip("rally_openstack")
    plugins.load()
    every = pytest.importorskip("rally.task.scenario").Scenario.get_all()
    names = {plugin.get_name(): plugin for plugin in every}
    shipped = {name: names[name] for name in names if re.match(r"KeystoneBasic\.|Authenticate\.keystone$", name)}
    assert {scenario.plugin for scenario in rally.SCENARIOS.values()} == set(shipped)
    for scenario in rally.SCENARIOS.values():
        inspect.signature(shipped[scenario.plugin].run).bind(None, **scenario.arguments)


def test_names_follow_rally_names() -> None:
    for name, scenario in rally.SCENARIOS.items():
        assert name == scenario.name
        assert name.removeprefix("keystone/").replace("-", "_") in scenario.plugin or name == "keystone/authenticate"
        assert scenario.description


def test_the_seven_of_2018_are_the_default() -> None:
    assert Bench().scenarios == list(rally.STUDY_2018)
    assert len(set(rally.STUDY_2018) & set(rally.SCENARIOS)) == 7


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        pytest.param("keystone/create-and-list-user", "keystone/create-and-list-users", id="singular"),
        pytest.param("create_and_list_users", "keystone/create-and-list-users", id="as-rally-writes-it"),
        pytest.param("Create-User", "keystone/create-user", id="capitals"),
        pytest.param("nova/boot-server", "`enos_crdb scenarios` lists", id="other-service"),
    ],
)
def test_an_unknown_scenario_is_refused_with_the_nearest(written: str, hint: str) -> None:
    with pytest.raises(ValidationError, match="there is no scenario") as caught:
        Bench(scenarios=[written])
    assert hint in str(caught.value)


def test_arguments_of_an_unknown_scenario_are_refused() -> None:
    with pytest.raises(ValidationError, match="there is no scenario 'keystone/nothing-like-it-at-all'"):
        Bench(arguments={"keystone/nothing-like-it-at-all": {}})


def test_a_scenario_listed_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="listed twice"):
        Bench(scenarios=["keystone/create-user", "keystone/create-user"])


@pytest.mark.parametrize(
    ("runner", "expected"),
    [
        pytest.param({"type": "constant"}, {"constant": {"times": 50, "concurrency": 4}}, id="constant"),
        pytest.param(
            {"type": "constant_for_duration", "duration_s": 30.0},
            {"constant_for_duration": {"duration": 30.0, "concurrency": 4}},
            id="constant-for-duration",
        ),
        pytest.param({"type": "rps", "rps": 2.5}, {"rps": {"rps": 2.5, "times": 50, "max_concurrency": 4}}, id="rps"),
    ],
)
def test_runners(runner: dict[str, object], expected: dict[str, object]) -> None:
    bench = Bench.model_validate({"times": 50, "concurrency": 4, "runner": runner})
    assert only_subtask(bench)["runner"] == expected


def test_arguments_of_the_user_replace_ours_one_by_one() -> None:
    name, plugin = "keystone/create-tenant-with-users", "KeystoneBasic.create_tenant_with_users"
    assert only_subtask(Bench(), name)["scenario"] == {plugin: {"users_per_tenant": 3}}
    given = {"users_per_tenant": 9, "enabled": False}
    assert only_subtask(Bench(arguments={name: given}), name)["scenario"] == {plugin: given}


def test_sla_and_users() -> None:
    subtask = only_subtask(Bench(max_failure_percent=5.0, projects=2, users_per_project=3))
    assert subtask["sla"] == {"failure_rate": {"max": 5.0}}
    contexts = subtask["contexts"]
    assert isinstance(contexts, dict)
    assert contexts["users"] == {"tenants": 2, "users_per_tenant": 3}


def test_light_is_one_rally_against_the_first_keystone() -> None:
    (client,) = rally.clients(THREE_SITES, "light")
    assert (client.rally, client.keystone, client.region) == ("rally-1", "galera-1", "galera-1")
    assert client.auth_url == "http://10.0.1.11:5000/v3"


def test_heavy_is_one_rally_per_keystone_dealt_to_the_rally_hosts() -> None:
    found = rally.clients(THREE_SITES, "heavy")
    assert [(client.rally, client.keystone) for client in found] == [
        ("rally-1", "galera-1"),
        ("rally-2", "galera-2"),
        ("rally-1", "galera-3"),
    ]
    assert len({client.name for client in found}) == 3


@pytest.mark.parametrize(("load", "waits"), [("light", False), ("heavy", True)])
def test_every_rally_waits_for_the_word_after_its_preparation(load: str, waits: bool) -> None:
    wanted = rally.clients(THREE_SITES, load)
    (subtask,) = rally.job("keystone/create-user", wanted, Bench.model_validate({"load": load}))["task"]["subtasks"]
    assert "start_together" in subtask["contexts"]
    assert (rally.start_lead_s(wanted) > 0) is waits


@pytest.mark.parametrize(("reset", "cleanup"), [("scenario", False), ("run", True), ("never", True)])
def test_rally_cleans_up_only_when_the_database_is_kept(reset: str, cleanup: bool) -> None:
    bench = Bench.model_validate({"reset": reset})
    assert rally.job("keystone/create-user", rally.clients(THREE_SITES, "light"), bench)["cleanup"] is cleanup


def test_the_password_is_in_the_environment_and_nowhere_else() -> None:
    bench = Bench(load="heavy")
    wanted = rally.clients(THREE_SITES, bench.load)
    prepared = rally.prepare_requests("run-1", wanted, bench, "s3cr3t-of-admin")
    assert set(prepared) == {"rally-1", "rally-2"}
    assert [client["name"] for client in prepared["rally-1"]["clients"]] == [wanted[0].name, wanted[2].name]
    assert json.dumps(prepared).count("s3cr3t-of-admin") == 3
    requests = rally.scenario_requests("run-1", 2, "keystone/get-entities", wanted)
    assert "s3cr3t-of-admin" not in json.dumps([requests, rally.job("keystone/get-entities", wanted, bench)])
    assert requests["rally-1"] == {
        "directory": "/var/lib/rally/run-1",
        "scenario": "02-get-entities",
        "archive": "/var/lib/rally/run-1/02-get-entities.tar",
        "clients": [wanted[0].name, wanted[2].name],
    }


def test_a_host_is_given_more_time_than_its_rallies_may_take() -> None:
    bench = Bench(scenario_timeout_s=100)
    job = rally.job("keystone/create-user", rally.clients(THREE_SITES, "light"), bench)
    assert rally.longest_s(bench) > job["setup_s"] + job["timeout_s"] + job["grace_s"]


def test_scenarios_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        rally.SCENARIOS["keystone/create-user"].name = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("runner", "expected"),
    [
        ({"rate_per_s": 2.5}, {"rate_per_s": 2.5, "times": 40, "arrivals": "even", "seed": 1, "concurrency": 4}),
        (
            {"rate_per_s": 2.5, "duration_s": 9.0, "arrivals": "poisson", "seed": 7},
            {"rate_per_s": 2.5, "duration_s": 9.0, "arrivals": "poisson", "seed": 7, "concurrency": 4},
        ),
    ],
    ids=["times", "duration"],
)
def test_an_open_loop(runner: dict[str, object], expected: dict[str, object]) -> None:
    bench = Bench.model_validate({"times": 40, "concurrency": 4, "runner": {"type": "open_loop", **runner}})
    assert only_subtask(bench)["runner"] == {"open_loop": expected}


def test_rallies_of_an_open_loop_take_turns() -> None:
    wanted = rally.clients(THREE_SITES, "heavy")
    job = rally.job("keystone/create-user", wanted, Bench())
    assert list(job["phases"].values()) == pytest.approx([0, 1 / 3, 2 / 3])
    assert list(job["phases"]) == [client.name for client in wanted]


@pytest.mark.parametrize(
    ("placement", "load", "expected"),
    [
        ("rally", "light", [("rally-1", "galera-1")]),
        ("keystone", "light", [("galera-1", "galera-1")]),
        ("database", "light", [("galera-1", "galera-1")]),
        ("rally", "heavy", [("rally-1", "galera-1"), ("rally-2", "galera-2"), ("rally-1", "galera-3")]),
        ("keystone", "heavy", [(f"galera-{n}", f"galera-{n}") for n in (1, 2, 3)]),
        ("database", "heavy", [(f"galera-{n}", f"galera-{n}") for n in (1, 2, 3)]),
    ],
)
def test_who_loads_which_keystone_from_where(placement: str, load: str, expected: list[tuple[str, str]]) -> None:
    wanted = rally.clients(THREE_SITES, load, placement)
    assert [(client.rally, client.keystone) for client in wanted] == expected


def test_one_database_host_loads_all_keystones() -> None:
    resources = Resources(
        hosts=(host("db", 11, "database"), host("ks-1", 12, "keystone"), host("ks-2", 13, "keystone")), networks=()
    )
    wanted = rally.clients(resources, "heavy", "database")
    assert [(client.rally, client.keystone) for client in wanted] == [("db", "ks-1"), ("db", "ks-2")]
    assert len({client.name for client in wanted}) == 2
