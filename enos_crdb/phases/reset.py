"""Keystone as it was when its deployment was new: database made anew, caches empty, every Keystone answering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from enos_crdb import keystone
from enos_crdb.backends import BACKENDS, DATABASE_PROGRAMS
from enos_crdb.door import Answer, Call, program
from enos_crdb.errors import DeploymentError
from enos_crdb.installers import INSTALLERS
from enos_crdb.model import LOAD, Host
from enos_crdb.phases.context import Context

RESET_S = 900.0
"""How long a database may take to become fresh."""
ANSWER_S = 60.0
"""How long a Keystone may take to answer after its database was made anew."""
CROSSING_S = 300.0
"""Beyond the time that Keystones have to answer: a token through each, validated at each."""


@dataclass(frozen=True, kw_only=True)
class Reset:
    """What came of a reset. ``problem`` says why the database is not fresh; ``silent`` hosts could not be reached."""

    problem: str = ""
    silent: tuple[str, ...] = ()


def reset(context: Context) -> Reset:
    """Make Keystone's database anew from what the deployment kept, empty Keystone's cache, wait for every Keystone.

    Never raises for a host that fails: the answer says so.
    """
    silent: list[str] = []

    def ask(title: str, hosts: Sequence[Host], call: Callable[[Host], Call]) -> tuple[list[Answer], str]:
        answers = context.door.run(title, [call(host) for host in hosts if host.name not in silent])
        silent.extend(answer.host for answer in answers if not answer.reached)
        failed = [f"{answer.host}: {answer.why}" for answer in answers if answer.reached and not answer.ok]
        return answers, "\n".join(failed)

    nodes = context.resources.with_role("database")
    how = BACKENDS[context.configuration.database.backend].resets
    chosen: Sequence[Host] = nodes
    if how.through_one:
        answers, problem = ask("Looking for a database node that is ready", nodes, _database("ready"))
        ready = [answer.host for answer in answers if answer.ok]
        chosen = [host for host in nodes if host.name in ready[:1]]
        if not chosen and problem:
            return Reset(problem=f"no database node takes connections:\n{problem}", silent=tuple(silent))
    _, problem = ask("Making Keystone's database anew", chosen, _database("reset"))
    if not problem and how.compared:
        _, problem = ask("Comparing every node with the fresh state", nodes, _database("compare"))
    if problem:
        problem = f"the fresh state of the database could not be brought back (`deploy` makes it again). {problem}"
    elif {host.name for host in nodes} <= set(silent):
        problem = f"no database host can be reached ({', '.join(sorted(silent))})"
    else:
        keystones = context.resources.with_role("keystone")
        _, problem = ask("Waiting for Keystone", keystones, lambda host: _fresh_keystone(context, host))
    return Reset(problem=problem, silent=tuple(sorted(silent)))


def _database(name: str) -> Callable[[Host], Call]:
    return lambda host: Call(host=host, argv=(f"{DATABASE_PROGRAMS}/{name}",), timeout_s=RESET_S)


def _fresh_keystone(context: Context, host: Host) -> Call:
    installer = INSTALLERS[context.configuration.openstack.installer]
    request = {
        "url": installer.url(host),
        "unit": installer.unit,
        "flush": context.configuration.openstack.keystone.cache == "memcached",
        "timeout_s": ANSWER_S,
    }
    return Call(host=host, argv=program("fresh_keystone"), request=request, timeout_s=ANSWER_S + 30)


def cross(context: Context, *, timeout_s: float = ANSWER_S) -> list[str]:
    """Issue a token through each Keystone, and validate it through each, from the hosts that the load will come from.

    Each of these hosts has its share of the Keystones that issue, and reaches all. Waits for their answers, `timeout_s`
    at most. Returns a sentence for each thing that failed.
    """
    endpoints = keystone.endpoints(context.configuration.openstack.installer, context.resources)
    regions = [endpoint.region for endpoint in endpoints]
    request = {
        "username": keystone.USERNAME,
        "password": context.secrets["keystone_admin_password"],
        "keystones": [asdict(endpoint) for endpoint in endpoints],
        "timeout_s": timeout_s,
    }
    hosts = context.resources.with_role(LOAD)
    calls = [
        Call(
            host=host,
            argv=program("crossing"),
            request={**request, "issuers": regions[number :: len(hosts)] or [regions[number % len(regions)]]},
            timeout_s=timeout_s + CROSSING_S,
        )
        for number, host in enumerate(hosts)
    ]
    # The first alone: the first token of a day writes, and of writes through several Galera nodes all but one fail.
    answers = [
        answer
        for part in (calls[:1], calls[1:])
        for answer in context.door.run("Issuing tokens and validating them", part)
    ]
    found: list[str] = []
    for answer in answers:
        found += answer.value["failures"] if answer.ok else [f"{answer.host}: {answer.why}"]
    return list(dict.fromkeys(found))


def state(context: Context) -> dict[str, Any]:
    """Rows and digest of each table of Keystone's database, as its first Keystone sees them.

    Raises `DeploymentError`.
    """
    installer = INSTALLERS[context.configuration.openstack.installer]
    name = keystone.bootstrap_host(context.resources)
    call = Call(
        host=context.resources.host(name),
        argv=program("state", installer.account, python=f"{installer.virtualenv}/bin/python"),
        timeout_s=CROSSING_S,
    )
    (answer,) = context.door.run("Reading what Keystone's database holds", [call])
    if not answer.ok:
        raise DeploymentError(f"{name} did not say what Keystone's database holds:\n{answer.why}")
    return dict(answer.value)
