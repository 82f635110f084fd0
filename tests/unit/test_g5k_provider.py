"""The provider `g5k` on a fake Grid'5000, EnOSlib unmodified. There are no nodes: ssh is replaced by its absence."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from enoslib.errors import InvalidReservationCritical
from enoslib.infra.enos_g5k import provider as enoslib_provider

from enos_crdb import config
from enos_crdb.command import Completed, SubprocessRunner
from enos_crdb.config import Configuration
from enos_crdb.config.g5k import TIMEZONE
from enos_crdb.errors import ConfigurationError, EnosCrdbError, PrerequisiteError, ProviderError
from enos_crdb.model import Resources
from enos_crdb.providers import Request, provide
from enos_crdb.providers.g5k import Grid5000, availability, credentials, reservation
from enos_crdb.providers.g5k.errors import explain
from enos_crdb.testing import RecordingRunner, ended
from tests.doubles.grid5000 import Account, Fault, Platform, Server, messages, patience

FILE = """
name: study
provider: g5k
g5k: {site: rennes, cluster: paradoxe, jump: false}
machines:
  - {roles: [database, keystone], count: 3}
  - {roles: [rally]}
database: {backend: galera}
"""

KADEPLOY = {"env_name": "debian12-min"}
SITES = {
    "g5k.places": {
        "rennes": {"site": "rennes", "cluster": "paradoxe"},
        "nantes": {"site": "nantes", "cluster": "ecotype"},
        "lyon": {"site": "lyon", "cluster": "nova"},
    },
    "machines.0.site": ["rennes", "nantes", "lyon"],
    "machines.1.site": "nantes",
}


def experiment(**changed: Any) -> Configuration:
    """`FILE` with values replaced by their dotted path."""
    overrides = [f"{path}={json.dumps(value)}" for path, value in changed.items()]
    return config.check(config.override(yaml.safe_load(FILE), overrides), source="test")


@dataclass
class World:
    """A provider factory, what the user was told, and the commands that nodes were given (there are none)."""

    platform: Platform
    account: Account
    directory: Path
    notes: list[str] = field(default_factory=list)
    commands: list[tuple[str, list[str]]] = field(default_factory=list)
    silent: set[str] = field(default_factory=set)

    def provider(self, configuration: Configuration | None = None, *, directory: str = "deployment") -> Grid5000:
        place = self.directory / directory
        place.mkdir(exist_ok=True)
        made = provide(
            Request(
                configuration=configuration or experiment(),
                directory=place,
                cache=self.directory / "cache",
                runner=RecordingRunner(),
                notify=self.notes.append,
            )
        )
        assert isinstance(made, Grid5000)
        return made

    def acquire(self, **changed: Any) -> Resources:
        return self.provider(experiment(**changed)).acquire({})

    def refusal(self, **changed: Any) -> EnosCrdbError:
        with pytest.raises(EnosCrdbError) as caught:
            self.acquire(**changed)
        return caught.value


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    platform = Platform()
    with Server(platform) as server, patience.in_a_hurry():
        account = Account(home=tmp_path / "home", url=server.url).create()
        monkeypatch.setenv("HOME", str(account.home))
        world = World(platform, account, tmp_path)
        without_ssh(monkeypatch, world)
        yield world


def without_ssh(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """Where EnOSlib would log in: commands are kept; a node answers as its last deployment says."""

    @dataclass
    class Result:
        payload: Mapping[str, Any]
        host: str
        status: str = "OK"

    def run(command: str, hosts: Sequence[Any], **options: Any) -> list[Result]:
        task = options.get("task_name", "")
        world.commands.append((task, [host.address for host in hosts]))
        if task.startswith("Check environment"):
            return [Result(_release(world, host.address), host.address) for host in hosts]
        return [Result({}, host.address, "UNREACHABLE" if host.address in world.silent else "OK") for host in hosts]

    monkeypatch.setattr(enoslib_provider, "run", run)
    monkeypatch.setattr(reservation, "run", run)


def _release(world: World, node: str) -> Mapping[str, Any]:
    """What `cat /etc/grid5000/release` gives."""
    for deployment in reversed(world.platform.deployments.values()):
        if (deployment.result or {}).get(node, {}).get("state") == "OK":
            return {"rc": 0, "stdout_lines": [f"{deployment.environment}-2024031216"]}
    return {"rc": 255}


def names(resources: Resources) -> dict[str, str]:
    return {host.name: host.address.split(".")[0] for host in resources.hosts}


# Plain


def test_a_plain_reservation_gives_hosts_in_the_order_of_the_file(world: World) -> None:
    resources = world.acquire()
    # EnOSlib serves the smallest group of a cluster first.
    assert names(resources) == {f"database-{n}": f"paradoxe-{n + 1}" for n in (1, 2, 3)} | {"rally-1": "paradoxe-1"}
    assert resources.hosts[0].roles == ("database", "keystone")
    assert all(host.user == "root" and host.system is None and not host.addresses for host in resources.hosts)
    assert {(network.name, network.cidr) for network in resources.networks} == {
        ("control", "172.16.96.0/20"),
        ("database", "172.16.96.0/20"),
    }
    [body] = world.platform.submissions()
    assert re.fullmatch(r"enos_crdb-study-[0-9a-f]{8}", body["name"])
    assert body["types"] == ["origin=enoslib_g5k"]
    wanted = "{cluster='paradoxe'}/nodes=3+{cluster='paradoxe'}/nodes=1,walltime=02:00:00"
    assert body["resources"] == wanted
    assert "Granting root access on the nodes (sudo-g5k)" in [task for task, _ in world.commands]


def test_nodes_are_taken_in_the_order_of_people(world: World) -> None:
    taken = [f"paradoxe-{n}.rennes.grid5000.fr" for n in (1, 3, 4, 5, 6, 7, 8, 9)]
    world.platform.occupy(taken, start=time.time() - 60, walltime_s=7200)
    assert names(world.acquire()) == {
        "database-1": "paradoxe-2",
        "database-2": "paradoxe-11",
        "database-3": "paradoxe-12",
        "rally-1": "paradoxe-10",
    }


def test_a_fresh_process_finds_the_same_nodes_and_submits_nothing(world: World) -> None:
    first = world.acquire()
    assert world.acquire() == first
    assert len(world.platform.submissions()) == 1
    granted = [task for task, _ in world.commands if task.startswith("Granting root")]
    assert len(granted) == 1, "the same keys were added again"


def test_root_is_asked_for_again_where_it_was_lost(world: World) -> None:
    world.acquire()
    world.silent = {"paradoxe-3.rennes.grid5000.fr"}
    world.acquire()
    assert len([task for task, _ in world.commands if task.startswith("Granting root")]) == 2


def test_interrupted_while_waiting_it_goes_on_with_the_same_job(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.platform.path = ("waiting",) * 3

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("enos_crdb.providers.g5k.jobs.sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            world.acquire()
    assert len(world.platform.held()) == 1
    assert len(world.acquire().hosts) == 4
    assert len(world.platform.submissions()) == 1
    world.provider().release()
    assert not world.platform.held()


def test_another_request_is_not_given_the_nodes_of_the_old_one(world: World) -> None:
    world.acquire()
    assert len(world.provider(experiment(**{"machines.0.count": 4}), directory="other").acquire({}).hosts) == 5
    old, new = world.platform.submissions()
    assert old["name"] != new["name"]


def test_waiting_says_what_it_waits_for(world: World) -> None:
    world.platform.path = ("waiting", "waiting", "launching")
    world.acquire()
    told = [note for note in world.notes if re.match(r"job \d+ at rennes is", note)]
    assert any(
        re.search(r"is waiting; scheduled for 20\d\d-\d\d-\d\d \d\d:\d\d \((now|in .*)\)$", note) for note in told
    )
    assert any("is launching" in note for note in told)


def test_what_it_costs_is_said_before_it_is_spent(world: World) -> None:
    world.acquire()
    assert world.notes[0].endswith("4 nodes (4 on rennes/paradoxe) for 2 h: 8 node-hours")


def test_options_reach_oar(world: World) -> None:
    tomorrow = (datetime.now(TIMEZONE) + timedelta(days=1)).strftime("%Y-%m-%d 19:00:00")
    world.platform.hurry = True
    world.acquire(
        **{
            "g5k.queue": "production",
            "g5k.project": "mine",
            "g5k.walltime": "36:30:00",
            "g5k.reservation": tomorrow,
            "g5k.job_type": ["night"],
            "g5k.reservable_disks": True,
            "g5k.job_name": "paper",
        }
    )
    [body] = world.platform.submissions()
    assert (body["queue"], body["project"], body["reservation"]) == ("production", "mine", tomorrow)
    assert body["resources"].endswith(",walltime=36:30:00")
    assert "type='disk'" in body["resources"]
    assert "night" in body["types"]
    assert body["name"].startswith("paper-study-")


def test_named_servers_are_taken_in_their_order(world: World) -> None:
    servers = [f"paradoxe-{number}.rennes.grid5000.fr" for number in (20, 7, 31, 9, 12)]
    resources = world.acquire(**{"g5k.cluster": None, "g5k.servers": servers})
    assert list(names(resources).values()) == ["paradoxe-20", "paradoxe-7", "paradoxe-31", "paradoxe-9"]


def test_an_exotic_cluster_gets_its_type(world: World) -> None:
    world.acquire(**{"g5k.site": "lyon", "g5k.cluster": "pyxis"})
    assert "exotic" in world.platform.submissions()[0]["types"]


# Several sites


def test_several_sites_start_together(world: World) -> None:
    world.platform.hurry = True
    resources = world.acquire(**SITES)
    where = {host.name: (host.site, host.address.split(".")[1]) for host in resources.hosts}
    assert where == {
        "database-1": ("rennes", "rennes"),
        "database-2": ("nantes", "nantes"),
        "database-3": ("lyon", "lyon"),
        "rally-1": ("nantes", "nantes"),
    }
    bodies = world.platform.submissions()
    assert len({body["reservation"] for body in bodies}) == 1
    assert len(bodies) == 3
    assert len([network for network in resources.networks if network.name == "control"]) >= 1


def test_a_walltime_of_days_works_at_several_sites(world: World) -> None:
    world.platform.hurry = True
    world.acquire(**SITES, **{"g5k.walltime": "48:00:00"})
    assert all(body["resources"].endswith("walltime=48:00:00") for body in world.platform.submissions())


def test_a_date_is_french_at_several_sites(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        world.platform.hurry = True
        date = (datetime.now(TIMEZONE) + timedelta(days=1)).strftime("%Y-%m-%d 19:00:00")
        world.acquire(**SITES, **{"g5k.reservation": date})
    finally:
        monkeypatch.undo()
        time.tzset()
    assert {body["reservation"] for body in world.platform.submissions()} == {date}


# kadeploy


def test_kadeploy_installs_the_environment(world: World) -> None:
    resources = world.acquire(**{"g5k.env_name": "debian12-min"})
    assert len(resources.hosts) == 4
    [deployment] = world.platform.deployments.values()
    assert (deployment.environment, len(deployment.nodes)) == ("debian12-min", 4)
    assert "deploy" in world.platform.submissions()[0]["types"]


def test_progress_of_kadeploy_is_told_without_the_keys(world: World) -> None:
    world.acquire(**{"g5k.env_name": "debian12-min"})
    assert any("Waiting for the end of deployment" in note for note in world.notes)
    assert not any("ssh-ed25519" in note or "[G5k]" in note for note in world.notes)


def test_nothing_is_installed_again_by_the_next_process(world: World) -> None:
    first = world.acquire(**{"g5k.env_name": "debian12-min"})
    assert world.acquire(**{"g5k.env_name": "debian12-min"}) == first
    assert len(world.platform.deployments) == 1


def test_a_node_that_kadeploy_installs_at_the_second_attempt_is_there(world: World) -> None:
    world.platform.kadeploy_ko = Counter({"paradoxe-2.rennes.grid5000.fr": 1})
    resources = world.acquire(**{"g5k.env_name": "debian12-min"})
    assert sorted(names(resources).values()) == [f"paradoxe-{n}" for n in (1, 2, 3, 4)]
    assert [sorted(len(d.nodes) for d in world.platform.deployments.values())] == [[1, 4]]


def test_a_node_that_is_broken_is_named(world: World) -> None:
    world.platform.kadeploy_ko = Counter({"paradoxe-2.rennes.grid5000.fr": -1})
    error = world.refusal(**{"g5k.env_name": "debian12-min"})
    assert isinstance(error, ProviderError)
    assert "machines.0: 2 of 3 hosts came, 3 are needed; missing: database-3 (kadeploy failed three times" in str(error)
    assert "paradoxe-2.rennes.grid5000.fr" in str(error)


def test_with_a_minimum_it_goes_on_without_the_broken_node_and_keeps_it_that_way(world: World) -> None:
    world.platform.kadeploy_ko = Counter({"paradoxe-2.rennes.grid5000.fr": -1})
    changed = {"g5k.env_name": "debian12-min", "machines.0.count": 4, "machines.0.min": 3}
    first = world.acquire(**changed)
    assert names(first) == {
        "database-1": "paradoxe-3",
        "database-2": "paradoxe-4",
        "database-3": "paradoxe-5",
        "rally-1": "paradoxe-1",
    }
    installed = len(world.platform.deployments)
    assert world.acquire(**changed) == first
    assert len(world.platform.deployments) == installed, "nodes that are in use were installed again"


def test_a_kadeploy_that_fails_as_a_whole_is_told(world: World) -> None:
    world.platform.kadeploy_error = 3
    assert "g5k.env_name does not exist" in str(world.refusal(**{"g5k.env_name": "debian12-min"}))


def test_nodes_that_died_are_named_and_not_installed_again(world: World) -> None:
    world.acquire(**{"g5k.env_name": "debian12-min"})
    world.silent = {"paradoxe-3.rennes.grid5000.fr"}
    error = world.refusal(**{"g5k.env_name": "debian12-min"})
    assert str(error).startswith("Nodes do not answer by ssh: paradoxe-3.rennes.grid5000.fr.\n")
    assert "no ssh yet on paradoxe-3.rennes.grid5000.fr" in world.notes
    assert len(world.platform.deployments) == 1


def test_a_kavlan_carries_the_database_network(world: World) -> None:
    changed = {"g5k.env_name": "debian12-min", "g5k.networks": {"database": "kavlan"}}
    resources = world.acquire(**changed)
    assert {network.name: network.cidr for network in resources.networks} == {
        "control": "172.16.96.0/20",
        "database": "10.24.0.0/18",
    }
    assert "{type='kavlan'}/vlan=1" in world.platform.submissions()[0]["resources"]
    assert world.platform.vlans["paradoxe-1-eth1.rennes.grid5000.fr"] == "4"
    asked = [addresses for task, addresses in world.commands if task == "Ask for an address in the VLAN"]
    assert [len(addresses) for addresses in asked] == [4]
    assert all(host.address.startswith("paradoxe") for host in resources.hosts)


def test_after_a_second_attempt_every_node_asks_for_its_address(world: World) -> None:
    world.platform.kadeploy_ko = Counter({"paradoxe-2.rennes.grid5000.fr": 1})
    world.acquire(**{"g5k.env_name": "debian12-min", "g5k.networks": {"database": "kavlan"}})
    asked = [addresses for task, addresses in world.commands if task == "Ask for an address in the VLAN"]
    assert [len(addresses) for addresses in asked] == [4]


@pytest.mark.parametrize(("client", "status"), [("dhclient", 0), ("dhcpcd", 0), ("udhcpc", 0), (None, 1)], ids=str)
def test_a_node_asks_for_its_address_with_what_it_has(tmp_path: Path, client: str | None, status: int) -> None:
    asked = tmp_path / "asked"
    programs = {"ip": f'case "$*" in *address*) cat {tmp_path}/address 2>/dev/null;; esac'}
    if client:
        programs[client] = f"echo {client} $* >> {asked}; echo inet 10.0.0.1 > {tmp_path}/address"
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    for tool in ("grep", "cat"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    command = ["/bin/sh", "-c", reservation.ask_for_address("eth1")]
    runner = SubprocessRunner()
    assert runner.run(command, env={"PATH": str(tmp_path)}, check=False).returncode == status
    assert runner.run(command, env={"PATH": str(tmp_path)}, check=False).returncode == status
    if client:
        assert len(asked.read_text().splitlines()) == 1, "asked again, though there is an address"


def test_a_global_vlan_spans_the_sites(world: World) -> None:
    world.platform.hurry = True
    changed = {"g5k.env_name": "debian12-min", "g5k.networks": {"database": "kavlan-global"}}
    resources = world.acquire(**SITES, **changed)
    assert len([network for network in resources.networks if network.name == "database"]) == 1
    assert sum("kavlan-global" in body["resources"] for body in world.platform.submissions()) == 1


# The end


def test_release_ends_the_job_and_can_be_repeated(world: World) -> None:
    provider = world.provider()
    provider.acquire({})
    provider.release()
    assert not world.platform.held()
    provider.release()


def test_release_from_another_machine_finds_the_job_by_its_name(world: World) -> None:
    world.acquire()
    world.provider(directory="elsewhere").release()
    assert not world.platform.held()


@pytest.mark.parametrize("state", ["waiting", "launching"])
def test_release_ends_a_job_that_has_no_nodes_yet(world: World, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    world.platform.path = (state,) * 100

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("enos_crdb.providers.g5k.jobs.sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            world.acquire()
    assert len(world.platform.held()) == 1
    world.provider().release()
    assert not world.platform.held()


def test_release_of_nothing_is_no_error(world: World) -> None:
    world.provider().release()
    assert not world.platform.called("DELETE")


def test_release_ends_two_jobs_of_the_same_name(world: World) -> None:
    world.acquire()
    [body] = world.platform.submissions()
    api = credentials.client()
    api.sites["rennes"].jobs.create(body)
    assert len(world.platform.held()) == 2
    world.provider().release()
    assert not world.platform.held()


def test_the_lease_ends_with_the_walltime(world: World) -> None:
    provider = world.provider()
    assert provider.lease() is None
    provider.acquire({})
    lease = provider.lease()
    assert lease is not None
    assert lease.remaining_s(time.time()) == pytest.approx(7200, abs=30)
    assert re.fullmatch(r"rennes:\d+", lease.jobs[0])


def test_when_the_job_is_over_nobody_is_given_other_nodes_in_silence(world: World) -> None:
    world.acquire()
    [job] = world.platform.held()
    world.platform.age(job, 3 * 3600)
    error = world.refusal()
    assert "The reservation is over" in str(error)
    assert "`enos_crdb destroy`" in str(error)
    assert len(world.platform.submissions()) == 1
    world.provider().release()
    assert len(world.acquire().hosts) == 4


# Jobs made by hand


def made_by_hand(*, nodes: int) -> Any:
    """A job at Rennes without a name and a type."""
    resources = f"{{cluster='paradoxe'}}/nodes={nodes},walltime=04:00:00"
    body = {"name": "", "types": [], "resources": resources, "command": "sleep 1d"}
    return credentials.client().sites["rennes"].jobs.create(body)


def test_a_running_job_is_used_and_kept(world: World) -> None:
    hand = made_by_hand(nodes=4)
    changed = {"g5k.reuse": {"rennes": hand.uid}}
    assert len(world.acquire(**changed).hosts) == 4
    assert len(world.platform.jobs) == 1
    provider = world.provider(experiment(**changed))
    assert not provider.owns_hosts
    provider.release()
    assert world.platform.held()
    assert f"job {hand.uid} at rennes was made by hand and is kept; `oardel {hand.uid}` ends it" in world.notes


def test_a_running_job_of_the_wrong_kind_is_refused(world: World) -> None:
    hand = made_by_hand(nodes=4)
    error = world.refusal(**{"g5k.reuse": {"rennes": hand.uid}, "g5k.env_name": "debian12-min"})
    assert isinstance(error, ConfigurationError)
    assert f"g5k.reuse: job {hand.uid} at rennes is not of type 'deploy'" in str(error)


def test_a_running_job_that_is_too_small_is_refused(world: World) -> None:
    hand = made_by_hand(nodes=2)
    changed = {"g5k.reuse": {"rennes": hand.uid}}
    assert "fewer nodes than the file needs" in str(world.refusal(**changed))
    problem = f"g5k.reuse: job {hand.uid} at rennes has 2 nodes, and the file asks for 4 there."
    assert world.provider(experiment(**changed)).problems() == [problem]


def test_check_looks_at_the_job_to_use(world: World) -> None:
    world.acquire()
    [job] = world.platform.held()
    changed = {"g5k.reuse": {"rennes": job.uid}}
    assert world.provider(experiment(**changed)).problems() == []
    assert world.notes[-1] == f"job {job.uid} at rennes is running, with 4 nodes"
    world.platform.age(job, 3 * 3600)
    [problem] = world.provider(experiment(**changed)).problems()
    assert "does not run (state 'error')" in problem


# Refusals


@pytest.mark.parametrize(
    ("said", "kind", "remedy"),
    [
        (messages.COULD_RUN.format("2026-12-24 03:10:00"), ProviderError, "24 03:10"),
        (messages.CANNOT_RUN, ProviderError, "another date"),
        (messages.TOO_OLD, ConfigurationError, "g5k.reservation has passed"),
        (messages.NOT_ENOUGH, ProviderError, "machines.N.count"),
    ],
)
def test_a_refusal_of_oar_comes_through_as_a_sentence(
    world: World, said: str, kind: type[EnosCrdbError], remedy: str
) -> None:
    world.platform.refusals.append(said)
    refused(world.refusal(), kind, remedy)


def refused(error: EnosCrdbError, kind: type[EnosCrdbError], remedy: str) -> None:
    assert type(error) is kind
    assert remedy in str(error)
    assert "{" not in str(error)
    assert "[ADMISSION" not in str(error)
    assert str(error).startswith("Grid'5000 refused the reservation of 4 nodes: ")


@pytest.mark.parametrize(
    ("said", "kind", "remedy"),
    [
        ('Bad resource request (ERROR:  column "foo" does not exist)', ConfigurationError, "g5k.reservable_disks"),
        (messages.WALLTIME.format(2), ConfigurationError, "g5k.walltime"),
        (messages.DATE_FORMAT, ConfigurationError, "g5k.reservation"),
        (messages.UNKNOWN_TYPE.format("nigth"), ConfigurationError, "g5k.job_type"),
        (messages.NO_QUEUE.format("fast"), ConfigurationError, "g5k.queue"),
        (messages.TOO_MANY_RESERVATIONS, ProviderError, "oardel"),
        (messages.NOT_A_MEMBER.format(user="jdoe", project="x"), ProviderError, "not a member of the project x"),
        ("[ADMISSION RULE] Error: something never heard of", ProviderError, "something never heard of"),
        ("[ADMISSION RULE] Error: something never heard of", ProviderError, "UsagePolicy"),
    ],
)
def test_every_refusal_of_oar_has_a_remedy(said: str, kind: type[EnosCrdbError], remedy: str) -> None:
    text = messages.from_oar(f"[ADMISSION RULE] Set default walltime to 7200.\n{said}", url="http://oar/jobs.json")
    refused(explain(InvalidReservationCritical(f"400: {text}"), "the reservation of 4 nodes"), kind, remedy)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(pattern="GET /sites", status=401, times=-1), "does not accept your login (401)"),
        (Fault(pattern="POST .*/jobs", status=403, times=-1), "not allowed to your account"),
        (Fault(pattern="GET .*/clusters/", status=404, times=-1), "does not have such a site, cluster"),
        (Fault(pattern="POST .*/jobs", status=503, times=-1), "fault is on Grid'5000's side"),
        (Fault(pattern="GET .*/jobs", status=503, body="<title>503 Busy</title>", times=-1), "answered 503 (503 Busy)"),
        (Fault(pattern="GET /sites", status=200, body="<html>", times=-1), "what answered is not Grid'5000's API"),
        (Fault(pattern="POST .*/jobs", status=401, times=-1), "does not accept your login (401)"),
        (Fault(pattern="POST .*/jobs", drop=True, times=-1), "cannot be reached"),
        (Fault(pattern="POST .*/jobs", drop=True, times=-1), "Connection"),  # requests' own words
        (Fault(pattern="GET /sites", status=401, body=messages.UNAUTHORIZED, times=-1), "401 Unauthorized"),
        (Fault(pattern="POST .*/jobs", after_s=1.5, times=-1), "did not answer in time"),
    ],
)
def test_every_failure_of_the_api_is_a_sentence(
    world: World, fault: Fault, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "TIMEOUT_S", 0.5)
    world.platform.faults.append(fault)
    assert said in str(world.refusal())


def test_a_job_that_ends_while_it_is_waited_for_is_told(world: World) -> None:
    world.platform.path = ("waiting", "error")
    error = world.refusal()
    assert "ended before its nodes could be used (state 'error')" in str(error)


def test_a_cluster_without_second_cards_is_told(world: World) -> None:
    changed = {"g5k.cluster": "parasilo", "g5k.env_name": "debian12-min", "g5k.networks": {"database": "kavlan"}}
    assert "g5k.networks.database: a node has no second network card" in str(world.refusal(**changed))


def test_a_card_that_cannot_be_moved_is_told(world: World) -> None:
    world.platform.vlan_failures = {"paradoxe-2-eth1.rennes.grid5000.fr", "paradoxe-2.rennes.grid5000.fr"}
    error = world.refusal(**{"g5k.env_name": "debian12-min", "g5k.networks": {"database": "kavlan"}})
    assert "could not move network cards into the VLAN" in str(error)


def test_kadeploy_of_an_unknown_environment_is_told(world: World) -> None:
    error = world.refusal(**{"g5k.env_name": "debian99-min"})
    assert isinstance(error, ConfigurationError)
    assert "environment debian99-min::: does not exist" in str(error)
    assert "Correct g5k.env_name" in str(error)


def test_what_kadeploy_says_is_shown_as_it_is_when_it_is_not_known(world: World) -> None:
    said = "Cannot launch deployment: paradoxe-1.rennes.grid5000.fr is already involved in deployment D-17"
    world.platform.faults.append(Fault(pattern="POST .*/deployments", status=400, body=said, times=-1))
    assert said in str(world.refusal(**{"g5k.env_name": "debian12-min"}))


def test_nodes_that_may_not_be_installed(world: World) -> None:
    world.platform.faults.append(Fault(pattern="POST .*/deployments", status=400, body=messages.NO_RIGHTS, times=-1))
    error = str(world.refusal(**{"g5k.env_name": "debian12-min"}))
    assert "not of type 'deploy'" in error
    assert messages.NO_RIGHTS in error


# The password


def test_the_password_is_nowhere(world: World) -> None:
    world.platform.path = ("waiting",)
    provider = world.provider(experiment(**{"g5k.env_name": "debian12-min"}))
    provider.problems()
    provider.acquire({})
    provider.lease()
    kept = [path.read_text() for path in world.directory.joinpath("deployment").rglob("*") if path.is_file()]
    assert kept
    assert world.account.password not in "\n".join([*kept, *world.notes])


# check


def test_check_tells_what_is_free_and_when(world: World) -> None:
    taken = [f"paradoxe-{number}.rennes.grid5000.fr" for number in range(1, 61)]
    world.platform.occupy(taken, start=time.time() - 60, walltime_s=3660)
    assert world.provider().problems() == []
    free, slot = world.notes
    assert free == "paradoxe at rennes: 2 of 62 nodes are free for the next 2 h, 4 are asked for"
    assert re.fullmatch(
        r"all of them are free 20\S+ \d\d:\d\d \(in (1 h 00|59|60|1 h 01) min\), unless somebody is faster", slot
    )


@pytest.mark.parametrize("begun", [{}, {"started_at": 0}], ids=["no start", "start 0"])
def test_a_slot_is_found_between_what_is_scheduled(begun: dict[str, int]) -> None:
    """Two nodes; one is taken from 10 to 20, the other from 0 to 12 and from 40 on; besteffort jobs give way."""
    taken = {"started_at": 0, "scheduled_at": 0, "walltime": 1}
    first = {"hard": "alive", "reservations": [taken, {**begun, "scheduled_at": 1010, "walltime": 10}]}
    jobs = [{"started_at": 1000, "walltime": 12}, {**begun, "scheduled_at": 1040, "walltime": 10}]
    besteffort = {"started_at": 900, "walltime": 1000, "queue": "besteffort"}
    second = {"hard": "standby", "reservations": [*jobs, besteffort]}
    nodes = availability.with_starts({"a-1": first, "a-2": second, "a-3": {"hard": "dead", "reservations": []}})
    statuses = {availability.Demand(site="s", cluster="a", count=2, servers=()): nodes}
    assert availability.next_slot(statuses, 20, 1000.0) == 1020
    assert availability.next_slot(statuses, 30, 1000.0) == 1050
    single = {availability.Demand(site="s", cluster="a", count=1, servers=()): nodes}
    assert availability.next_slot(single, 10, 1000.0) == 1000
    assert (
        availability.next_slot({availability.Demand(site="s", cluster="a", count=3, servers=()): nodes}, 1, 0.0) is None
    )


def test_check_tells_when_all_is_free(world: World) -> None:
    assert world.provider().problems() == []
    assert world.notes[-1] == "all of them are free now, unless somebody is faster"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"g5k.site": "renes"}, "g5k: 'renes' is not a site. Did you mean 'rennes'? There are lyon, nantes, rennes."),
        ({"g5k.cluster": "paradox"}, "g5k: 'paradox' is not a cluster of rennes. Did you mean 'paradoxe'?"),
        ({"g5k.cluster": "parasilo", "machines.0.count": 40}, "parasilo at rennes has 26 nodes, of which 26 work"),
        (
            {"g5k.cluster": "parasilo", "g5k.env_name": "debian12-min", "g5k.networks": {"database": "kavlan"}},
            "nodes of parasilo have no second network card",
        ),
        (
            {"g5k.cluster": None, "g5k.servers": [f"paradoxe-{n}.rennes.grid5000.fr" for n in (1, 2, 3, 99)]},
            "g5k: server paradoxe-99.rennes.grid5000.fr does not exist",
        ),
    ],
)
def test_check_says_what_cannot_be(world: World, changed: dict[str, Any], said: str) -> None:
    [problem] = world.provider(experiment(**changed)).problems()
    assert said in problem
    assert not world.platform.submissions()


def test_check_says_that_the_login_is_wrong(world: World) -> None:
    world.account.write_credentials(password="wrong-battery")
    world.platform.faults.append(Fault(pattern="GET /sites", status=401, times=-1))
    [problem] = world.provider().problems()
    assert "401" in problem
    assert "wrong-battery" not in problem


def test_a_jump_that_fails_is_a_problem(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(RecordingRunner):
        def answer(self, args: Sequence[str], input: str) -> Completed:
            return ended(args, status=255, stderr="Permission denied")

    runner = Refusing()
    configuration = experiment(**{"g5k.jump": True})
    request = Request(
        configuration=configuration,
        directory=world.directory,
        cache=world.directory,
        runner=runner,
        notify=world.notes.append,
    )
    [problem] = Grid5000(request).problems()
    assert "ssh does not pass jdoe@access.grid5000.fr (Permission denied)" in problem


def test_from_outside_hosts_are_reached_over_the_access_machine(world: World) -> None:
    resources = world.acquire(**{"g5k.jump": True})
    assert resources.hosts[0].variables == {"gateway": "access.grid5000.fr", "gateway_user": "jdoe"}
    assert world.acquire(**{"g5k.jump": False}).hosts[0].variables == {}


# The credentials file


def test_without_a_credentials_file_it_says_how_to_make_one(world: World) -> None:
    world.account.credentials.unlink()
    [problem] = world.provider().problems()
    assert ".python-grid5000.yaml, which holds your Grid'5000 account, is missing" in problem
    with pytest.raises(PrerequisiteError, match="is missing"):
        world.provider().prepare()


def test_a_frontend_needs_no_credentials_file_and_no_jump(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    section = experiment(**{"g5k.jump": "auto"}).g5k
    assert credentials.jumps(section)
    world.account.credentials.unlink()
    monkeypatch.setattr("socket.getfqdn", lambda: "fnantes.nantes.grid5000.fr")
    assert credentials.faults(section) == []
    assert not credentials.jumps(section)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("username: jdoe\n", "lacks `password`"),
        ("uri: http://x\n", "lacks `username` and `password`"),
        ("secret-word: [\n", "cannot be read as YAML"),
        ("secret-word\n", "must have lines"),
    ],
)
def test_an_incomplete_credentials_file_is_named_without_its_words(world: World, content: str, said: str) -> None:
    world.account.credentials.write_text(content)
    [problem] = world.provider().problems()
    assert said in problem
    assert "secret-word" not in problem


def test_a_credentials_file_for_everybody_is_a_problem(world: World) -> None:
    world.account.credentials.chmod(0o644)
    [problem] = world.provider().problems()
    assert f"`chmod 600 {world.account.credentials}`" in problem


def test_without_an_ssh_key_it_says_how_to_make_one(world: World) -> None:
    (world.account.home / ".ssh" / "id_ed25519.pub").unlink()
    [problem] = world.provider().problems()
    assert "ssh-keygen" in problem
    [problem] = world.provider(experiment(**{"g5k.key": "~/nothing.pub"})).problems()
    assert problem.startswith("g5k.key: ")
