"""Which software a host gets, and the name of the prepared layer that holds it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from enos_crdb import shipped
from enos_crdb.backends import BACKENDS
from enos_crdb.config import Configuration
from enos_crdb.config.cockroachdb import CockroachDB
from enos_crdb.installers import INSTALLERS
from enos_crdb.model import LOAD

INSTALLED_FROM = (
    "tasks/preflight.yml",
    "tasks/facts.yml",
    "tasks/install.yml",
    "defaults",
    "vars",
    "library",
    "module_utils",
)
"""The parts of an Ansible role that decide what its installation leaves on a host."""

SHARED = ("virtualenv",)
"""Ansible roles that others install with."""


def ansible_roles(configuration: Configuration, roles: tuple[str, ...]) -> tuple[str, ...]:
    """The Ansible roles whose software a host with `roles` gets, in the order of installation."""
    wanted: list[str] = []
    if "database" in roles:
        wanted += BACKENDS[configuration.database.backend].installs
    if "keystone" in roles:
        wanted += INSTALLERS[configuration.openstack.installer].installs
    if "rally" in roles or LOAD in roles:
        wanted += ["rally"]
    if "rally" in roles and proxied(configuration):
        wanted += ["haproxy"]
    return tuple(wanted)


def layered(key: str) -> tuple[str, ...]:
    """The Ansible roles whose software is in the layer of that key."""
    return tuple(key.split("-")[:-1])


def proxied(configuration: Configuration) -> bool:
    """Whether Keystone reaches the database through haproxy on the hosts of role ``rally``."""
    return isinstance(configuration.database, CockroachDB) and configuration.database.haproxy


def layer_key(configuration: Configuration, roles: tuple[str, ...], locks: tuple[Path, ...], suite: str) -> str:
    """A name that changes whenever the installed software would: ``postgresql-memcached-keystone-<12 hex>``."""
    digest = hashlib.sha256()
    wanted = ansible_roles(configuration, roles)
    for name in (*wanted, *SHARED):
        for path in _sources(shipped.directory("playbooks") / "roles" / name):
            digest.update(f"{name} {path.name}\n".encode() + path.read_bytes())
    if "keystone" in roles:
        digest.update(keystone_crdb_digest().encode())
        installer = INSTALLERS[configuration.openstack.installer]
        digest.update(json.dumps(installer.installation(configuration.openstack), sort_keys=True).encode())
        for name in installer.sources:
            digest.update(files_digest(shipped.directory(name)).encode())
    for lock in locks:
        digest.update(lock.read_bytes())
    digest.update(f"{suite} {configuration.openstack.release}".encode())
    if "database" in roles:
        chosen = BACKENDS[configuration.database.backend].installation(configuration.database)
        digest.update(json.dumps(chosen, sort_keys=True).encode())
    return f"{'-'.join(wanted)}-{digest.hexdigest()[:12]}"


def keystone_crdb_digest() -> str:
    """A name (16 hex) for the sources of the package that is installed beside Keystone."""
    directory = shipped.directory("keystone_crdb")
    return _digest(directory, (directory / "pyproject.toml", *sorted((directory / "src").rglob("*.py"))))[:16]


def files_digest(directory: Path) -> str:
    """A digest of the names and contents of all files below `directory`."""
    return _digest(directory, sorted(p for p in directory.rglob("*") if p.is_file() and p.suffix != ".pyc"))


def _digest(directory: Path, paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.relative_to(directory)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _sources(role: Path) -> list[Path]:
    found: list[Path] = []
    for part in INSTALLED_FROM:
        path = role / part
        found += (
            [path]
            if path.is_file()
            else [file for file in sorted(path.rglob("*")) if file.is_file() and file.suffix != ".pyc"]
        )
    return found
