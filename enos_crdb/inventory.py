"""What Ansible is told: variables for all hosts and for each, computed from the configuration. Values only."""

from __future__ import annotations

import secrets as random_source
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from enos_crdb import keystone, locks, shipped, software
from enos_crdb.backends import BACKENDS
from enos_crdb.config import Configuration
from enos_crdb.installers import INSTALLERS
from enos_crdb.model import LOAD, Host, Resources

PASSWORDS = ("database_password", "keystone_admin_password")


def new_secrets() -> dict[str, str]:
    """Fresh passwords and keys for a deployment (letters, digits, ``-`` and ``_``: no quoting anywhere)."""
    return {**{name: random_source.token_urlsafe(24) for name in PASSWORDS}, **keystone.new_keys()}


def host_secrets(configuration: Configuration, resources: Resources, secrets: Mapping[str, str]) -> dict[str, str]:
    """Secrets that need the hosts' addresses and are not among `secrets` yet (certificates)."""
    return BACKENDS[configuration.database.backend].new_secrets(configuration.database, resources, secrets)


def lock_files(configuration: Configuration) -> dict[str, Path]:
    """The lock file of each virtualenv of ours: ``keystone`` (not with every installer) and ``rally``."""
    directory = shipped.directory("playbooks") / "locks"
    found = {"rally": locks.lock_file(directory, "rally")}
    if INSTALLERS[configuration.openstack.installer].wheels:
        release = locks.keystone_lock(configuration.openstack.release)
        found = {"keystone": locks.lock_file(directory, release), **found}
    return found


def install_variables(configuration: Configuration, keystone_crdb: Path) -> dict[str, Any]:
    """Variables of ``install.yml``, equal for all hosts; `keystone_crdb` is its wheel on this machine."""
    return {
        **_common(configuration),
        **installation(configuration),
        **keystone.install_variables(configuration.openstack, keystone_crdb=str(keystone_crdb)),
    }


def installation(configuration: Configuration) -> dict[str, Any]:
    """Variables that decide which database is installed. Raises `ConfigurationError` when a local file is amiss."""
    return BACKENDS[configuration.database.backend].installation(configuration.database)


def variables(configuration: Configuration) -> dict[str, Any]:
    """Variables of every other playbook, equal for all hosts."""
    return _common(configuration)


def host_variables(
    configuration: Configuration, resources: Resources, secrets: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Variables of each host, by its name; they hold passwords and keys."""
    backend = BACKENDS[configuration.database.backend]
    database = configuration.database
    connections = {
        host.name: backend.connection(database, resources, host, secrets) for host in resources.with_role("keystone")
    }
    merged: dict[str, dict[str, Any]] = {host.name: {} for host in resources.hosts}
    for part in (
        backend.variables(database, resources, secrets),
        keystone.variables(configuration.openstack, resources, secrets, connections, backend=database.backend),
    ):
        for name, values in part.items():
            merged[name].update(values)
    return merged


def _common(configuration: Configuration) -> dict[str, Any]:
    backend = BACKENDS[configuration.database.backend]
    installer = INSTALLERS[configuration.openstack.installer]
    return {
        "database_role": backend.ansible_role,
        "keystone_role": installer.ansible_role,
        **installer.removal(configuration.openstack),
        "database_proxied": software.proxied(configuration),
    }


def credentials(configuration: Configuration, resources: Resources, secrets: Mapping[str, str]) -> dict[str, str]:
    """Files that are left for the user, by name: ``openrc`` and ``clouds.yaml``."""
    password = secrets["keystone_admin_password"]
    regions = keystone.endpoints(configuration.openstack.installer, resources)
    return {
        "openrc": keystone.openrc(regions, password),
        "clouds.yaml": keystone.clouds_yaml(regions, password),
    }


def collected(configuration: Configuration, host: Host) -> dict[str, Any]:
    """What is worth bringing back from `host`: the journal of every unit, files, versions (the program ``collect``)."""
    backend = BACKENDS[configuration.database.backend]
    files: list[str] = ["/etc/os-release"]
    virtualenvs: dict[str, str] = {}
    commands: dict[str, list[str]] = {}
    if "database" in host.roles:
        files += backend.files
        commands["database"] = list(backend.version_command())
    if "keystone" in host.roles:
        installer = INSTALLERS[configuration.openstack.installer]
        files += installer.files
        virtualenvs["keystone"] = installer.virtualenv
        commands |= {thing: list(words) for thing, words in installer.commands().items()}
    if "rally" in host.roles or LOAD in host.roles:
        files += ["/var/lib/rally/*/*/serve.log"]
        virtualenvs["rally"] = keystone.RALLY_VIRTUALENV
    return {
        "units": ["*"],
        "files": files,
        "virtualenvs": virtualenvs,
        "commands": commands,
    }


def describe(configuration: Configuration) -> list[tuple[str, str]]:
    """The choices that decide what is measured, for people: (what, how)."""
    options = configuration.openstack.keystone
    database = configuration.database.model_dump(mode="json", exclude={"backend"})
    settings = ", ".join(f"{name} {value}" for name, value in database.items() if value not in ({}, [], None))
    bench = configuration.bench
    return [
        ("database", f"{configuration.database.backend} ({settings})"),
        (
            "keystone",
            f"{configuration.openstack.release} by {configuration.openstack.installer}, {options.workers} workers, "
            f"cache {options.cache}, "
            f"{options.password_hash_rounds} hash rounds, {options.token_provider} tokens, "
            f"keystone_crdb {options.keystone_crdb}",
        ),
        (
            "bench",
            f"{len(bench.scenarios)} scenarios, {bench.runner.type}, {bench.times} times, "
            f"concurrency {bench.concurrency}, {bench.load} load from the {bench.placement} hosts, "
            f"reset per {bench.reset}",
        ),
        *(("network", constraint.describe()) for constraint in configuration.emulation.constraints),
    ]
