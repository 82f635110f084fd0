"""The fake Grid'5000 behaves as the real one does, as far as EnOSlib and we look; EnOSlib itself is unmodified."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import enoslib as en
import grid5000
import pytest
import requests
from enoslib.errors import InvalidReservationCritical, InvalidReservationTime, InvalidReservationTooOld
from enoslib.infra.enos_g5k import g5k_api_utils
from grid5000.exceptions import Grid5000AuthenticationError, Grid5000CreateError, Grid5000GetError

from tests.doubles.grid5000 import Account, Cluster, Fault, Platform, Server, Site, messages, patience
from tests.doubles.grid5000.wishes import Refused, parse

NODES = [f"paradoxe-{number}.rennes.grid5000.fr" for number in range(1, 63)]


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
def account(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    with Server(platform) as server, patience.in_a_hurry():
        account = Account(home=tmp_path / "home", url=server.url).create()
        monkeypatch.setenv("HOME", str(account.home))
        yield account


@pytest.fixture
def api(account: Account) -> Any:
    return grid5000.Grid5000.from_yaml(str(account.credentials))


def conf(nodes: int = 3, **settings: Any) -> Any:
    given = {"job_name": "test", "walltime": "01:00:00", "job_type": [], **settings}
    return en.G5kConf.from_settings(**given).add_machine(roles=["database"], cluster="paradoxe", nodes=nodes)


def provider(nodes: int = 3, **settings: Any) -> Any:
    return en.G5k(conf(nodes, **settings))


def job_body(resources: str, **more: Any) -> dict[str, Any]:
    return {"name": "mine", "types": [], "resources": resources, "command": "sleep 1d", "queue": "default", **more}


# Reference data


def test_a_node_has_the_adapters_that_enoslib_sorts_out(account: Account) -> None:
    node = g5k_api_utils.get_node("rennes", "paradoxe", "paradoxe-7")
    host = en.infra.enos_g5k.objects.G5kHost(NODES[6], [], None)
    host._apinode = node
    assert host.primary_nic == ("eth0", "eth0")
    assert host._all_secondary_nics == [("eth1", "eth1")]


def test_unknown_names_are_not_found(api: Any) -> None:
    rennes = api.sites["rennes"]
    for place, name in (
        (api.sites, "paris"),
        (rennes.clusters, "nope"),
        (rennes.clusters["paradoxe"].nodes, "paradoxe-99"),
        (rennes.jobs, 1),
    ):
        with pytest.raises(Grid5000GetError, match="404"):
            place[name]


# Credentials and broken answers


@pytest.mark.parametrize("wrong", [{"password": "wrong"}, {"username": None}, {"username": "nobody"}])
def test_wrong_credentials_are_refused(account: Account, wrong: dict[str, Any]) -> None:
    account.write_credentials(**wrong)
    with pytest.raises(Grid5000AuthenticationError, match="401"):
        g5k_api_utils.get_all_sites_obj()


def test_errors_are_plain_text_and_end(platform: Platform, api: Any) -> None:
    platform.faults.append(Fault(pattern="GET /sites/rennes$", status=403, body=messages.FORBIDDEN))
    with pytest.raises(Grid5000GetError, match="403: You are not authorized"):
        api.sites["rennes"]
    assert api.sites["rennes"].uid == "rennes"


def test_a_connection_may_break(platform: Platform, account: Account) -> None:
    platform.faults.append(Fault(pattern="POST", drop=True))
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.post(f"{account.url}/sites/rennes/jobs", json={}, timeout=10)


def test_a_slow_answer_meets_the_timeout_of_the_credentials_file(platform: Platform, account: Account) -> None:
    platform.faults.append(Fault(pattern="POST", after_s=1.0))
    account.write_credentials(timeout=0.2)
    site = g5k_api_utils.get_site_obj("rennes")
    with pytest.raises(requests.exceptions.ReadTimeout):
        site.jobs.create(job_body("nodes=1"))


# OAR


@pytest.mark.parametrize(
    "text",
    ["", "nodes=two", "{cluster~'x'}/nodes=1", "{gpu > 1}/nodes=1", "{type='vlan'}/vlan=1", "nodes=1,walltime=1h"],
)
def test_resources_nobody_understands_are_refused(text: str) -> None:
    with pytest.raises(Refused, match="Bad resource request"):
        parse(text)


def test_resources_as_enoslib_writes_them() -> None:
    wish = parse(
        "{(type='default' or type='disk') AND network_address in ('a-1.b.grid5000.fr', 'a-2.b.grid5000.fr')}/nodes=2"
        "+{cluster='paradoxe'}/nodes=3+{type='kavlan-global'}/vlan=1+slash_22=1,walltime=26:30:00"
    )
    assert [(group.count, group.cluster, group.among) for group in wish.nodes] == [
        (2, None, ("a-1.b.grid5000.fr", "a-2.b.grid5000.fr")),
        (3, "paradoxe", ()),
    ]
    assert wish.vlans == ("kavlan-global",)
    assert (wish.subnets, wish.walltime_s) == (1, 95400)


@pytest.mark.parametrize(
    "resources",
    [
        "{cluster='paradoxe'}/nodes=63",
        "{cluster='nope'}/nodes=1",
        "{network_address in ('paradoxe-99.rennes.grid5000.fr')}/nodes=1",
        "{cluster='paradoxe'}/nodes=60+{network_address in ('paradoxe-1.rennes.grid5000.fr')}/nodes=1"
        "+{cluster='paradoxe'}/nodes=2",
        "{type='kavlan'}/vlan=3",
    ],
)
def test_more_than_exists_is_refused(api: Any, resources: str) -> None:
    with pytest.raises(Grid5000CreateError, match=messages.NOT_ENOUGH) as refused:
        api.sites["rennes"].jobs.create(job_body(resources))
    assert refused.value.response_code == 400
    assert not refused.value.response_body.startswith(b"{"), "the real API answers in plain text"


def test_dead_nodes_are_not_given(tmp_path: Path) -> None:
    cluster = Cluster(uid="small", nodes=3, dead=frozenset({2}))
    platform = Platform(sites=(Site(uid="here", clusters=(cluster,)),))
    with Server(platform) as server:
        account = Account(home=tmp_path, url=server.url).create()
        site = grid5000.Grid5000.from_yaml(str(account.credentials)).sites["here"]
        job = site.jobs.create(job_body("{cluster='small'}/nodes=2"))
        job.refresh()
        assert job.assigned_nodes == ["small-1.here.grid5000.fr", "small-3.here.grid5000.fr"]
        nodes = site.clusters["small"].status.list().nodes
        assert nodes["small-2.here.grid5000.fr"]["hard"] == "dead"
        assert nodes["small-1.here.grid5000.fr"]["soft"] == "busy"
        with pytest.raises(Grid5000CreateError, match=messages.NOT_ENOUGH):
            site.jobs.create(job_body("{cluster='small'}/nodes=3"))


def test_a_job_waits_for_nodes_that_others_have(platform: Platform, api: Any) -> None:
    theirs = platform.occupy(NODES[:60], start=time.time() - 60, walltime_s=3600)
    job = api.sites["rennes"].jobs.create(job_body("{cluster='paradoxe'}/nodes=5"))
    job.refresh()
    assert (job.state, job.scheduled_at) == ("waiting", int(theirs.ends_at or 0))
    small = api.sites["rennes"].jobs.create(job_body("{cluster='paradoxe'}/nodes=2"))
    small.refresh()
    assert (small.state, small.assigned_nodes) == ("running", NODES[60:])
    platform.kill(theirs)
    platform.age(platform.jobs[job.uid], 3600)
    job.refresh()
    assert job.state == "running"


def test_a_reservation_that_cannot_be_says_when_it_could(platform: Platform, account: Account) -> None:
    begin = time.time() + 3600
    theirs = platform.occupy(NODES[:60], start=begin, walltime_s=7200)
    date = messages.oar_date(begin + 60)
    with pytest.raises(InvalidReservationTime) as refused:
        provider(5, reservation=date).init()
    assert int(refused.value.datetime.timestamp()) == int(theirs.ends_at or 0)
    with pytest.raises(InvalidReservationTooOld):
        provider(5, reservation="2020-01-01 08:00:00").init()
    with pytest.raises(Grid5000CreateError, match="Syntax error in reservation start date"):
        g5k_api_utils.get_site_obj("rennes").jobs.create(job_body("nodes=1", reservation="tomorrow"))
    platform.refusals.append("anything else")
    with pytest.raises(InvalidReservationCritical, match=r"^400: Request to .*anything else"):
        provider().init()


def test_a_reservation_begins_at_its_date(platform: Platform, api: Any) -> None:
    date = messages.oar_date(time.time() + 3600)
    job = api.sites["rennes"].jobs.create(job_body("{cluster='paradoxe'}/nodes=2", reservation=date))
    job.refresh()
    assert job.state == "waiting"
    platform.hurry = True
    job.refresh()
    assert job.state == "running"
    assert job.started_at <= time.time()


def test_rules_of_admission(platform: Platform, api: Any) -> None:
    platform.projects, platform.max_walltime_s = {"ours"}, 3600
    platform.refusals.append("[ADMISSION RULE] what only the real ones know")
    create = api.sites["rennes"].jobs.create
    for body, words in (
        (job_body("nodes=1"), "what only the real ones know"),
        (job_body("nodes=1", project="theirs"), "project theirs"),
        (job_body("nodes=1", queue="fast"), "queue fast does not exist"),
        (job_body("nodes=1", types=["deploi"]), "unknown job type: deploi"),
        (job_body("nodes=1,walltime=2:0:0"), "walltime"),
    ):
        with pytest.raises(Grid5000CreateError, match=words):
            create(body)
    assert create(job_body("nodes=1", project="ours")).state == "waiting"


def test_a_job_ends_at_its_walltime(platform: Platform, api: Any) -> None:
    job = api.sites["rennes"].jobs.create(job_body("{cluster='paradoxe'}/nodes=1,walltime=0:30:0"))
    job.refresh()
    assert (job.state, job.walltime) == ("running", 1800)
    platform.age(platform.jobs[job.uid], 1790)
    job.refresh()
    assert job.state == "running"
    platform.age(platform.jobs[job.uid], 20)
    job.refresh()
    assert job.state == "error"
    assert [event["type"] for event in job.events] == ["WALLTIME"]
    assert api.sites["rennes"].jobs.list(name="mine", state="waiting,launching,running", user="jdoe") == []


def test_jobs_of_others_are_not_ours_to_delete(platform: Platform, api: Any) -> None:
    theirs = platform.occupy(NODES[:1], start=time.time(), walltime_s=60)
    with pytest.raises(Exception, match="403"):
        api.sites["rennes"].jobs[theirs.uid].delete()


def test_a_job_is_killed_once(api: Any) -> None:
    job = api.sites["rennes"].jobs.create(job_body("nodes=1"))
    job.refresh()
    job.delete()
    with pytest.raises(Exception, match="This job was already killed"):
        job.delete()
    job.refresh()
    assert job.state == "error"


# EnOSlib


def test_enoslib_waits_for_a_job_and_frees_it(platform: Platform, account: Account) -> None:
    platform.path = ("waiting", "launching")
    mine = provider()
    with patience.in_a_hurry() as waits:
        mine.reserve()
        mine.wait()
    assert waits == [5, 10, 15]
    assert mine.driver.resources()[0] == NODES[:3]
    again = provider()
    again.reserve()
    assert [job.uid for job in again.jobs] == [job.uid for job in mine.jobs]
    assert len(platform.submissions()) == 1
    mine.destroy(wait=True)
    assert platform.held() == []
    mine.destroy(wait=True)


def test_a_job_may_fail_before_it_runs(platform: Platform, account: Account) -> None:
    platform.path = ("waiting", "error")
    mine = provider()
    mine.reserve()
    with pytest.raises(Exception, match="is in error state"):
        mine.wait()


def test_kadeploy_and_its_failures(platform: Platform, account: Account) -> None:
    mine = provider(job_type=["deploy"], env_name="debian12-min")
    mine.reserve()
    mine.wait()
    platform.kadeploy_ko.update({NODES[0]: 1, NODES[1]: -1})
    order = {"site": "rennes", "environment": "debian12-min", "key": "ssh-rsa A", "nodes": NODES[:3]}
    assert g5k_api_utils.grid_deploy([dict(order)]) == ([NODES[2]], NODES[:2])
    assert g5k_api_utils.grid_deploy([dict(order)]) == ([NODES[0], NODES[2]], [NODES[1]])
    platform.kadeploy_error = 1
    assert g5k_api_utils.grid_deploy([dict(order)]) == ([], NODES[:3])
    mistakes: list[dict[str, Any]] = [{"nodes": NODES[:4]}, {"environment": "debian13-nope"}, {"nodes": []}]
    for wrong in mistakes:
        with pytest.raises(Grid5000CreateError):
            g5k_api_utils.grid_deploy([{**order, **wrong}])


def test_vlans(platform: Platform, account: Account) -> None:
    settings = conf(2, job_type=["deploy"], env_name="debian12-min")
    settings.add_network(id="database", type="kavlan", site="rennes", roles=["database"])
    mine = en.G5k(settings)
    mine.reserve()
    mine.wait()
    assert [network.descriptor for network in mine.driver.resources()[1]] == ["4", "DEFAULT"]
    g5k_api_utils.set_nodes_vlan(NODES[:1], "eth1", "4")
    g5k_api_utils.set_nodes_vlan(NODES[:1], "eth1", "4")
    assert platform.vlans == {"paradoxe-1-eth1.rennes.grid5000.fr": "4"}
    platform.vlan_failures.add(NODES[1])
    with pytest.raises(Exception, match="Failed to add nodes"):
        g5k_api_utils.set_nodes_vlan(NODES[1:2], "eth1", "4")
    with pytest.raises(Grid5000GetError, match="403"):
        g5k_api_utils.set_nodes_vlan(NODES[:1], "eth1", "5")
    mine.destroy(wait=True)
    assert platform.vlans == {}, "the interfaces are back where they were"


def test_a_global_vlan_is_seen_at_every_site_and_another_is_not(platform: Platform, api: Any) -> None:
    wish = "{type='kavlan-global'}/vlan=1+{type='kavlan'}/vlan=1+nodes=1"
    api.sites["rennes"].jobs.create(job_body(wish)).refresh()
    nantes, name = api.sites["nantes"], "ecotype-1-eth1.nantes.grid5000.fr"
    assert nantes.vlans["16"].type == "kavlan-global-remote"
    assert nantes.vlans["16"].nodes.submit([name])[name]["status"] == "success"
    with pytest.raises(Grid5000GetError, match="403"):
        nantes.vlans["4"].nodes.submit([name])


def test_a_slot_on_two_sites_is_found_and_both_jobs_begin(platform: Platform, account: Account) -> None:
    platform.hurry = True
    settings = conf(2).add_machine(roles=["database"], cluster="ecotype", nodes=1)
    mine = en.G5k(settings)
    mine.reserve()
    mine.wait()
    assert sorted(mine.driver.resources()[0]) == ["ecotype-1.nantes.grid5000.fr", *NODES[:2]]
    assert {job.site for job in platform.held()} == {"nantes", "rennes"}
    assert all("reservation" in body for body in platform.submissions())


@pytest.mark.parametrize("patient", [False, True])
def test_only_the_waits_of_the_api_are_short_in_another_process(account: Account, patient: bool) -> None:
    module = "enoslib.infra.enos_g5k.g5k_api_utils"
    script = f"import time, {module} as utils; print(utils.time is time, type(utils.time).__name__)"
    environment = {**os.environ, **account.environment(patient=patient)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == (["True", "module"] if patient else ["False", "ShortTime"])


def test_everything_is_forgotten_between_tests(platform: Platform, api: Any) -> None:
    api.sites["rennes"].jobs.create(job_body("nodes=1"))
    platform.refusals.append("no")
    platform.free_all()
    assert platform.held() == []
    assert platform.calls == []
    assert platform.refusals == []
