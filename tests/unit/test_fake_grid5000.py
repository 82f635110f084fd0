"""The fake Grid'5000 refuses what the real one refuses: what it grants is seen by the tests that use it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import enoslib as en
import grid5000
import pytest
from enoslib.errors import InvalidReservationTime, InvalidReservationTooOld
from enoslib.infra.enos_g5k import g5k_api_utils
from grid5000.exceptions import Grid5000AuthenticationError, Grid5000CreateError, Grid5000GetError

from tests.doubles.grid5000 import Account, Cluster, Platform, Server, Site, messages, patience
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


def provider(nodes: int, **settings: Any) -> Any:
    given = {"job_name": "test", "walltime": "01:00:00", "job_type": [], **settings}
    conf = en.G5kConf.from_settings(**given).add_machine(roles=["database"], cluster="paradoxe", nodes=nodes)
    return en.G5k(conf)


def job_body(resources: str, **more: Any) -> dict[str, Any]:
    return {"name": "mine", "types": [], "resources": resources, "command": "sleep 1d", "queue": "default", **more}


@pytest.mark.parametrize("wrong", [{"password": "wrong"}, {"username": None}, {"username": "nobody"}])
def test_wrong_credentials_are_refused(account: Account, wrong: dict[str, Any]) -> None:
    account.write_credentials(**wrong)
    with pytest.raises(Grid5000AuthenticationError, match="401"):
        g5k_api_utils.get_all_sites_obj()


@pytest.mark.parametrize(
    "text",
    ["", "nodes=two", "{cluster~'x'}/nodes=1", "{gpu > 1}/nodes=1", "{type='vlan'}/vlan=1", "nodes=1,walltime=1h"],
)
def test_resources_nobody_understands_are_refused(text: str) -> None:
    with pytest.raises(Refused, match="Bad resource request"):
        parse(text)


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


def test_a_reservation_that_cannot_be_says_when_it_could(platform: Platform, account: Account) -> None:
    begin = time.time() + 3600
    theirs = platform.occupy(NODES[:60], start=begin, walltime_s=7200)
    with pytest.raises(InvalidReservationTime) as refused:
        provider(5, reservation=messages.oar_date(begin + 60)).init()
    assert int(refused.value.datetime.timestamp()) == int(theirs.ends_at or 0)
    with pytest.raises(InvalidReservationTooOld):
        provider(5, reservation="2020-01-01 08:00:00").init()
    with pytest.raises(Grid5000CreateError, match="Syntax error in reservation start date"):
        g5k_api_utils.get_site_obj("rennes").jobs.create(job_body("nodes=1", reservation="tomorrow"))


def test_rules_of_admission(platform: Platform, api: Any) -> None:
    platform.projects, platform.max_walltime_s = {"ours"}, 3600
    create = api.sites["rennes"].jobs.create
    for body, words in (
        (job_body("nodes=1", project="theirs"), "project theirs"),
        (job_body("nodes=1", queue="fast"), "queue fast does not exist"),
        (job_body("nodes=1", types=["deploi"]), "unknown job type: deploi"),
        (job_body("nodes=1,walltime=2:0:0"), "Walltime too big"),
    ):
        with pytest.raises(Grid5000CreateError, match=words):
            create(body)
    assert create(job_body("nodes=1", project="ours")).state == "waiting"


def test_jobs_of_others_are_not_ours_to_delete(platform: Platform, api: Any) -> None:
    theirs = platform.occupy(NODES[:1], start=time.time(), walltime_s=60)
    with pytest.raises(Exception, match="403"):
        api.sites["rennes"].jobs[theirs.uid].delete()


@pytest.mark.parametrize("wrong", [{"nodes": NODES[:4]}, {"environment": "debian13-nope"}, {"nodes": []}], ids=str)
def test_kadeploy_installs_what_it_knows_on_nodes_of_ours(account: Account, wrong: dict[str, Any]) -> None:
    mine = provider(3, job_type=["deploy"], env_name="debian12-min")
    mine.reserve()
    mine.wait()
    order = {"site": "rennes", "environment": "debian12-min", "key": "ssh-rsa A", "nodes": NODES[:3]}
    with pytest.raises(Grid5000CreateError):
        g5k_api_utils.grid_deploy([{**order, **wrong}])


def test_a_global_vlan_is_seen_at_every_site_and_another_is_not(platform: Platform, api: Any) -> None:
    wish = "{type='kavlan-global'}/vlan=1+{type='kavlan'}/vlan=1+nodes=1"
    api.sites["rennes"].jobs.create(job_body(wish)).refresh()
    nantes, name = api.sites["nantes"], "ecotype-1-eth1.nantes.grid5000.fr"
    assert nantes.vlans["16"].type == "kavlan-global-remote"
    assert nantes.vlans["16"].nodes.submit([name])[name]["status"] == "success"
    with pytest.raises(Grid5000GetError, match="403"):
        nantes.vlans["4"].nodes.submit([name])
