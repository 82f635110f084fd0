"""A Galera host is killed, another is cut off, while Rally measures: the run ends and failures are samples."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pandas as pd
import pytest

from tests.integration.engine import Engine
from tests.integration.runs import SERVING
from tests.integration.shared import Shared

pytestmark = [pytest.mark.nspawn, pytest.mark.xdist_group("galera")]

SCENARIO = "keystone/create-and-list-users"
LOAD_S = 12
REGROUPED_S = 30
"""Long enough for two Galera nodes to agree that the third is gone, and to serve again."""
ANSWER_S = 5
"""How long Rally waits for an answer: what is under way when a host goes away ends in failure after it."""


def bench_while(engine: Engine, fault: Callable[[], None], *, load_s: int = LOAD_S) -> pd.DataFrame:
    """Run a scenario on all three Keystones, strike when the load has begun, and give the iterations."""
    runner = f"bench.runner={{type: constant_for_duration, duration_s: {load_s}}}"
    options = ["--scenario", SCENARIO, "--load", "heavy", "--concurrency", "1", "--set", runner]
    options += ["--set", f"bench.http_timeout_s={ANSWER_S}"]
    ended = threading.Event()
    log = engine.directory / "logs"

    def strike() -> None:
        while not ended.wait(0.2):
            if any("Beginning the load" in path.read_text() for path in log.glob("*door.log")):
                engine.on("database-1", SERVING)
                fault()
                return

    engine.forget_logs()
    thread = threading.Thread(target=strike)
    thread.start()
    try:
        engine.run("bench", "keystone", *options, status=6)
    finally:
        ended.set()
        thread.join()
    samples = pd.read_csv(engine.run_directory() / "samples.csv")
    return samples[samples.metric == "iteration"]


def test_a_host_that_is_killed_costs_its_own_iterations(trio: Shared) -> None:
    hosts = trio.local_hosts
    iterations = bench_while(trio, lambda: hosts.kill_host("database-3"))
    assert "rally-1-to-database-3" in set(iterations[iterations.outcome == "failed"].client)
    assert set(iterations.client) == {f"rally-1-to-database-{n}" for n in (1, 2, 3)}, "one Rally for each Keystone"
    assert (iterations[iterations.client == "rally-1-to-database-1"].outcome == "ok").any()
    assert not hosts.running("database-3")

    trio.deploy()
    size = trio.on("database-3", "mariadb -NBe \"SHOW STATUS LIKE 'wsrep_cluster_size'\"")
    assert size.split()[-1] == "3"


@pytest.mark.deep
def test_two_of_three_go_on_when_a_host_is_cut_off(trio: Shared) -> None:
    hosts = trio.local_hosts
    try:
        iterations = bench_while(trio, lambda: hosts.cut_host("database-2", "database"), load_s=REGROUPED_S)
    finally:
        hosts.heal_host("database-2", "database")
    broken = iterations[iterations.outcome == "failed"]
    assert set(broken.client) >= {"rally-1-to-database-2"}
    assert broken.error.notna().all()
    survivors = iterations[iterations.client != "rally-1-to-database-2"]
    late = survivors[survivors.started_at > survivors.started_at.min() + REGROUPED_S - 8]
    assert (late.outcome == "ok").any(), "two nodes of three go on"
    trio.deploy()  # the node is back in the cluster, or this fails
