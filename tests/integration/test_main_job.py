"""The main job on real hosts: deploy, bench, collect, destroy, for each backend; nothing lost, nothing left."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from tests.integration.engine import ArgvWatch, Engine, mark_of, traces

pytestmark = pytest.mark.nspawn

SCENARIOS = (
    "keystone/authenticate-user-and-validate-token",
    "keystone/create-and-list-users",
    "keystone/create-add-and-list-user-roles",
)
ITERATIONS = 6


def bench(engine: Engine, *more: str, scenarios: Sequence[str] = SCENARIOS, status: int = 0) -> str:
    options = [word for scenario in scenarios for word in ("--scenario", scenario)]
    return engine.run(
        "bench", "keystone", *options, "--times", str(ITERATIONS), "--concurrency", "2", *more, status=status
    ).output


def no_secret_outside_its_file(directory: Path, secrets: dict[str, str]) -> None:
    for path in directory.rglob("*"):
        inside_a_host = path.is_relative_to(directory / "hosts")  # the hosts' own disks are theirs
        if path.is_file() and not inside_a_host and path.name not in ("secrets.json", "openrc", "clouds.yaml"):
            content = path.read_bytes()
            for name, secret in secrets.items():
                assert secret.encode() not in content, f"{name} is in {path}"


@pytest.mark.parametrize("backend", ["postgresql", "mariadb"])
def test_one_server(engine: Engine, backend: str) -> None:
    file = {"postgresql": "configs/local.yaml", "mariadb": "configs/local-mariadb.yaml"}[backend]
    with ArgvWatch(engine) as watch:
        engine.run("deploy", "--env", file)
        bench(engine, scenarios=SCENARIOS[:1])
        engine.run("openstack", "--", "token", "issue")
    assert watch.looks > 100
    assert watch.seen == set(), "no password in the arguments of any process"
    directory, mark = engine.directory, mark_of(engine.directory)
    assert mark is not None
    assert traces(directory, mark), "the check for leftovers must be able to see what is there"

    engine.forget_logs()
    engine.run("deploy", "--env", file)
    assert engine.changed() == {}, "a second deployment changes nothing"

    the_database_is_bound_to_its_network(engine, "database-1")
    engine.run("openstack", "--", "project", "create", "demo", "--or-show")
    shown = engine.run("openstack", "--", "project", "create", "demo", "--or-show", "-f", "value", "-c", "name")
    assert "demo" in shown.output

    with ArgvWatch(engine) as watch:
        bench(engine)
    assert watch.seen == set()
    the_run_is_complete(engine, hosts=("database-1", "rally-1"), backend=backend)
    no_secret_outside_its_file(directory, engine.secrets)
    assert "demo" not in engine.run("openstack", "--", "project", "list", "-f", "value", "-c", "Name").output

    engine.run("destroy", "--hosts", "keep")
    assert "inactive" in engine.on("database-1", "systemctl is-active keystone || true")
    engine.run("deploy", "--env", file)
    assert "admin" in engine.run("openstack", "--", "user", "list", "-f", "value", "-c", "Name").output

    engine.run("destroy")
    assert traces(directory, mark) == []
    left = {path.name for path in directory.iterdir()}
    assert left == {".lock", "deployment.json", "secrets.json", "logs", "runs"}
    engine.run("destroy")
    assert "create" in engine.run("report").output, "results outlive the hosts"


def the_database_is_bound_to_its_network(engine: Engine, host: str) -> None:
    addresses = next(entry for entry in engine.state["resources"]["hosts"] if entry["name"] == host)["addresses"]
    listening = engine.on(host, "ss -Hltn")
    ports = [line.split()[3] for line in listening.splitlines() if line.split()[3].endswith((":5432", ":3306"))]
    assert ports
    assert {port.rsplit(":", 1)[0] for port in ports} <= {addresses["database"], "127.0.0.1", "[::1]"}


def the_run_is_complete(engine: Engine, *, hosts: tuple[str, ...], backend: str) -> None:
    run = engine.run_directory()
    manifest = json.loads((run / "manifest.json").read_text())
    assert [scenario["name"] for scenario in manifest["scenarios"]] == list(SCENARIOS)
    assert manifest["configuration"]["database"]["backend"] == backend
    assert manifest["finished_at"]
    samples = pd.read_csv(run / "samples.csv")
    iterations = samples[samples.metric == "iteration"]
    assert iterations.groupby("scenario").size().to_dict() == dict.fromkeys(SCENARIOS, ITERATIONS)
    assert set(samples.outcome) == {"ok"}
    assert (samples.value >= 0).all()
    summary = pd.read_csv(run / "summary.csv")
    assert set(SCENARIOS) <= set(summary.scenario)
    for ending in ("database-1.json", "database-1.html"):
        assert len(list((run / "rally").glob(f"*{ending}"))) == len(SCENARIOS), "what Rally itself wrote"
    for host in hosts:
        assert any((run / "hosts" / host).rglob("*journal*")), f"no journal of {host}"
        assert list((run / "hosts" / host).rglob("*.csv")), f"no CPU and memory of {host}"
    counters = [json.loads(path.read_text()) for path in sorted(run.glob("hosts/*/counters/*.json"))]
    assert counters, "no database counters"


def test_three_galera_nodes(engine: Engine) -> None:
    file = "configs/local-galera.yaml"
    nodes = ("database-1", "database-2", "database-3")
    engine.run("deploy", "--env", file)
    directory, mark = engine.directory, mark_of(engine.directory)
    assert mark is not None
    engine.forget_logs()
    engine.run("deploy", "--env", file)
    assert engine.changed() == {}

    bench(engine, "--load", "heavy", "--times", "4")
    run = engine.run_directory()
    samples = pd.read_csv(run / "samples.csv")
    iterations = samples[samples.metric == "iteration"]
    assert iterations.groupby("client").size().to_dict() == {
        f"rally-1-to-database-{n}": 4 * len(SCENARIOS) for n in (1, 2, 3)
    }
    assert set(samples.outcome) == {"ok"}

    the_first_tokens_of_a_day_collide_and_are_all_issued(engine, nodes)

    for node in nodes:  # a site-wide power cut
        engine.on(node, "systemctl kill --signal=KILL mariadb; systemctl stop mariadb")
    engine.run("deploy", "--env", file)
    for node in nodes:
        assert "Synced" in engine.on(node, "mariadb -NBe \"SHOW STATUS LIKE 'wsrep_local_state_comment'\"")
        assert "3" in engine.on(node, "mariadb -NBe \"SHOW STATUS LIKE 'wsrep_cluster_size'\"").split()
    assert "admin" in engine.run("openstack", "--", "user", "list", "-f", "value", "-c", "Name").output

    engine.run("destroy")
    assert traces(directory, mark) == []


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


def the_first_tokens_of_a_day_collide_and_are_all_issued(engine: Engine, nodes: tuple[str, ...]) -> None:
    """Keystone notes the day at a user's first authentication; through several nodes all commits but one fail."""
    for _ in range(10):
        engine.on(nodes[0], "mariadb keystone -e 'UPDATE user SET last_active_at = NULL'")
        answers = json.loads(engine.on("rally-1", f"python3 -c {shlex.quote(FIRST_TOKENS)}"))
        assert answers == [201] * (2 * len(nodes)), "without replays the connection is dropped without an answer"
    replays = [json.loads(engine.on(node, COUNTERS))["total"]["replays"] for node in nodes]
    assert sum(replays) > 0, "the conflicts that this test is about did not happen"
