"""Bring back what the hosts know: journals, configurations as they are there, versions, CPU and memory."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from enos_crdb import events, inventory, record
from enos_crdb.backends import BACKENDS, DATABASE_PROGRAMS
from enos_crdb.door import Answer, Call, program
from enos_crdb.masking import to_mask
from enos_crdb.model import Host
from enos_crdb.phases.context import Context
from enos_crdb.phases.load import SAMPLES_ON_HOSTS, probed
from enos_crdb.phases.unpack import unpack
from enos_crdb.record import RunRecord
from enos_crdb.store import read_json

ARCHIVE = "/var/lib/enos_crdb/collect/collected.tar.gz"
PROBES = "probes.csv"
"""What a host saw of the network during the run, below ``hosts/<host>``."""
EXPORT_S = 600.0
COLLECT_S = 1800.0
"""Longest time for a host to pack what it knows, and to send it."""


def collect(context: Context, directory: Path) -> None:
    """Collect from every host into the run's ``hosts/<host>``, passwords masked, and keep the versions in its record.

    A host that cannot be reached does not stop the others: the record's warnings name it.
    """
    run = record.read(directory)
    versions, warnings = dict(run.versions), list(run.warnings)
    incoming = directory / "incoming"
    incoming.mkdir(exist_ok=True)
    try:
        for name, message in _ask(context, run, incoming):
            warning = f"collecting from {name} failed: {message}"
            events.warn(warning)
            warnings.append(warning)
        secrets = to_mask(context.secrets.values())
        for host in context.resources.hosts:
            if found := _receive(incoming / f"{host.name}.tar.gz", directory / "hosts" / host.name, secrets):
                versions[host.name] = found
    finally:
        shutil.rmtree(incoming)
    record.write(replace(run, versions=versions, warnings=tuple(dict.fromkeys(warnings))), directory)


def _ask(context: Context, run: RunRecord, incoming: Path) -> list[tuple[str, str]]:
    """Have every host send its archive to ``incoming/<host>.tar.gz``; who could not, and why."""
    failed = _export(context) if BACKENDS[context.configuration.database.backend].exports else []
    since = datetime.fromisoformat(run.started_at).timestamp()
    calls = [
        Call(
            host=host,
            argv=program("collect"),
            request={
                "archive": ARCHIVE,
                "since": since,
                "named": {"usage.csv": f"{SAMPLES_ON_HOSTS}/{run.run}.csv", PROBES: probed(run.run)},
                **inventory.collected(context.configuration, host),
            },
            timeout_s=COLLECT_S,
            file=ARCHIVE,
            to=incoming / f"{host.name}.tar.gz",
        )
        for host in context.resources.hosts
    ]
    answers = context.door.run("Collecting journals, files and versions", calls)
    return [*failed, *((answer.host, answer.why) for answer in answers if not answer.ok)]


def _export(context: Context) -> list[tuple[str, str]]:
    """Have the database write what it knows to files; what is the same on every node, one of them."""
    nodes = context.resources.with_role("database")

    def ask(title: str, *words: str, hosts: Sequence[Host] = nodes) -> list[Answer]:
        name, *more = words
        calls = [Call(host=host, argv=(f"{DATABASE_PROGRAMS}/{name}", *more), timeout_s=EXPORT_S) for host in hosts]
        return context.door.run(title, calls)

    ready = [answer.host for answer in ask("Looking for a database node that is ready", "ready") if answer.ok][:1]
    title = "Writing what the database knows to files"
    answers = ask(title, "export", "cluster", hosts=[host for host in nodes if host.name in ready])
    answers += ask(title, "export", hosts=[host for host in nodes if host.name not in ready])
    return [(answer.host, answer.why) for answer in answers if not answer.ok]


def _receive(archive: Path, target: Path, secrets: Sequence[str]) -> Mapping[str, Any]:
    """Unpack one host's archive below `target`; returns the versions in it."""
    if not archive.exists():
        return {}
    unpack(archive, target, secrets)
    found: Mapping[str, Any] = read_json(target / "versions.json")
    return found
