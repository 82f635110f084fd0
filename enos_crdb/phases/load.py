"""What a run does on the hosts: watch them, load Keystone with Rally, and read the counters before and after.

Hosts are told side by side. One that fails or falls silent is left out of what follows and costs its own clients'
iterations only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enos_crdb import rally, traffic
from enos_crdb.backends import DATABASE_PROGRAMS
from enos_crdb.config.bench import Bench
from enos_crdb.door import Answer, Call, per_host, program
from enos_crdb.errors import DeploymentError
from enos_crdb.installers import INSTALLERS
from enos_crdb.keystone import RALLY_VIRTUALENV
from enos_crdb.model import LOAD, Host
from enos_crdb.network import probes
from enos_crdb.phases.context import Context
from enos_crdb.record import Client, Expected

SAMPLES_ON_HOSTS = "/var/lib/enos_crdb/sampler"
"""Where the sampler writes a run's CPU and memory."""
PROBES_ON_HOSTS = "/var/lib/enos_crdb/probes"
SAMPLER_PERIOD_S = 1
PREPARE_S = 600.0
"""Longest time for Rally to be imported and to make its database."""
STOP_S = 120.0
COUNTERS_S = 60.0

Counters = dict[str, dict[str, dict[str, Any]]]
"""Directory (``counters`` of databases, ``keystone_counters``) -> host -> moment (``before``, ``after``) -> values."""


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A host that failed at something during a scenario, or could not be reached for it (``reached`` is False)."""

    host: str
    doing: str
    message: str
    reached: bool

    def __str__(self) -> str:
        what = f"failed at «{self.doing}»" if self.reached else "could not be reached"
        return f"{self.host} {what}: {self.message}"


@dataclass(kw_only=True)
class Loaded:
    """What came of one scenario on the hosts; their archives are where they were asked to be put."""

    counters: Counters = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)


def begin(
    context: Context, run: str, clients: Sequence[Client], section: Bench, *, expected: Sequence[Expected] = ()
) -> None:
    """Start the sampler and the probe on every host, and every client's Rally.

    ``expected`` are the round trips between the hosts. Raises `DeploymentError` when something cannot be started.
    """
    requests = rally.prepare_requests(run, clients, section, context.secrets["keystone_admin_password"])
    samplers = [
        Call(
            host=host,
            argv=program("sampler", "start", _sampler(run), f"{SAMPLES_ON_HOSTS}/{run}.csv", str(SAMPLER_PERIOD_S)),
        )
        for host in context.resources.hosts
    ]
    resources = context.resources
    probes_ = [
        Call(
            host=resources.host(name),
            argv=program("probe", "start", _probe(run), probed(run)),
            request={"targets": targets, "interval_s": probes.INTERVAL_S},
        )
        for name, targets in probes.watched(resources.hosts, expected).items()
        if targets
    ]
    rallies = [_rally(resources.host(name), "prepare", request, PREPARE_S) for name, request in requests.items()]
    answers = context.door.run("Starting Rally and the sampler", [*samplers, *probes_, *rallies])
    failed = [f"{answer.host}: {answer.why}" for answer in answers if not answer.ok]
    if failed:
        raise DeploymentError("the hosts could not be prepared for the load.\n" + "\n".join(dict.fromkeys(failed)))


def end(context: Context, run: str) -> list[Trouble]:
    """Leave nothing running on the hosts, whatever happened before."""
    calls = [
        Call(host=host, argv=program("sampler", "stop", _sampler(run)), timeout_s=STOP_S)
        for host in context.resources.hosts
    ]
    calls += [
        Call(host=host, argv=program("probe", "stop", _probe(run)), timeout_s=STOP_S)
        for host in context.resources.hosts
    ]
    calls += [
        _rally(host, "finish", {"directory": rally.directory(run)}, STOP_S)
        for host in context.resources.with_role(LOAD)
    ]
    title = "Stopping Rally and the sampler"
    return _troubles(title, context.door.run(title, calls))


def load(
    context: Context, run: str, *, index: int, name: str, clients: Sequence[Client], section: Bench, incoming: Path
) -> Loaded:
    """Run one scenario on every client; what each host's Rallies wrote comes to ``incoming/<host>.tar``."""
    found = Loaded()
    requests = rally.scenario_requests(run, index, name, clients)
    resources = context.resources

    def ask(
        title: str, action: str, limit_s: float, more: Mapping[str, Any] | None = None, fetch: bool = False
    ) -> dict[str, Answer]:
        """Of the hosts that did all that was asked of them so far."""
        calls = [
            _rally(
                resources.host(host),
                action,
                {**request, **(more or {})},
                limit_s,
                fetch_to=incoming / f"{host}.tar" if fetch else None,
            )
            for host, request in requests.items()
        ]
        answers = context.door.run(title, calls)
        found.troubles += _troubles(title, answers)
        for answer in answers:
            if not answer.ok:
                requests.pop(answer.host)
        return per_host(answers)

    job = rally.job(name, clients, section)
    ready = ask("Starting Rally", "start", job["setup_s"] + 60.0, {"job": job})
    noted = time.monotonic()
    _count(context, "before", found)
    # By the clock of the hosts with Rally: when the last was ready, and what has passed since by the clock here.
    instants = [answer.value["ready_at"] for answer in ready.values() if answer.ok]
    passed_s = time.monotonic() - noted
    ask("Beginning the load", "go", 60.0, {"at": max(instants, default=0.0) + passed_s + rally.start_lead_s(clients)})
    ask("Waiting for the end of Rally", "wait", rally.longest_s(section), fetch=True)
    _count(context, "after", found)
    return found


def _rally(
    host: Host, action: str, request: Mapping[str, Any], limit_s: float, *, fetch_to: Path | None = None
) -> Call:
    return Call(
        host=host,
        argv=program("rally_client", action, python=f"{RALLY_VIRTUALENV}/bin/python"),
        request=request,
        timeout_s=limit_s,
        file=str(request["archive"]) if fetch_to else "",
        to=fetch_to,
    )


def _count(context: Context, moment: str, found: Loaded) -> None:
    """Read the counters of databases and Keystones."""
    configuration = context.configuration
    virtualenv = INSTALLERS[configuration.openstack.installer].virtualenv
    keystone = (f"{virtualenv}/bin/python", "-m", "keystone_crdb", "counters", "--directory", "/run/keystone/counters")
    counted = configuration.openstack.keystone.keystone_crdb != "off"
    asked: list[tuple[str, Host, tuple[str, ...]]] = [
        (traffic.DATABASE, host, (f"{DATABASE_PROGRAMS}/counters",)) for host in context.resources.with_role("database")
    ]
    asked += [(traffic.DIRECTORY, host, keystone) for host in context.resources.with_role("keystone") if counted]
    title = f"Reading the counters {moment} the load"
    calls = [Call(host=host, argv=argv, timeout_s=COUNTERS_S) for _, host, argv in asked]
    answers = context.door.run(title, calls)
    found.troubles += _troubles(title, answers)
    for (kind, host, _), answer in zip(asked, answers, strict=True):
        if answer.ok and answer.value:
            found.counters.setdefault(kind, {}).setdefault(host.name, {})[moment] = answer.value


def probed(run: str) -> str:
    """Where a host writes what it sees of the network during a run."""
    return f"{PROBES_ON_HOSTS}/{run}.csv"


def _probe(run: str) -> str:
    return f"enos-crdb-probe-{run}"


def _sampler(run: str) -> str:
    return f"enos-crdb-sampler-{run}"


def _troubles(doing: str, answers: Sequence[Answer]) -> list[Trouble]:
    """One per host."""
    found = {
        answer.host: Trouble(host=answer.host, doing=doing, message=answer.why, reached=answer.reached)
        for answer in answers
        if not answer.ok
    }
    return list(found.values())
