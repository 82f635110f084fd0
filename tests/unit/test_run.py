"""One run on doubles: what is asked of the hosts, and what is kept when things fail."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enos_crdb import config, inventory, record, stats
from enos_crdb.ansible import TaskFailure
from enos_crdb.config.bench import Bench
from enos_crdb.errors import NetworkError, StateError
from enos_crdb.phases import deploy as phase
from enos_crdb.phases import emulate
from enos_crdb.phases.context import Context
from enos_crdb.record import Matrix, NetworkRecord, Tolerance
from enos_crdb.run import measure
from enos_crdb.store import Store
from enos_crdb.summary import summarise
from enos_crdb.testing import FakeProvider, Played, RecordingAnsible, RecordingRunner
from tests.unit.rally_hosts import Hosts, a_report

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
USERS = "keystone/create-and-list-users"
ENTITIES = "keystone/get-entities"


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setattr("enos_crdb.wheelhouse.ensure", lambda lock, **_: Path("/wheels") / lock.stem)
    monkeypatch.setattr("enos_crdb.keystone_wheel.ensure", lambda cache, runner: cache / "keystone_crdb.whl")
    configuration = config.load(CONFIGS / "local-galera.yaml")
    deployment = Store(tmp_path).create(configuration.name, configuration.model_dump(mode="json"))
    deployment.add_secrets(inventory.new_secrets())
    made = Context(
        configuration=configuration,
        deployment=deployment,
        provider=FakeProvider(configuration=configuration),
        ansible=RecordingAnsible(),
        runner=RecordingRunner(),
        cache=tmp_path / "cache",
    )
    phase.deploy(made)
    return made


def on(context: Context, **doubled: Any) -> tuple[Context, RecordingAnsible]:
    ansible = RecordingAnsible(**{"effect": Hosts(a_report()), **doubled})
    return replace(context, ansible=ansible), ansible


def section(*scenarios: str, **values: Any) -> Bench:
    return Bench(scenarios=list(scenarios), **values)


def manifest(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "manifest.json").read_text()))


def test_a_run_resets_and_loads_for_each_scenario_and_collects(context: Context) -> None:
    context, ansible = on(context)
    run = measure(context, section(USERS, ENTITIES))
    assert ansible.playbooks == [
        *("emulation-measure.yml", "bench-begin.yml"),
        *("reset.yml", "verify.yml", "bench.yml"),
        *("reset.yml", "verify.yml", "bench.yml"),
        *("bench-end.yml", "emulation-measure.yml", "collect.yml"),
    ]
    assert [scenario["name"] for scenario in manifest(run)["scenarios"]] == [USERS, ENTITIES]
    assert (run / "samples.csv").exists()
    assert summarise(run).failure == ""
    assert not (run / "incoming").exists()


def test_samples_are_on_the_disk_when_their_scenario_ends(context: Context) -> None:
    """What kills the engine then takes the next scenario, not this one."""
    hosts, kept = Hosts(a_report()), list[set[str]]()

    def look(played: Played) -> None:
        hosts(played)
        if played.playbook == "reset.yml":
            path = context.deployment.last_run() / "samples.csv"
            kept.append(set(stats.read(path)["scenario"]) if path.exists() else set())

    context, _ = on(context, effect=look)
    run = measure(context, section(USERS, ENTITIES))
    assert kept == [set(), {USERS}]
    assert set(stats.read(run / "samples.csv")["scenario"]) == {USERS, ENTITIES}


@pytest.mark.parametrize(("reset", "times"), [("scenario", 2), ("run", 1), ("never", 0)])
def test_the_database_is_made_anew_as_often_as_asked(context: Context, reset: str, times: int) -> None:
    context, ansible = on(context)
    measure(context, section(USERS, ENTITIES, reset=reset))
    assert ansible.playbooks.count("reset.yml") == times


def test_heavy_load_is_one_rally_per_keystone(context: Context) -> None:
    context, _ = on(context)
    run = measure(context, section(USERS, load="heavy"))
    assert [client["client"] for client in manifest(run)["scenarios"][0]["clients"]] == [
        "rally-1-to-database-1", "rally-1-to-database-2", "rally-1-to-database-3"
    ]  # fmt: skip


def test_each_rally_runs_beside_the_keystone_that_it_loads(context: Context) -> None:
    context = placed_beside_keystone(context)
    context, ansible = on(context)
    run = measure(context, section(USERS, load="heavy", placement="keystone"))
    names = [f"database-{n}" for n in (1, 2, 3)]
    assert [(client["rally"], client["keystone"]) for client in manifest(run)["clients"]] == [
        (name, name) for name in names
    ]
    (bench,) = (played for played in ansible.played if played.playbook == "bench.yml")
    assert {host for host, given in bench.host_variables.items() if given.get("rally_clients")} == set(names)
    assert {role for host in manifest(run)["hosts"] for role in host["roles"]} == {"database", "keystone", "rally"}


def test_rally_where_it_is_not_installed_is_refused_before_anything_runs(context: Context) -> None:
    context, ansible = on(context)
    with pytest.raises(StateError, match="Rally is not installed on database-1, database-2, database-3") as caught:
        measure(context, section(USERS, placement="keystone"))
    assert "--set bench.placement=keystone" in str(caught.value)
    assert ansible.playbooks == []
    assert not list((context.deployment.directory / "runs").glob("*"))


def test_rally_is_found_where_another_role_brought_it(context: Context) -> None:
    context, _ = on(placed_beside_keystone(context))  # hosts of Keystone and of the database are the same here
    run = measure(context, section(USERS, placement="database"))
    assert [client["rally"] for client in manifest(run)["clients"]] == ["database-1"]


def placed_beside_keystone(context: Context) -> Context:
    configuration = config.load(CONFIGS / "local-galera.yaml", ["bench.placement=keystone"])
    context = replace(context, configuration=configuration)
    phase.deploy(context)
    return context


def test_a_scenario_that_cannot_run_is_recorded_and_the_others_go_on(context: Context) -> None:
    context, _ = on(context, effect=Hosts(a_report(), silent=("create-and-list-users",)))
    run = measure(context, section(USERS, ENTITIES))
    statuses = [scenario["clients"][0]["status"] for scenario in manifest(run)["scenarios"]]
    assert statuses == ["lost", "ok"]
    assert USERS in summarise(run).failure
    assert ENTITIES not in summarise(run).failure


def test_no_load_on_a_database_that_could_not_be_reset(context: Context) -> None:
    failure = TaskFailure(host="database-1", task="Load the dump", message="disk full")
    context, ansible = on(context, failures={"reset.yml": (failure,)})
    run = measure(context, section(USERS))
    assert "bench.yml" not in ansible.playbooks
    assert "disk full" in manifest(run)["scenarios"][0]["clients"][0]["message"]


def test_a_dead_node_is_a_warning_as_long_as_another_lives(context: Context) -> None:
    dead = TaskFailure(host="database-3", task="Gathering", message="no route", unreachable=True)
    context, ansible = on(context, failures={"reset.yml": (dead,), "bench.yml": (dead,), "collect.yml": (dead,)})
    run = measure(context, section(USERS))
    assert "bench.yml" in ansible.playbooks
    assert any("database-3" in warning for warning in manifest(run)["warnings"])
    all_dead = tuple(replace(dead, host=f"database-{number}") for number in (1, 2, 3))
    context, ansible = on(context, failures={"reset.yml": all_dead})
    measure(context, section(USERS))
    assert "bench.yml" not in ansible.playbooks


def test_ctrl_c_keeps_what_was_measured_and_stops_what_runs_on_the_hosts(context: Context) -> None:
    context, ansible = on(context, effect=Hosts(a_report(), interrupt_at="get-entities"))
    with pytest.raises(KeyboardInterrupt):
        measure(context, section(USERS, ENTITIES))
    run = context.deployment.last_run()
    assert ansible.playbooks[-1] == "bench-end.yml"
    assert manifest(run)["finished_at"]
    assert [row.statistics.scenario for row in summarise(run).rows if row.statistics.metric == "iteration"] == [USERS]
    assert ENTITIES in summarise(run).failure


def test_counters_are_kept_per_node_and_scenario(context: Context) -> None:
    def said(count: int) -> dict[str, Any]:
        return {"msg": {"database": {"commits": count}, "keystone": {"total": {"statements": count}}}}

    moments = {"Before": said(5), "After": said(9)}
    context, _ = on(context, outputs={"bench.yml": {"database-2": moments}})
    run = measure(context, section(USERS))
    path = run / "hosts" / "database-2" / "counters" / "01-create-and-list-users.json"
    assert json.loads(path.read_text()) == {"before": {"commits": 5}, "after": {"commits": 9}}
    path = run / "hosts" / "database-2" / "keystone_counters" / "01-create-and-list-users.json"
    assert json.loads(path.read_text())["after"] == {"total": {"statements": 9}}


def test_a_torn_report_is_a_failure_of_its_scenario(context: Context) -> None:
    context, _ = on(context, effect=Hosts(a_report()[:-200]))
    run = measure(context, section(USERS))
    assert manifest(run)["scenarios"][0]["clients"][0]["status"] == "crashed"


def test_what_a_run_was_measured_on_is_in_its_manifest(context: Context) -> None:
    context, _ = on(context)
    run = measure(context, section(USERS, times=7, concurrency=1))
    found = manifest(run)
    assert found["configuration"]["bench"]["times"] == 7
    assert found["configuration"]["openstack"]["keystone"]["password_hash_rounds"] == 4
    assert found["provenance"]["enos_crdb"]
    assert shutil.which("git") is None or "commit" in found["provenance"]


OFF = NetworkRecord(
    emulator="netem",
    constraints=(),
    tolerance=Tolerance(),
    mismatch="refuse",
    expected=(),
    before=Matrix(at="2026-11-22T10:00:00.000+00:00", rtt=()),
    after=None,
    verdict="off",
    deviations=("database-1 to database-2: 0.2 ms, expected 100 ms",),
)


def test_nothing_is_measured_on_another_network_than_asked(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    context, ansible = on(context)
    monkeypatch.setattr(emulate, "before", lambda _: OFF)
    with pytest.raises(NetworkError, match=r"0\.2 ms, expected"):
        measure(context, section(USERS))
    assert ansible.playbooks == []
    run = context.deployment.last_run()
    assert record.read(run).network == OFF
    with pytest.raises(StateError, match="not reported: its network was not what"):
        summarise(run)


@pytest.mark.parametrize("mismatch", ["refuse", "label"])
def test_a_network_that_changed_during_the_load_is_told(
    context: Context, monkeypatch: pytest.MonkeyPatch, mismatch: str
) -> None:
    context, ansible = on(context)
    monkeypatch.setattr(emulate, "before", lambda _: replace(OFF, verdict="ok", deviations=()))
    monkeypatch.setattr(emulate, "after", lambda _, network: replace(OFF, mismatch=mismatch))
    if mismatch == "refuse":
        with pytest.raises(NetworkError):
            measure(context, section(USERS))
    else:
        run = measure(context, section(USERS))
        assert any("0.2 ms, expected 100 ms" in warning for warning in summarise(run).warnings)
    assert ansible.playbooks[-1] == "collect.yml", "everything measured is kept"
    assert (context.deployment.last_run() / "samples.csv").exists()


def test_every_sample_says_which_rally_took_it(context: Context) -> None:
    iterations = {f"rally-1-to-database-{number}": number for number in (1, 2, 3)}
    context, _ = on(context, effect=Hosts(a_report(), reports={name: first(n) for name, n in iterations.items()}))
    run = measure(context, section(USERS, load="heavy"))
    with (run / "samples.csv").open(newline="") as stream:
        taken = Counter(row["client"] for row in csv.DictReader(stream) if row["metric"] == "iteration")
    assert taken == iterations


def first(iterations: int) -> bytes:
    """A report with only so many of its iterations."""
    document = json.loads(a_report())
    for task in document["tasks"]:
        for subtask in task["subtasks"]:
            for workload in subtask["workloads"]:
                workload |= {"data": workload["data"][:iterations], "total_iteration_count": iterations}
    return json.dumps(document).encode()
