"""Campaigns on doubles: every run exactly once, whatever happens in between."""

from __future__ import annotations

import io
import itertools
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from enos_crdb import campaign, events, inventory, record, store
from enos_crdb.ansible import TaskFailure
from enos_crdb.campaign import Adaptive, Campaign, Experiment, Factor, Repetitions, execute
from enos_crdb.campaign.sweeper import Sweeper
from enos_crdb.cli import campaign as command
from enos_crdb.cli.commands import cli
from enos_crdb.config import Configuration
from enos_crdb.door import Call
from enos_crdb.errors import (
    CampaignError,
    DeploymentError,
    EnosCrdbError,
    Interrupted,
    NetworkError,
    PrerequisiteError,
    ProviderError,
    StateError,
)
from enos_crdb.model import Event
from enos_crdb.phases.context import Context
from enos_crdb.store import Deployment, read_json
from enos_crdb.testing import (
    FakeLeasedProvider,
    FakeProvider,
    Played,
    RecordingAnsible,
    RecordingDoor,
    RecordingRunner,
    step_of,
)
from tests.unit.rally_hosts import Hosts, a_report

USERS = "keystone/create-and-list-users"
FRESH = {"rows": {"user": 1, "role": 3}, "contents": {"user": "a", "role": "b"}, "digest": "fresh"}


def tiny(**values: Any) -> Experiment:
    """Two combinations that share a deployment, two deployments, one run on each: four items."""
    document: dict[str, Any] = {
        "experiment": "tiny",
        "configuration": "local.yaml",
        "factors": {
            "cache": Factor(path="openstack.keystone.cache", levels=["memcached", "none"]),
            "scenarios": Factor(path="bench.scenarios", levels={"users": [USERS]}),
        },
        "repetitions": Repetitions(deployments=2, runs=1),
    }
    return Experiment(**{**document, **values})


@dataclass
class World:
    """Hosts that do not exist, and what befalls them."""

    root: Path
    played: list[tuple[str, str]] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=lambda: dict(FRESH))
    failures: dict[str, tuple[TaskFailure, ...]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    befalls: Callable[[World, str, str], None] = lambda world, deployment, step: None
    providers: list[FakeProvider] = field(default_factory=list)
    leased_s: float | None = None
    stretches: Iterator[float] = field(default_factory=lambda: itertools.repeat(1.0))
    """How much longer each scenario's iterations take than Rally's report says."""

    def open(self, deployment: Deployment, configuration: Configuration) -> Context:
        deployment.add_secrets(inventory.new_secrets())
        deployment.save(configuration=configuration.model_dump(mode="json"))
        self.providers.append(self.provider(deployment, configuration))
        hosts = Hosts(a_report())

        def happens(step: str) -> None:
            self.played.append((deployment.directory.name, step))
            self.befalls(self, deployment.directory.name, step)

        def played(playbook: Played) -> None:
            happens(playbook.playbook)

        def called(call: Call) -> None:
            happens(step_of(call))
            if step_of(call) == "rally_client wait":
                hosts.report = a_report(next(self.stretches))
            hosts(call)

        return Context(
            configuration=configuration,
            deployment=deployment,
            provider=self.providers[-1],
            ansible=RecordingAnsible(effect=played, failures=self.failures),
            door=RecordingDoor(effect=called, values={"state": self.state}, dead=self.silent),
            runner=RecordingRunner(),
            cache=self.root / "cache",
        )

    def provider(self, deployment: Deployment, configuration: Configuration) -> FakeProvider:
        if self.leased_s is None:
            return FakeProvider(configuration=configuration)
        return FakeLeasedProvider(configuration=configuration, seconds=self.leased_s, held=deployment.state.lease)

    def execute(self, experiment: Experiment, *, resume: bool = False) -> Campaign:
        return execute(experiment, results=self.root / "results", resume=resume, opener=self.open)

    def count(self, step: str) -> int:
        return sum(name == step for _, name in self.played)

    @property
    def released(self) -> int:
        return sum(provider.calls.count("release") for provider in self.providers)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("enos_crdb.wheelhouse.ensure", lambda lock, **_: Path("/wheels") / lock.stem)
    monkeypatch.setattr("enos_crdb.keystone_wheel.ensure", lambda cache, runner: cache / "keystone_crdb.whl")
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # only power cuts need it, and a disk may take its time
    return World(tmp_path)


def statuses(done: Campaign) -> list[tuple[int, str, str]]:
    return [(entry["item"], entry["status"], entry["cause"]) for entry in done.entries]


def good(done: Campaign) -> list[tuple[Any, ...]]:
    """What was measured, in order."""
    keys = ("item", "combination", "deployment_repetition", "repetition")
    return [tuple(entry[key] for key in keys) for entry in done.entries if entry["status"] == "ok"]


def planned(done: Campaign) -> list[tuple[Any, ...]]:
    keys = ("item", "combination", "deployment_repetition", "repetition")
    return [tuple(item[key] for key in keys) for item in done.document["plan"]]


def test_a_campaign_runs_its_plan_in_order(world: World) -> None:
    done = world.execute(tiny())
    assert done.finished
    assert good(done) == planned(done)
    assert len(done.entries) == 4
    assert [entry["start"] for entry in done.entries] == ["fresh", "reset", "fresh", "reset"]
    assert {entry["state"] for entry in done.entries} == {"fresh"}
    assert world.released == 2
    assert len({entry["deployment"] for entry in done.entries}) == 2
    for entry in done.entries:
        run = record.read(world.root / "results" / entry["deployment"] / "runs" / entry["run"])
        labels = run.campaign
        assert labels
        assert labels.campaign == done.directory.name
        assert labels.combination == entry["combination"]
        assert labels.factors == entry["factors"]
        assert (labels.block, labels.attempt, labels.seed) == (entry["block"], 1, 1)
        assert run.configuration.openstack.keystone.cache == entry["factors"]["cache"]


def test_a_journal_is_a_table(world: World) -> None:
    journal = world.execute(tiny()).journal
    assert list(journal["status"]) == ["ok"] * 4
    assert set(journal["factor.cache"]) == {"memcached", "none"}
    assert (journal["run_s"] >= 0).all()


def test_options_are_converged_and_the_database_reset_between_runs_that_share_a_deployment(world: World) -> None:
    world.execute(tiny(repetitions=Repetitions(deployments=1, runs=1)))
    names = [name for _, name in world.played]
    second = names[names.index("true") + 1 :]
    assert second[: second.index("state")].count("keystone.yml") == 1
    assert second.index("keystone.yml") < second.index("reset") < second.index("state")


def test_equal_options_need_no_deployment_at_all(world: World) -> None:
    factors = {"times": Factor(path="bench.times", levels=[40, 50])}
    world.execute(tiny(factors=factors, repetitions=Repetitions(deployments=1, runs=2)))
    assert world.count("keystone.yml") == 1
    assert world.count("state") == 4


def test_a_reset_that_is_not_fresh_is_a_cause_and_the_deployment_is_made_anew(world: World) -> None:
    def dirty(world: World, deployment: str, step: str) -> None:
        if step == "state":
            once = world.count("state") == 2
            world.state |= {"rows": {"user": 5 if once else 1, "role": 3}}
            world.state |= {"contents": {"user": "z" if once else "a", "role": "b"}}

    world.befalls = dirty
    done = world.execute(tiny(repetitions=Repetitions(deployments=1, runs=1)))
    assert statuses(done) == [(1, "ok", ""), (2, "failed", "reset"), (2, "ok", "")]
    assert "user has 5 rows instead of 1" in done.entries[1]["message"]
    assert len({entry["deployment"] for entry in done.entries}) == 2


def test_a_lost_host_costs_one_attempt_and_the_rest_goes_on(world: World) -> None:
    def lost(world: World, deployment: str, step: str) -> None:
        gone = world.count("rally_client wait") == 1 and deployment == world.played[0][0]
        world.silent.clear()
        world.silent.update({"database-1"} if gone else ())

    world.befalls = lost
    done = world.execute(tiny())
    assert statuses(done) == [(1, "failed", "hosts"), *((item, "ok", "") for item in (1, 2, 3, 4))]
    assert "database-1 did not answer after the run" in done.entries[0]["message"]
    assert done.entries[0]["run"], "what it measured is kept"
    assert world.released == 3


def test_a_combination_that_fails_is_recorded_and_never_stops_the_rest(world: World) -> None:
    def broken(world: World, deployment: str, step: str) -> None:
        world.failures.clear()
        if step == "keystone.yml" and broken_one(world, deployment):
            world.failures["keystone.yml"] = (TaskFailure(host="database-1", task="Configure", message="bad option"),)

    def broken_one(world: World, deployment: str) -> bool:
        state = read_json(world.root / "results" / deployment / "deployment.json")
        return bool(state["configuration"]["openstack"]["keystone"]["cache"] == "none")

    world.befalls = broken
    done = world.execute(tiny(repetitions=Repetitions(deployments=1, runs=2)))
    by_cache = Counter((entry["factors"]["cache"], entry["status"], entry["cause"]) for entry in done.entries)
    assert by_cache == {
        ("memcached", "ok", ""): 2,
        ("none", "failed", "deployment"): 2,  # one retry
        ("none", "skipped", "deployment"): 1,  # the second run of what could not be deployed
    }
    assert done.finished
    assert "bad option" in next(entry["message"] for entry in done.entries if entry["status"] == "failed")
    with pytest.raises(CampaignError, match="2 runs are good, 2 failed, 0 are left"):
        command.conclude(Console(file=io.StringIO()), done, "")


def test_a_load_that_fails_is_not_tried_again(world: World) -> None:
    def silent(world: World, deployment: str, step: str) -> None:
        if step == "rally_client wait" and world.count("rally_client wait") == 1:
            raise DeploymentError("Rally is gone")

    world.befalls = silent
    done = world.execute(tiny(retries={"deployment": 0}))
    assert statuses(done)[0] == (1, "failed", "deployment")
    assert [item for item, status, _ in statuses(done) if status == "ok"] == [2, 3, 4]


@pytest.mark.parametrize(("bad", "retries", "expected"), [(1, 1, "ok"), (2, 1, "refused"), (9, 3, "refused")])
def test_a_network_that_is_off_is_tried_again_so_often(
    world: World, monkeypatch: pytest.MonkeyPatch, bad: int, retries: int, expected: str
) -> None:
    calls: list[int] = []

    def refuse(network: Any) -> None:
        calls.append(1)
        if len(calls) <= bad:
            raise NetworkError("rally-1 to database-1: 0.2 ms measured, 100.2 ms expected")

    monkeypatch.setattr("enos_crdb.run.emulate.refuse", refuse)
    done = world.execute(tiny(retries={"network": retries}, repetitions=Repetitions(deployments=1, runs=1)))
    first = [entry for entry in done.entries if entry["item"] == 1]
    assert len(first) == min(bad, retries) + 1
    assert first[-1]["status"] == expected
    assert [entry["attempt"] for entry in first] == list(range(1, len(first) + 1))
    assert first[0]["cause"] == "network"
    assert first[0]["run"], "the directory of a refused run is named"
    assert world.released == 1, "the deployment is not to blame"


def test_without_resume_an_unfinished_campaign_is_in_the_way(world: World) -> None:
    done = world.execute(tiny(budget={"hours": 1e-6}))
    assert not done.finished
    assert done.left == 4
    with pytest.raises(StateError, match=r"is not finished\.\nGo on with it: --resume"):
        world.execute(tiny())
    done = world.execute(tiny(), resume=True)  # the budget may change
    assert good(done) == planned(done)
    with pytest.raises(StateError, match=r"there is nothing to resume: tiny-.* is finished"):
        world.execute(tiny(), resume=True)


def test_another_plan_is_not_mixed_into_a_campaign(world: World) -> None:
    world.execute(tiny(budget={"hours": 1e-6}))
    with pytest.raises(StateError, match="planned with another `seed`"):
        world.execute(tiny(seed=2), resume=True)
    with pytest.raises(StateError, match="planned with another `configuration`"):
        world.execute(tiny(configuration="local-mariadb.yaml"), resume=True)


def test_the_budget_ends_a_campaign_before_a_run_that_would_not_fit(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]

    def passes(world: World, deployment: str, step: str) -> None:
        clock[0] += 45.0 if step == "rally_client wait" else 0.1

    monkeypatch.setattr("enos_crdb.campaign.execution.time.monotonic", lambda: clock[0])
    world.befalls = passes
    done = world.execute(tiny(budget={"hours": 120 / 3600}))
    assert 0 < len(done.entries) < 4
    assert not done.finished
    with pytest.raises(CampaignError, match=f"0 failed, {done.left} are left.\nagain") as caught:
        command.conclude(Console(file=io.StringIO()), done, "again")
    assert caught.value.exit_code == 9
    assert world.released == 0 if len(done.entries) < 3 else 1
    done = world.execute(tiny(), resume=True)
    assert good(done) == planned(done)


def test_a_reservation_that_has_no_room_for_a_run_ends_a_campaign_that_can_be_resumed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1_700_000_000.0]
    warned: list[str] = []

    def passes(world: World, deployment: str, step: str) -> None:
        clock[0] += 45.0 if step == "rally_client wait" else 0.1

    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("time.time", lambda: clock[0])
    world.befalls, world.leased_s = passes, 100.0
    with events.listening(lambda event: warned.append(event.text) if event.kind == "warning" else None):
        done = world.execute(tiny(repetitions=Repetitions(deployments=1, runs=4)))
    assert not done.finished
    assert 0 < len(done.entries) < 8
    assert {entry["status"] for entry in done.entries} == {"ok"}, "no run was torn by the end of the reservation"
    assert [text for text in warned if text.startswith("the hosts are reserved for another")]
    calls = 1
    while not done.finished:
        before, deployments = len(done.entries), {entry["deployment"] for entry in done.entries}
        done = world.execute(tiny(repetitions=Repetitions(deployments=1, runs=4)), resume=True)
        assert len(done.entries) > before, "every call gets on"
        assert {entry["deployment"] for entry in done.entries[before:]}.isdisjoint(deployments), "on other hosts"
        calls += 1
    assert good(done) == planned(done)
    assert calls > 2
    assert world.released == calls, "nothing stays reserved"


def test_ctrl_c_keeps_the_hosts_and_resume_goes_on_with_them(world: World) -> None:
    def interrupt(world: World, deployment: str, step: str) -> None:
        if step == "rally_client wait" and world.count("rally_client wait") == 2:
            raise KeyboardInterrupt

    world.befalls = interrupt
    with pytest.raises(KeyboardInterrupt):
        world.execute(tiny())
    assert world.released == 0
    assert [name for _, name in world.played][-1] == "rally_client finish", "the run under way ended cleanly"
    done = world.execute(tiny(), resume=True)
    assert statuses(done) == [(1, "ok", ""), (2, "failed", "interrupted"), *((i, "ok", "") for i in (2, 3, 4))]
    assert done.entries[1]["run"], "the torn run is named"
    assert done.entries[1]["deployment"] == done.entries[2]["deployment"]
    assert done.entries[2]["attempt"] == 2
    assert done.entries[2]["start"] == "reset"


def test_ctrl_c_gives_the_hosts_back_when_the_document_says_so(world: World) -> None:
    def interrupt(world: World, deployment: str, step: str) -> None:
        if world.count("rally_client wait") == 2:
            raise KeyboardInterrupt

    world.befalls = interrupt
    with pytest.raises(KeyboardInterrupt):
        world.execute(tiny(hosts={"on_interrupt": "destroy"}))
    assert world.released == 1
    world.befalls = lambda *_: None
    assert good(world.execute(tiny(), resume=True))


def test_hosts_that_were_kept_can_be_given_back(world: World) -> None:
    def interrupt(world: World, deployment: str, step: str) -> None:
        if step == "rally_client wait":
            raise KeyboardInterrupt

    world.befalls = interrupt
    with pytest.raises(KeyboardInterrupt):
        world.execute(tiny())
    campaign.destroy(tiny(), results=world.root / "results", opener=world.open)
    assert world.released == 1
    world.befalls = lambda *_: None
    done = world.execute(tiny(), resume=True)
    assert good(done) == planned(done)


def test_a_second_process_is_refused(world: World) -> None:
    def second(world: World, deployment: str, step: str) -> None:
        if step == "rally_client wait" and not seen:
            seen.append("")
            with pytest.raises(StateError, match="in use by another enos_crdb"):
                world.execute(tiny(), resume=True)

    seen: list[str] = []
    world.befalls = second
    assert world.execute(tiny()).finished


def test_a_torn_line_of_the_journal_is_told_and_made_again(world: World) -> None:
    done = world.execute(tiny(budget={"hours": 1e-6}))
    (done.directory / "journal.jsonl").write_text('{"item": 1, "status": "o')
    told: list[Event] = []
    with events.listening(told.append):
        done = world.execute(tiny(), resume=True)
    assert good(done) == planned(done)
    assert any(event.kind == "warning" and "journal.jsonl is torn" in event.text for event in told)


def test_progress_is_told_for_people_and_programs(world: World) -> None:
    told: list[Event] = []
    with events.listening(told.append):
        world.execute(tiny())
    items = [event for event in told if event.kind == "item"]
    assert [event.text.split(":")[0] for event in items] == [f"run {n}/4" for n in (1, 2, 3, 4)]
    assert "elapsed, about 0:0" in items[0].text
    assert items[0].data["remaining_s"] > items[-1].data["remaining_s"] > 0


@pytest.mark.parametrize(("width", "most", "expected"), [(1e-6, 4, "unstable"), (9.9, 4, "enough")])
def test_combinations_that_scatter_get_more_runs_up_to_a_limit(
    world: World, width: float, most: int, expected: str
) -> None:
    world.stretches = itertools.cycle([1.0, 1.1, 0.9])
    rule = Adaptive(relative_width=width, most_runs=most, metric="mean")
    done = world.execute(tiny(adaptive=rule))
    verdicts = done.document["adaptive"]
    assert {found["verdict"] for found in verdicts.values()} == {expected}
    per_combination = Counter(combination for _, combination, _, _ in good(done))
    assert set(per_combination.values()) == {most if expected == "unstable" else 2}
    assert good(done) == planned(done)
    blocks = [item["block"] for item in done.document["plan"]]
    assert blocks == sorted(blocks)


def test_the_first_runs_say_how_many_are_needed(world: World) -> None:
    """What later runs scatter does not: a rule that looks at it would stop when it happens to be little."""
    world.stretches = itertools.chain([1.0, 1.02, 1.0, 1.02], itertools.cycle([0.5, 1.0, 2.0]))
    rule = Adaptive(relative_width=0.08, most_runs=20, metric="mean")
    done = world.execute(tiny(adaptive=rule))
    verdicts = done.document["adaptive"].values()
    wanted = {count for found in verdicts for count in found["units_wanted"].values()}
    assert {found["verdict"] for found in verdicts} == {"enough"}
    assert len(wanted) == 1
    assert {found["runs"] for found in verdicts} == wanted
    assert 2 < wanted.pop() < 20


def steps(monkeypatch: pytest.MonkeyPatch, step: Callable[[], None]) -> None:
    """Have `step` called before and after everything that leaves a trace on the disk."""
    for owner, name in ((store, "write_json"), (store, "append_json"), (Sweeper, "next"), (Sweeper, "done")):
        original = getattr(owner, name)

        def around(*arguments: Any, original: Any = original, **named: Any) -> Any:
            step()
            result = original(*arguments, **named)
            step()
            return result

        monkeypatch.setattr(owner, name, around)


def killed(world: World, monkeypatch: pytest.MonkeyPatch, at: int, *, resume: bool) -> bool:
    """Execute in a child that is killed at its n-th step; whether it was."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            left = [at]

            def step() -> None:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            steps(monkeypatch, step)
            world.execute(tiny(), resume=resume)
            status = 0
        finally:
            os._exit(status)  # a fork must not return into pytest
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("at", range(5, 150, 29))
def test_kill_between_any_two_steps_and_resume_gives_every_run_exactly_once(
    world: World, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    assert killed(world, monkeypatch, at, resume=False), "there are more steps than that"
    results = world.root / "results"
    begun = list((results / "campaigns").glob("tiny-*/campaign.json"))
    if begun:
        killed(world, monkeypatch, at // 2 + 3, resume=True)  # and once more, elsewhere
    unfinished = any(read_json(path)["finished_at"] is None for path in begun)
    done = world.execute(tiny(), resume=True) if unfinished else Campaign(begun[0].parent)
    assert done.finished
    assert good(done) == planned(done), "in the recorded order, each once"
    torn = [entry for entry in done.entries if entry["status"] != "ok"]
    assert {entry["cause"] for entry in torn} <= {"interrupted"}
    assert len(torn) <= 2
    runs = {(e["deployment"], e["run"]) for e in done.entries if e["status"] == "ok"}
    assert len(runs) == 4
    alive = [path for path in results.glob("tiny-*/deployment.json") if read_json(path)["destroyed_at"] is None]
    assert all(read_json(path)["resources"] is None for path in alive), "no deployment with hosts is forgotten"


def test_a_dry_run_touches_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results"
    cli.main(["--results", str(results), "campaign", "study_2018", "--dry-run"], standalone_mode=False)
    said = capsys.readouterr().out
    assert not results.exists()
    for text in ("factor delay_ms: 0, 50, 150", "30 combinations x 3 deployments x 2 runs = 180 runs", "node-hours"):
        assert text in said
    assert "excluded: backend=mariadb,sites=9,delay_ms=50,load=light" in said


def test_ctrl_c_on_the_command_line_names_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("enos_crdb.campaign.execute", interrupted)
    with pytest.raises(Interrupted, match=r"`enos_crdb campaign locality --short --resume` goes on") as caught:
        cli.main(["--results", str(tmp_path), "campaign", "locality", "--short"], standalone_mode=False)
    assert caught.value.exit_code == 130


def test_options_that_exclude_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EnosCrdbError, match="choose one of"):
        cli.main(["--results", str(tmp_path), "campaign", "locality", "--resume", "--dry-run"], standalone_mode=False)


def test_execo_says_what_is_done_too(world: World) -> None:
    done = world.execute(tiny())
    assert (done.directory / "sweep" / "done").stat().st_size > 0
    assert "execo_engine" in sys.modules
    assert json.loads((done.directory / "under-way.json").read_text())["living"] is None


def test_a_machine_that_can_run_nothing_is_told_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(self: FakeProvider, layers: Any) -> Any:
        raise PrerequisiteError("containers need root")

    with monkeypatch.context() as patched:
        patched.setattr(FakeProvider, "acquire", lacking)
        with pytest.raises(PrerequisiteError, match="containers need root"):
            world.execute(tiny())
    done = world.execute(tiny(), resume=True)
    assert statuses(done)[0] == (1, "failed", "interrupted")
    assert good(done) == planned(done)
    assert len(done.document["resumed"]) == 1


def test_a_deployment_that_succeeds_at_the_second_attempt_costs_no_later_run(world: World) -> None:
    def broken(world: World, deployment: str, step: str) -> None:
        world.failures.clear()
        if step == "keystone.yml" and world.count("keystone.yml") == 1:
            world.failures["keystone.yml"] = (TaskFailure(host="database-1", task="Configure", message="timeout"),)

    world.befalls = broken
    done = world.execute(tiny(repetitions=Repetitions(deployments=1, runs=2)))
    assert statuses(done)[0] == (1, "failed", "deployment")
    assert good(done) == planned(done)


def test_a_plan_is_estimated_from_the_campaign_before(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert campaign.observed(tiny(), results=world.root / "results") is None
    world.execute(tiny())
    found = campaign.observed(tiny(), results=world.root / "results")
    assert found is not None
    assert {len(durations) for durations in found.runs.values()} == {2}
    assert len(found.deployments) == 2
    expected = campaign.estimate(campaign.plan(tiny()), found)
    assert expected.seconds < campaign.estimate(campaign.plan(tiny())).seconds


def test_a_network_that_is_off_because_a_host_is_gone_is_the_host_s_fault(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(network: Any) -> None:
        if not world.silent and world.released == 0:
            world.silent.add("rally-1")
            raise NetworkError("rally-1 to database-1: no answer")

    def revive(world: World, deployment: str, step: str) -> None:
        if step == "install.yml":  # on other hosts
            world.silent.clear()

    world.befalls = revive

    monkeypatch.setattr("enos_crdb.run.emulate.refuse", refuse)
    done = world.execute(tiny(repetitions=Repetitions(deployments=1, runs=1)))
    assert statuses(done) == [(1, "failed", "hosts"), (1, "ok", ""), (2, "ok", "")]
    assert world.released == 2


def test_what_failed_gets_new_attempts_when_it_is_asked_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(self: FakeProvider, layers: Any) -> Any:
        raise ProviderError("no hosts tonight")

    with monkeypatch.context() as patched:
        patched.setattr(FakeProvider, "acquire", nothing)
        done = world.execute(tiny())
    assert done.finished
    assert {(status, cause) for _, status, cause in statuses(done)} == {("failed", "hosts")}
    assert len(done.entries) == 8
    done = execute(tiny(), results=world.root / "results", retry=True, opener=world.open)
    assert good(done) == planned(done)
    assert not done.failed
    assert [entry["attempt"] for entry in done.entries[8:]] == [3] * 4
    runs = world.count("rally_client wait")
    execute(tiny(), results=world.root / "results", retry=True, opener=world.open)
    assert world.count("rally_client wait") == runs, "nothing that is good is repeated"
