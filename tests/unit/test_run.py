"""One run on doubles: what is asked of the hosts, and what is kept when things fail."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enos_crdb import config, inventory, record, stats
from enos_crdb.config.bench import Bench
from enos_crdb.door import Answer, Call
from enos_crdb.errors import DeploymentError, NetworkError, StateError
from enos_crdb.phases import deploy as phase
from enos_crdb.phases import emulate
from enos_crdb.phases.context import Context
from enos_crdb.record import Matrix, NetworkRecord, Tolerance
from enos_crdb.run import measure
from enos_crdb.store import Store
from enos_crdb.summary import summarise
from enos_crdb.testing import FakeProvider, RecordingAnsible, RecordingDoor, RecordingRunner, step_of
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
        door=RecordingDoor(),
        runner=RecordingRunner(),
        cache=tmp_path / "cache",
    )
    phase.deploy(made)
    return made


def on(context: Context, **doubled: Any) -> tuple[Context, RecordingDoor]:
    door = RecordingDoor(**{"effect": Hosts(a_report()), **doubled})
    return replace(context, door=door), door


def section(*scenarios: str, **values: Any) -> Bench:
    return Bench(scenarios=list(scenarios), **values)


def manifest(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "manifest.json").read_text()))


def test_a_run_resets_and_loads_for_each_scenario_and_collects(context: Context) -> None:
    context, door = on(context)
    run = measure(context, section(USERS, ENTITIES))
    scenario = (
        *("ready", "reset", "compare", "fresh_keystone", "crossing", "rally_client start"),
        *("counters", "keystone_counters", "rally_client go", "rally_client wait", "counters", "keystone_counters"),
    )
    assert door.steps == [
        *("round_trips", "sampler start", "probe start", "rally_client prepare"),
        *scenario,
        *scenario,
        *("sampler stop", "probe stop", "rally_client finish", "round_trips", "collect"),
    ]
    assert [scenario["name"] for scenario in manifest(run)["scenarios"]] == [USERS, ENTITIES]
    assert (run / "samples.csv").exists()
    assert summarise(run).failure == ""
    assert not (run / "incoming").exists()


@pytest.mark.parametrize("cache", ["memcached", "none"])
def test_what_keystones_remember_is_forgotten_after_a_reset(context: Context, cache: str) -> None:
    openstack = context.configuration.openstack
    openstack = openstack.model_copy(update={"keystone": openstack.keystone.model_copy(update={"cache": cache})})
    context = replace(context, configuration=context.configuration.model_copy(update={"openstack": openstack}))
    context, door = on(context)
    measure(context, section(USERS))
    (call, *others) = [call for call in door.calls if step_of(call) == "fresh_keystone"]
    assert {each.host.name for each in (call, *others)} == {
        host.name for host in context.resources.with_role("keystone")
    }
    assert all(each.request and each.request["flush"] is (cache == "memcached") for each in (call, *others))


def test_rallies_share_the_keystones_that_issue_tokens(context: Context) -> None:
    """Otherwise 45 Rallies would validate 91,000 tokens before each scenario."""
    hosts = [replace(host, roles=("rally",)) if host.name == "database-3" else host for host in context.resources.hosts]
    context.deployment.save(resources=replace(context.resources, hosts=tuple(hosts)))
    context, door = on(context)
    measure(context, section(USERS))
    asked = [call.request for call in door.calls if step_of(call) == "crossing"]
    assert [request["issuers"] for request in asked if request] == [["database-1"], ["database-2"]]
    assert all(request and len(request["keystones"]) == 2 for request in asked)


def test_uncommitted_changes_are_kept_and_tell_runs_apart(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enos_crdb.provenance.CHECKOUT", Path(__file__).parent)
    monkeypatch.setattr("pathlib.Path.exists", lambda path, exists=Path.exists: path.name == ".git" or exists(path))
    context, _ = on(context)
    made = []
    for patch in ("+one line", "+another"):
        answers = {"git rev-parse": "0123abcd", "git status": " M enos_crdb/run.py", "git diff": patch}
        made.append(measure(replace(context, runner=RecordingRunner(answers=answers)), section(USERS)))
        assert (made[-1] / "uncommitted.diff").read_text() == patch
    first, second = (manifest(run)["provenance"] for run in made)
    assert first["dirty"]
    assert first["changes"] != second["changes"]
    clean = measure(replace(context, runner=RecordingRunner(answers={"git rev-parse": "0123abcd"})), section(USERS))
    assert manifest(clean)["provenance"]["changes"] == ""
    assert not (clean / "uncommitted.diff").exists()


def test_a_network_that_was_off_under_load_is_refused(context: Context) -> None:
    """Before and after, all was well: nobody measured then."""
    workload = json.loads(a_report())["tasks"][0]["subtasks"][0]["workloads"][0]
    first, last = (pick(row["timestamp"] for row in workload["data"]) for pick in (min, max))
    counted = [(first, 0), (last, 900)]
    rows = [f"{at},,{name},{value}" for at, value in counted for name in ("sent", "retransmitted")]
    files = {"versions.json": "{}", "probes.csv": "\n".join(["time,dst,network,value", *rows, ""])}

    def collected(call: Call) -> None:
        Hosts(a_report())(call)
        if step_of(call) == "collect" and call.to:
            with tarfile.open(call.to, "w:gz") as archive:
                for name, content in files.items():
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content.encode()))

    context, _ = on(context, effect=collected)
    with pytest.raises(NetworkError, match=r"during .*sent 900 of 900 TCP segments again \(100.0%\)"):
        measure(context, section(USERS))
    run = context.deployment.last_run()
    assert manifest(run)["network"]["verdict"] == "off"
    assert manifest(run)["network"]["during"][0]["scenario"] == USERS
    assert manifest(run)["network"]["after"], "nothing of it is lost"


def test_samples_are_on_the_disk_when_their_scenario_ends(context: Context) -> None:
    """What kills the engine then takes the next scenario, not this one."""
    hosts, kept = Hosts(a_report()), list[set[str]]()

    def look(call: Call) -> None:
        hosts(call)
        if step_of(call) == "reset":
            path = context.deployment.last_run() / "samples.csv"
            kept.append(set(stats.read(path)["scenario"]) if path.exists() else set())

    context, _ = on(context, effect=look)
    run = measure(context, section(USERS, ENTITIES))
    assert kept == [set(), {USERS}]
    assert set(stats.read(run / "samples.csv")["scenario"]) == {USERS, ENTITIES}


@pytest.mark.parametrize(("reset", "times"), [("scenario", 2), ("run", 1), ("never", 0)])
def test_the_database_is_made_anew_as_often_as_asked(context: Context, reset: str, times: int) -> None:
    context, door = on(context)
    measure(context, section(USERS, ENTITIES, reset=reset))
    assert door.steps.count("reset") == times


def test_heavy_load_is_one_rally_per_keystone(context: Context) -> None:
    context, _ = on(context)
    run = measure(context, section(USERS, load="heavy"))
    assert [client["client"] for client in manifest(run)["scenarios"][0]["clients"]] == [
        "rally-1-to-database-1", "rally-1-to-database-2", "rally-1-to-database-3"
    ]  # fmt: skip


def test_each_rally_runs_beside_the_keystone_that_it_loads(context: Context) -> None:
    context = placed_beside_keystone(context)
    context, door = on(context)
    run = measure(context, section(USERS, load="heavy", placement="keystone"))
    names = [f"database-{n}" for n in (1, 2, 3)]
    assert [(client["rally"], client["keystone"]) for client in manifest(run)["clients"]] == [
        (name, name) for name in names
    ]
    assert {call.host.name for call in door.calls if step_of(call) == "rally_client start"} == set(names)
    assert {role for host in manifest(run)["hosts"] for role in host["roles"]} == {"database", "keystone", "rally"}


def test_rally_where_it_is_not_installed_is_refused_before_anything_runs(context: Context) -> None:
    context, door = on(context)
    with pytest.raises(StateError, match="Rally is not installed on database-1, database-2, database-3") as caught:
        measure(context, section(USERS, placement="keystone"))
    assert "--set bench.placement=keystone" in str(caught.value)
    assert door.calls == []
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
    context, door = on(context, failures={"reset": "disk full"})
    run = measure(context, section(USERS))
    assert "rally_client start" not in door.steps
    said = manifest(run)["scenarios"][0]["clients"][0]["message"]
    assert "database-1: disk full" in said
    assert "`deploy` makes it again" in said


def test_no_load_where_a_node_differs_from_the_fresh_state(context: Context) -> None:
    context, door = on(context, failures={"compare": "user 5"})
    run = measure(context, section(USERS))
    assert "rally_client start" not in door.steps
    assert "database-3: user 5" in manifest(run)["scenarios"][0]["clients"][0]["message"]


class Dying(RecordingDoor):
    """Hosts of which those that are called `names` can no longer be reached when the database is to be reset."""

    names: tuple[str, ...] = ()

    def answer(self, call: Call) -> Answer:
        if step_of(call) == "ready":
            self.dead = self.names
        return super().answer(call)


def test_a_dead_node_is_a_warning_as_long_as_another_lives(context: Context) -> None:
    door = Dying(effect=Hosts(a_report()))
    door.names = ("database-3",)
    run = measure(replace(context, door=door), section(USERS))
    assert "rally_client start" in door.steps
    assert any("database-3 could not be reached while" in warning for warning in manifest(run)["warnings"])
    assert any("collecting from database-3 failed" in warning for warning in manifest(run)["warnings"])
    door = Dying(effect=Hosts(a_report()))
    door.names = ("database-1", "database-2", "database-3")
    run = measure(replace(context, door=door), section(USERS))
    assert "rally_client start" not in door.steps
    assert "no database host can be reached" in manifest(run)["scenarios"][0]["clients"][0]["message"]


def test_hosts_that_cannot_be_prepared_end_the_run(context: Context) -> None:
    context, door = on(context, failures={"rally_client prepare": "Rally's database could not be made"})
    with pytest.raises(DeploymentError, match="rally-1: Rally's database could not be made"):
        measure(context, section(USERS))
    assert door.steps[-1] == "rally_client finish", "the sampler is stopped"


def test_a_keystone_that_is_not_well_before_the_load_is_told(context: Context) -> None:
    values = {"crossing": {"failures": ["a token from database-1 is not valid at database-2: HTTP 404"]}}
    context, door = on(context, values=values)
    run = measure(context, section(USERS))
    assert "rally_client start" in door.steps
    assert any("before the load: a token from database-1" in warning for warning in manifest(run)["warnings"])


def test_ctrl_c_keeps_what_was_measured_and_stops_what_runs_on_the_hosts(context: Context) -> None:
    context, door = on(context, effect=Hosts(a_report(), interrupt_at="get-entities"))
    with pytest.raises(KeyboardInterrupt):
        measure(context, section(USERS, ENTITIES))
    run = context.deployment.last_run()
    assert door.steps[-3:] == ["sampler stop", "probe stop", "rally_client finish"]
    assert manifest(run)["finished_at"]
    assert [row.statistics.scenario for row in summarise(run).rows if row.statistics.metric == "iteration"] == [USERS]
    assert ENTITIES in summarise(run).failure


def test_counters_are_kept_per_node_and_scenario(context: Context) -> None:
    class Counting(RecordingDoor):
        def answer(self, call: Call) -> Answer:
            done, step = super().answer(call), step_of(call)
            said = 9 if "rally_client wait" in self.steps else 5
            if step == "counters":
                return replace(done, stdout=json.dumps({"commits": said}))
            return replace(done, stdout=json.dumps({"total": {"statements": said}})) if "counters" in step else done

    run = measure(replace(context, door=Counting(effect=Hosts(a_report()))), section(USERS))
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
    context, door = on(context)
    monkeypatch.setattr(emulate, "before", lambda _: OFF)
    with pytest.raises(NetworkError, match=r"0\.2 ms, expected"):
        measure(context, section(USERS))
    assert "sampler start" not in door.steps
    run = context.deployment.last_run()
    assert record.read(run).network == OFF
    with pytest.raises(StateError, match="not reported: its network was not what"):
        summarise(run)


@pytest.mark.parametrize("mismatch", ["refuse", "label"])
def test_a_network_that_changed_during_the_load_is_told(
    context: Context, monkeypatch: pytest.MonkeyPatch, mismatch: str
) -> None:
    context, door = on(context)
    monkeypatch.setattr(emulate, "before", lambda _: replace(OFF, verdict="ok", deviations=()))
    monkeypatch.setattr(emulate, "after", lambda _, network: replace(OFF, mismatch=mismatch))
    if mismatch == "refuse":
        with pytest.raises(NetworkError):
            measure(context, section(USERS))
    else:
        run = measure(context, section(USERS))
        assert any("0.2 ms, expected 100 ms" in warning for warning in summarise(run).warnings)
    assert door.steps[-1] == "collect", "everything measured is kept"
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
