"""What is said beside a run's numbers in columns: software, load, hosts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from enos_crdb.config.bench import Bench, OpenLoop, Rps
from enos_crdb.record import RunRecord
from enos_crdb.store import read_json


def said(directory: Path, run: RunRecord, host: str) -> Mapping[str, Any]:
    """What `collect` read on a host: versions of things, packages, virtualenvs, kernel."""
    path = directory / "hosts" / host / "versions.json"
    found: Mapping[str, Any] = read_json(path) if path.exists() else run.versions.get(host, {})
    return found


def labels(directory: Path, run: RunRecord) -> dict[str, Any]:
    """What is said beside the numbers, in columns."""
    bench, openstack, backend = run.configuration.bench, run.configuration.openstack, run.backend
    keystone = openstack.keystone
    versions = Versions(directory, run)
    return {
        "backend": backend,
        "backend_version": versions.of("database", "database", backend, "mariadb-server", "mariadb"),
        "installer": openstack.installer,
        "release": openstack.release,
        "keystone_version": versions.of("keystone", "keystone"),
        "workers": keystone.workers,
        "threads": keystone.threads,
        "cache": keystone.cache,
        "password_hash_rounds": keystone.password_hash_rounds,
        "token_provider": keystone.token_provider,
        "keystone_crdb": keystone.keystone_crdb,
        "load": bench.load,
        "rallies": len(run.clients),
        "runner": bench.runner.type,
        "times": bench.times,
        "concurrency": bench.concurrency,
        "rate_per_s": _rate_per_s(bench),
        "placement": bench.placement,
        "warm_up_s": bench.warm_up_s,
        "steady_s": bench.steady_s or "",
        "reset": bench.reset,
        "database_hosts": len(run.names("database")),
        "keystone_hosts": len(run.names("keystone")),
        "rally_openstack_version": versions.of("rally", "rally-openstack"),
        "system": versions.of("database", "system", number=False),
        "provider": run.provider,
        "enos_crdb": run.provenance.enos_crdb,
        "commit": run.provenance.commit or "",
        "started_at": run.started_at,
    }


def _rate_per_s(bench: Bench) -> float | str:
    """Asked for by an open loop; empty in a closed one."""
    if isinstance(bench.runner, OpenLoop):
        return bench.runner.rate_per_s
    return bench.runner.rps if isinstance(bench.runner, Rps) else ""


class Versions:
    """What the hosts said they run: ``hosts/<host>/versions.json``, or the record's ``versions``."""

    def __init__(self, directory: Path, run: RunRecord) -> None:
        self._hosts = run.hosts
        self._flat = {host.name: dict(_leaves(said(directory, run, host.name))) for host in self._hosts}

    def of(self, role: str, *things: str, number: bool = True) -> str:
        """The version of the first of `things` known on the first host with `role` that knows it; ``?`` if none."""
        for thing in things:
            for host in self._hosts:
                told = self._flat[host.name].get(thing, "") if role in host.roles else ""
                if told:
                    digits = re.search(r"\d+(\.\d+)+", told) if number else None
                    return digits[0] if digits else told.splitlines()[0]
        return "?"


def _leaves(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        else:
            yield str(name), str(value)
