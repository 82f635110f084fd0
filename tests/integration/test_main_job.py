"""The main job on real hosts: deploy, bench, collect, destroy, for each backend; nothing lost, nothing left."""

from __future__ import annotations

import json
import shlex

import pandas as pd
import pytest

from tests.integration.engine import ArgvWatch, Engine, mark_of, traces
from tests.integration.runs import (
    ITERATIONS,
    SCENARIOS,
    bench,
    no_secret_outside_its_file,
    the_database_is_bound_to_its_network,
    the_run_is_complete,
)
from tests.integration.shared import KEPT, Shared

pytestmark = pytest.mark.nspawn
on_postgresql = pytest.mark.xdist_group("postgresql")
on_galera = pytest.mark.xdist_group("galera")


@on_postgresql
def test_a_deployment_keeps_its_secrets_and_its_networks(pair: Shared) -> None:
    assert pair.watched.looks > 100
    assert pair.watched.seen == set(), "no password in the arguments of any process"
    assert traces(pair.directory, pair.mark), "the check for leftovers must be able to see what is there"
    the_database_is_bound_to_its_network(pair, "database-1")
    for name in ("secrets.json", "deployment.json", "openrc", "clouds.yaml"):
        assert (pair.directory / name).stat().st_mode & 0o077 == 0, f"{name} is its owner's alone"


@pytest.mark.deep
@on_postgresql
def test_hosts_that_are_kept_serve_nobody_and_are_used_again(pair: Shared) -> None:
    pair.run("destroy", "--hosts", "keep")
    assert "inactive" in pair.on("database-1", "systemctl is-active keystone || true")
    pair.deploy()
    assert "admin" in pair.run("openstack", "--", "user", "list", "-f", "value", "-c", "Name").output


@pytest.mark.deep
@pytest.mark.destructive
def test_one_mariadb_server(engine: Engine) -> None:
    file = "configs/local-mariadb.yaml"
    with ArgvWatch(engine) as watch:
        engine.run("deploy", "--env", file)
        bench(engine, scenarios=SCENARIOS[:1])
        engine.run("openstack", "--", "token", "issue")
    assert watch.looks > 100
    assert watch.seen == set(), "no password in the arguments of any process"
    directory, mark = engine.directory, mark_of(engine.directory)
    assert mark is not None

    engine.forget_logs()
    engine.run("deploy", "--env", file)
    assert engine.changed() == {}, "a second deployment changes nothing"

    the_database_is_bound_to_its_network(engine, "database-1")
    engine.run("openstack", "--", "project", "create", "demo", "--or-show")
    with ArgvWatch(engine) as watch:
        bench(engine)
    assert watch.seen == set()
    the_run_is_complete(engine, hosts=("database-1", "rally-1"), backend="mariadb")
    no_secret_outside_its_file(directory, engine.secrets)
    assert "demo" not in engine.run("openstack", "--", "project", "list", "-f", "value", "-c", "Name").output

    engine.run("destroy", "--hosts", "keep")
    assert "inactive" in engine.on("database-1", "systemctl is-active keystone || true")
    engine.run("deploy", "--env", file)
    assert "admin" in engine.run("openstack", "--", "user", "list", "-f", "value", "-c", "Name").output

    engine.run("destroy")
    assert traces(directory, mark) == []
    assert {path.name for path in directory.iterdir()} == KEPT
    engine.run("destroy")


NODES = ("database-1", "database-2", "database-3")


@pytest.mark.deep  # a fault's test has the same load
@on_galera
def test_a_heavy_load_comes_from_one_rally_for_each_keystone(trio: Shared) -> None:
    bench(trio, "--load", "heavy", scenarios=SCENARIOS[1:2])
    samples = pd.read_csv(trio.run_directory() / "samples.csv")
    iterations = samples[samples.metric == "iteration"]
    assert iterations.groupby("client").size().to_dict() == {f"rally-1-to-{node}": ITERATIONS for node in NODES}
    assert set(samples.outcome) == {"ok"}
    no_secret_outside_its_file(trio.directory, trio.secrets)


@on_galera
def test_the_first_tokens_of_a_day_collide_and_are_all_issued(trio: Shared) -> None:
    """Keystone notes the day at a user's first authentication; through several nodes all commits but one fail.

    Whether commits meet is luck, and depends on how busy the machine is: sometimes they do not for ten days in a row.
    """
    before = replays(trio)
    for day in range(1, 81):
        trio.on(NODES[0], "mariadb keystone -e 'UPDATE user SET last_active_at = NULL'")
        answers = json.loads(trio.on("rally-1", f"python3 -c {shlex.quote(FIRST_TOKENS)}"))
        assert answers == [201] * (2 * len(NODES)), "without replays the connection is dropped without an answer"
        if day % 8 == 0 and replays(trio) > before:
            return
    pytest.fail("the conflicts that this test is about did not happen")


def replays(engine: Engine) -> int:
    """Transactions that keystone_crdb repeated, through all Keystones."""
    return sum(json.loads(engine.on(node, COUNTERS))["total"]["replays"] for node in NODES)


@pytest.mark.deep
@on_galera
def test_a_cluster_comes_back_after_a_power_cut_at_all_sites(trio: Shared) -> None:
    for node in NODES:
        trio.on(node, "systemctl kill --signal=KILL mariadb; systemctl stop mariadb")
    trio.deploy()
    for node in NODES:
        assert "Synced" in trio.on(node, "mariadb -NBe \"SHOW STATUS LIKE 'wsrep_local_state_comment'\"")
        assert "3" in trio.on(node, "mariadb -NBe \"SHOW STATUS LIKE 'wsrep_cluster_size'\"").split()
    assert "admin" in trio.run("openstack", "--", "user", "list", "-f", "value", "-c", "Name").output


FIRST_TOKENS = r"""
import json, re, sys, threading, urllib.error, urllib.request
text = open("/etc/openstack/clouds.yaml").read()
password = re.search(r"password: (\S+)", text)[1]
urls = sorted(set(re.findall(r"auth_url: (\S+)", text)))
user = {"name": "admin", "domain": {"id": "default"}, "password": password}
body = json.dumps({"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}).encode()
together, answers = threading.Barrier(2 * len(urls)), []

def issue(url):
    request = urllib.request.Request(url + "/auth/tokens", body, {"Content-Type": "application/json"})
    together.wait()
    try:
        answers.append(urllib.request.urlopen(request, timeout=30).status)
    except urllib.error.HTTPError as error:
        answers.append(error.code)
    except OSError as error:
        answers.append(str(error))

threads = [threading.Thread(target=issue, args=(url,)) for url in urls * 2]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps(answers))
"""
COUNTERS = "/opt/enos_crdb/keystone/bin/python -m keystone_crdb counters --directory /run/keystone/counters"
