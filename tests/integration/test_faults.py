"""A Galera host is cut off, another is killed, while Rally measures: the run ends and failures are samples."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pandas as pd
import pytest

from enos_crdb.phases.context import open_context
from enos_crdb.providers.nspawn import Nspawn
from enos_crdb.providers.nspawn.local import LocalHosts
from enos_crdb.store import Store
from tests.integration.engine import Engine, mark_of, traces

pytestmark = pytest.mark.nspawn

FILE = ("--env", "configs/local-galera.yaml")
SCENARIO = "keystone/create-and-list-users"
LOAD_S = 30


def hosts_of(engine: Engine) -> Nspawn:
    provider = open_context(Store(engine.results).open(engine.directory)).provider
    assert isinstance(provider, LocalHosts)
    return provider.nspawn


def bench_while(engine: Engine, fault: Callable[[], None]) -> pd.DataFrame:
    """Run a scenario on all three Keystones, strike ten seconds into the load, and give the iterations."""
    runner = f"bench.runner={{type: constant_for_duration, duration_s: {LOAD_S}}}"
    options = ["--scenario", SCENARIO, "--load", "heavy", "--concurrency", "1", "--set", runner]
    options += ["--set", "bench.http_timeout_s=8"]
    ended = threading.Event()

    def strike() -> None:
        log = engine.directory / "logs"
        while not ended.is_set():
            if any("Begin the load" in path.read_text() for path in log.glob("*bench.log")):
                time.sleep(10)
                fault()
                return
            time.sleep(0.2)

    for path in (engine.directory / "logs").glob("*bench.log"):
        path.unlink()
    thread = threading.Thread(target=strike)
    thread.start()
    try:
        engine.run("bench", "keystone", *options, status=6)
    finally:
        ended.set()
        thread.join()
    samples = pd.read_csv(engine.run_directory() / "samples.csv")
    return samples[samples.metric == "iteration"]


def test_a_host_cut_off_and_a_host_killed(engine: Engine) -> None:
    engine.run("deploy", *FILE)
    hosts = hosts_of(engine)

    iterations = bench_while(engine, lambda: hosts.cut_host("database-2", "database"))
    hosts.heal_host("database-2", "database")
    broken = iterations[iterations.outcome == "failed"]
    assert set(broken.client) >= {"rally-1-to-database-2"}
    assert broken.error.notna().all()
    survivors = iterations[iterations.client != "rally-1-to-database-2"]
    late = survivors[survivors.started_at > survivors.started_at.min() + LOAD_S - 8]
    assert (late.outcome == "ok").any(), "two nodes of three go on"

    engine.run("deploy", *FILE)  # the node is back in the cluster, or this fails
    iterations = bench_while(engine, lambda: hosts.kill_host("database-3"))
    assert "rally-1-to-database-3" in set(iterations[iterations.outcome == "failed"].client)
    assert (iterations[iterations.client == "rally-1-to-database-1"].outcome == "ok").any()
    assert not hosts.running("database-3")

    engine.run("deploy", *FILE)
    size = engine.on("database-3", "mariadb -NBe \"SHOW STATUS LIKE 'wsrep_cluster_size'\"")
    assert size.split()[-1] == "3"

    directory, mark = engine.directory, mark_of(engine.directory)
    assert mark is not None
    engine.run("destroy")
    assert traces(directory, mark) == []
