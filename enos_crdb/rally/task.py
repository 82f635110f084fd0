"""Rally task files, and the clients (Rally processes) that run them. Values only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from enos_crdb.config.bench import Bench, ConstantForDuration, OpenLoop, Rps
from enos_crdb.config.scenarios import SCENARIOS, Scenario
from enos_crdb.installers import INSTALLERS
from enos_crdb.model import Host, Resources, slug
from enos_crdb.record import Client

STATE = "/var/lib/rally"
"""On the hosts where Rally runs: one directory per run, with configuration, database and results of each client."""
START_LEAD_S = 1.0
"""From the word to the common start of several clients: long enough to tell all rally hosts."""
SETUP_S = 600.0
"""Longest time a client may take before its load: imports, Rally's checks, making the users."""


def clients(
    resources: Resources, load: str, placement: str = "rally", *, installer: str = "pypi"
) -> tuple[Client, ...]:
    """Who loads which Keystone. ``light``: one client, for the first Keystone; ``heavy``: one per Keystone host.

    They are dealt to the hosts of role `placement` in turn: beside Keystone, each to the one that it loads.
    """
    places, keystones = resources.with_role(placement), resources.with_role("keystone")
    wanted = keystones[:1] if load == "light" else keystones
    url = INSTALLERS[installer].url
    return tuple(_client(places[i % len(places)], keystone, url(keystone)) for i, keystone in enumerate(wanted))


def _client(rally: Host, keystone: Host, url: str) -> Client:
    return Client(
        name=f"{rally.name}-to-{keystone.name}",
        rally=rally.name,
        keystone=keystone.name,
        auth_url=url,
        region=keystone.name,
    )


def rally_task(scenario: Scenario, bench: Bench) -> dict[str, Any]:
    """The Rally task (version 2) of one scenario. Its last context waits for the common start of all clients."""
    contexts: dict[str, Any] = {
        "users": {"tenants": bench.projects, "users_per_tenant": bench.users_per_project},
        "start_together": {"longest_wait_s": SETUP_S},
    }
    return {
        "version": 2,
        "title": scenario.name,
        "subtasks": [
            {
                "title": scenario.name,
                "description": scenario.description,
                "scenario": {scenario.plugin: {**scenario.arguments, **bench.arguments.get(scenario.name, {})}},
                "runner": _runner(bench),
                "contexts": contexts,
                "sla": {"failure_rate": {"max": bench.max_failure_percent}},
            }
        ],
    }


def _runner(bench: Bench) -> dict[str, Any]:
    runner = bench.runner
    if isinstance(runner, ConstantForDuration):
        return {"constant_for_duration": {"duration": runner.duration_s, "concurrency": bench.concurrency}}
    if isinstance(runner, Rps):
        return {"rps": {"rps": runner.rps, "times": bench.times, "max_concurrency": bench.concurrency}}
    if isinstance(runner, OpenLoop):
        options = runner.model_dump(exclude={"type"}, exclude_none=True)
        amount = {} if runner.duration_s is not None else {"times": bench.times}
        return {"open_loop": {**options, **amount, "concurrency": bench.concurrency}}
    return {"constant": {"times": bench.times, "concurrency": bench.concurrency}}


def environment(client: Client, password: str) -> dict[str, Any]:
    """Rally's specification of the environment that `client` loads. Holds the administrator's password."""
    return {
        "existing@openstack": {
            "auth_url": client.auth_url,
            "region_name": client.region,
            "endpoint_type": "public",
            "admin": {
                "username": "admin",
                "password": password,
                "project_name": "admin",
                "user_domain_name": "Default",
                "project_domain_name": "Default",
            },
        }
    }


def prepare_requests(run: str, wanted: Sequence[Client], bench: Bench, password: str) -> dict[str, dict[str, Any]]:
    """Name of each host that has clients -> what ``rally_client.py prepare`` reads there; it holds the password."""
    found: dict[str, dict[str, Any]] = {}
    for client in wanted:
        request = found.setdefault(client.rally, {"directory": directory(run), "clients": []})
        request["clients"].append(
            {
                "name": client.name,
                "environment": environment(client, password),
                "http_timeout_s": bench.http_timeout_s,
            }
        )
    return found


def directory(run: str) -> str:
    """Where Rally keeps a run on its hosts."""
    return f"{STATE}/{run}"


def scenario_requests(run: str, index: int, name: str, wanted: Sequence[Client]) -> dict[str, dict[str, Any]]:
    """Name of each host that has clients -> what ``rally_client.py`` reads about the `index`-th scenario (from 1).

    ``archive`` is the file that ``wait`` packs.
    """
    scenario = slug(index, name)
    found: dict[str, dict[str, Any]] = {}
    for client in wanted:
        request = found.setdefault(
            client.rally,
            {
                "directory": directory(run),
                "scenario": scenario,
                "archive": f"{directory(run)}/{scenario}.tar",
                "clients": [],
            },
        )
        request["clients"].append(client.name)
    return found


def job(name: str, wanted: Sequence[Client], bench: Bench) -> dict[str, Any]:
    """What each client does in the scenario called `name`, and its limits (seconds)."""
    return {
        "task": rally_task(SCENARIOS[name], bench),
        "timeout_s": bench.scenario_timeout_s,
        # A run begins with a new database; deleting what one scenario made takes longer than its load.
        "cleanup": bench.reset != "scenario",
        "setup_s": SETUP_S,
        # Looking for the versions of the API may time out, then authenticating, before an iteration fails.
        "drain_s": 2 * bench.http_timeout_s,
        "grace_s": grace_s(bench),
        # Rallies of an open loop take turns, so that what reaches the database is even, too.
        "phases": {client.name: place / len(wanted) for place, client in enumerate(wanted)},
    }


def start_lead_s(wanted: Sequence[Client]) -> float:
    """Seconds from the word to the load: one client has nobody to wait for."""
    return START_LEAD_S if len(wanted) > 1 else 0.0


def longest_s(bench: Bench) -> float:
    """How long a scenario may take on a host, from its start to its last report (seconds)."""
    return SETUP_S + bench.scenario_timeout_s + grace_s(bench) + 60.0


def grace_s(bench: Bench) -> float:
    """How long a client may go on after its time is up: answers that are awaited, then the reports."""
    cleanup_s = 0.0 if bench.reset == "scenario" else bench.scenario_timeout_s
    return 2 * bench.http_timeout_s + 90.0 + cleanup_s
