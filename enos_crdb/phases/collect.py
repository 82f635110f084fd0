"""Bring back what the hosts know: journals, configurations as they are there, versions, CPU and memory."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from enos_crdb import events, inventory, record
from enos_crdb.masking import to_mask
from enos_crdb.phases.context import Context
from enos_crdb.phases.unpack import unpack
from enos_crdb.store import read_json

SAMPLES_ON_HOSTS = "/var/lib/enos_crdb/sampler"
"""Where the Ansible role ``sampler`` writes a run's CPU and memory."""


def collect(context: Context, directory: Path) -> None:
    """Collect from every host into the run's ``hosts/<host>``, passwords masked, and keep the versions in its record.

    A host that cannot be reached does not stop the others: the record's warnings name it.
    """
    run = record.read(directory)
    versions, warnings = dict(run.versions), list(run.warnings)
    incoming = directory / "incoming"
    incoming.mkdir(exist_ok=True)
    try:
        result = context.play(
            "collect.yml",
            variables={
                "collect_to": str(incoming),
                "collect_since": datetime.fromisoformat(run.started_at).timestamp(),
                "collect_named": {"usage.csv": f"{SAMPLES_ON_HOSTS}/{directory.name}.csv"},
            },
            host_variables={
                host.name: inventory.collected(context.configuration, host) for host in context.resources.hosts
            },
            tolerate=True,
        )
        for failure in result.failures:
            warning = f"collecting from {failure.host} failed: {failure.message}"
            events.warn(warning)
            warnings.append(warning)
        secrets = to_mask(context.secrets.values())
        for host in context.resources.hosts:
            if found := _receive(incoming / f"{host.name}.tar.gz", directory / "hosts" / host.name, secrets):
                versions[host.name] = found
    finally:
        shutil.rmtree(incoming)
    record.write(replace(run, versions=versions, warnings=tuple(dict.fromkeys(warnings))), directory)


def _receive(archive: Path, target: Path, secrets: Sequence[str]) -> Mapping[str, Any]:
    """Unpack one host's archive below `target`; returns the versions in it."""
    if not archive.exists():
        return {}
    unpack(archive, target, secrets)
    found: Mapping[str, Any] = read_json(target / "versions.json")
    return found
