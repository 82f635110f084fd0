"""What commands print."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from enos_crdb import inventory, keystone
from enos_crdb.config import Configuration, g5k, vagrant
from enos_crdb.errors import PrerequisiteError
from enos_crdb.model import Lease
from enos_crdb.phases.context import LEASE_SHORT_S
from enos_crdb.providers import plan_hosts
from enos_crdb.store import Deployment
from enos_crdb.tables import Column, Fitted

UNSAID = {"nspawn": ("no limit", "no limit"), "vagrant": (str(vagrant.CPUS), f"{vagrant.MEMORY_MB} MB")}
"""Provider -> cores and memory of a host whose file says nothing; elsewhere a host is what it is."""


def plan(console: Console, configuration: Configuration) -> None:
    """Hosts, software and steps of a deployment, without touching anything."""
    from enos_crdb.phases.deploy import STEPS

    rows = []
    for host in plan_hosts(configuration):
        group = host.group
        cpus, memory = UNSAID.get(configuration.provider, ("its own", "its own"))
        cpus = f"{group.cpus:g}" if group.cpus else cpus
        memory = f"{group.memory_mb} MB" if group.memory_mb else memory
        rows.append((host.name, ", ".join(group.roles), host.site, cpus, memory))
    columns = [Column(heading=heading) for heading in ("host", "roles", "site", "cpus", "memory")]
    console.print(Fitted(title=f"{configuration.name} on {configuration.provider}", columns=columns, rows=rows))
    for label, text in inventory.describe(configuration):
        console.print(f"{label + ':':10} {escape(text)}", soft_wrap=True)
    if configuration.provider == "g5k":
        console.print(f"cost:      {g5k.cost(configuration.g5k, configuration.machines)}", soft_wrap=True)
    console.print("steps:     " + ", ".join(step.name for step in STEPS), soft_wrap=True)


def problems(console: Console, found: Sequence[str]) -> None:
    """What this machine lacks. Raises `PrerequisiteError` when it lacks anything."""
    if found:
        raise PrerequisiteError("\n".join(found))
    console.print("[green]✓[/green] the configuration is valid and this machine is ready for it")


def gather(deployment: Deployment) -> dict[str, Any]:
    """What `info` tells of a deployment, as plain values."""
    state = deployment.state
    resources = state.resources if state.destroyed_at is None else None
    hosts = resources.hosts if resources else ()
    installer = state.configuration["openstack"]["installer"]
    urls = {e.region: e.url for e in keystone.endpoints(installer, resources)} if resources else {}
    return {
        "deployment": str(deployment.directory),
        "name": state.name,
        "created_at": state.created_at,
        "destroyed_at": state.destroyed_at,
        "backend": state.configuration["database"]["backend"],
        "release": state.configuration["openstack"]["release"],
        "done": dict(state.done),
        "lease": _lease(state.lease) if state.lease and not state.destroyed_at else None,
        "hosts": [
            {
                "name": host.name,
                "roles": list(host.roles),
                "site": host.site,
                "addresses": dict(host.addresses),
                "endpoint": urls.get(host.name),
                "layer": state.layers.get(host.name),
            }
            for host in hosts
        ],
        "files": [
            str(path) for path in sorted(deployment.directory.glob("*")) if path.name in ("openrc", "clouds.yaml")
        ],
        "runs": sorted(path.name for path in deployment.runs.glob("*")),
    }


def _lease(lease: Lease) -> dict[str, Any]:
    ends_at = datetime.fromtimestamp(lease.ends_at, timezone.utc)
    return {
        "jobs": list(lease.jobs),
        "ends_at": ends_at.isoformat(timespec="seconds"),
        "remaining_s": round(lease.remaining_s(time.time())),
    }


def facts(console: Console, known: Mapping[str, Any]) -> None:
    """`gather`'s values for a person."""
    status = f"destroyed at {known['destroyed_at']}" if known["destroyed_at"] else _progress(known["done"])
    console.print(f"[bold]{known['name']}[/bold]  {status}", soft_wrap=True)
    console.print(f"  {known['deployment']}", soft_wrap=True)
    console.print(f"  Keystone {known['release']} on {known['backend']}, created {known['created_at']}", soft_wrap=True)
    if known["lease"]:
        console.print(f"  {_reservation(known['lease'])}", soft_wrap=True)
    if known["hosts"]:
        optional = {"database": 1, "site": 2}
        headings = ("host", "roles", "site", "control", "database", "Keystone")
        rows = [
            (
                host["name"],
                ", ".join(host["roles"]),
                host["site"],
                host["addresses"].get("control", ""),
                host["addresses"].get("database", ""),
                host["endpoint"] or "",
            )
            for host in known["hosts"]
        ]
        columns = [Column(heading=heading, whole=True, optional=optional.get(heading)) for heading in headings]
        console.print(Fitted(title="", columns=columns, rows=rows))
    for file in known["files"]:
        console.print(f"  credentials: {file}", soft_wrap=True)
    runs = known["runs"]
    console.print(f"  runs: {', '.join(runs[-5:]) if runs else 'none yet; `enos_crdb bench keystone` makes one'}")


def _reservation(lease: Mapping[str, Any]) -> str:
    left_s = lease["remaining_s"]
    jobs = f"reservation {', '.join(lease['jobs'])}" if lease["jobs"] else "reservation"
    until = datetime.fromisoformat(lease["ends_at"]).astimezone().strftime("%Y-%m-%d %H:%M")
    if left_s <= 0:
        return f"[red]{escape(jobs)} ended at {until}: the hosts are gone[/red]"
    left = f"{left_s // 3600:d}:{left_s % 3600 // 60:02d} hours left"
    color = "[yellow]" if left_s < LEASE_SHORT_S else "[default]"
    return f"{color}{escape(jobs)} until {until}, {left}[/]"


def _progress(done: Mapping[str, Any]) -> str:
    from enos_crdb.phases.deploy import STEPS

    missing = [step.name for step in STEPS if step.name not in done]
    if not missing:
        return "[green]deployed[/green]"
    return f"[yellow]incomplete[/yellow] (next step: {missing[0]}); `enos_crdb deploy` continues"


def run(console: Console, directory: Path) -> str:
    """Print the summary of a run, write its CSV, and return what failed (nothing when all went well)."""
    from enos_crdb.summary import summarise, table, write_csv

    summary = summarise(directory)
    console.print(table(summary))
    for warning in summary.warnings:
        console.print(f"[yellow]warning:[/yellow] {escape(warning)}", soft_wrap=True)
    console.print(f"Summary: {write_csv(summary, directory)}", soft_wrap=True)
    return summary.failure


def scenarios(console: Console) -> None:
    """The catalogue of Rally scenarios."""
    from enos_crdb.config.scenarios import SCENARIOS, STUDY_2018

    rows = [
        (scenario.name + (" *" if scenario.name in STUDY_2018 else ""), scenario.description)
        for scenario in SCENARIOS.values()
    ]
    columns = (Column(heading="scenario", whole=True), Column(heading="what an iteration does"))
    caption = "* the seven of the 2018 study, the default"
    console.print(Fitted(title="", columns=columns, rows=rows, caption=caption))
