"""Bring back what the hosts know: journals, configurations as they are there, versions, CPU and memory."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from enos_crdb import events, inventory
from enos_crdb.phases.context import Context
from enos_crdb.phases.unpack import unpack
from enos_crdb.store import read_json, write_json

SAMPLES_ON_HOSTS = "/var/lib/enos_crdb/sampler"
"""Where the Ansible role ``sampler`` writes a run's CPU and memory."""


def collect(context: Context, directory: Path) -> None:
    """Collect from every host into the run's ``hosts/<host>``, passwords masked, and note the versions in its manifest.

    A host that cannot be reached does not stop the others: it is named in the manifest's warnings.
    """
    manifest = read_json(directory / "manifest.json")
    incoming = directory / "incoming"
    incoming.mkdir(exist_ok=True)
    try:
        result = context.ansible.run(
            "collect.yml",
            context.resources.hosts,
            variables={
                **inventory.variables(context.configuration),
                "collect_to": str(incoming),
                "collect_since": datetime.fromisoformat(manifest["started_at"]).timestamp(),
                "collect_named": {"usage.csv": f"{SAMPLES_ON_HOSTS}/{directory.name}.csv"},
            },
            host_variables=_host_variables(context),
            tolerate=True,
        )
        for failure in result.failures:
            warning = f"collecting from {failure.host} failed: {failure.message}"
            events.warn(warning)
            manifest["warnings"] = [*dict.fromkeys([*manifest["warnings"], warning])]
        secrets = tuple(context.secrets.values())
        for host in context.resources.hosts:
            if versions := _receive(incoming / f"{host.name}.tar.gz", directory / "hosts" / host.name, secrets):
                manifest["versions"][host.name] = versions
    finally:
        shutil.rmtree(incoming)
    write_json(directory / "manifest.json", manifest)


def _host_variables(context: Context) -> dict[str, dict[str, Any]]:
    known = inventory.host_variables(context.configuration, context.resources, context.secrets)
    return {
        host.name: {**known[host.name], **inventory.collected(context.configuration, host)}
        for host in context.resources.hosts
    }


def _receive(archive: Path, target: Path, secrets: Sequence[str]) -> object:
    """Unpack one host's archive below `target`; returns what versions it tells of."""
    if not archive.exists():
        return None
    unpack(archive, target, secrets)
    return read_json(target / "versions.json")
