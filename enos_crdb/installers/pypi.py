"""Installer ``pypi``: wheels in a virtualenv, under uWSGI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from enos_crdb.config.openstack import OpenStack
from enos_crdb.model import Host

PORT = 5000


@dataclass(frozen=True, kw_only=True)
class PyPIInstaller:
    """Keystone from a wheelhouse that a lock file of ours describes."""

    name: str = "pypi"
    ansible_role: str = "keystone"
    installs: tuple[str, ...] = ("memcached", "keystone")
    sources: tuple[str, ...] = ()
    wheels: bool = True
    virtualenv: str = "/opt/enos_crdb/keystone"
    unit: str = "keystone.service"
    account: str = "keystone"
    files: tuple[str, ...] = (
        "/etc/keystone/keystone.conf",
        "/etc/keystone/db_sync.conf",
        "/etc/keystone/uwsgi.ini",
        "/etc/memcached.conf",
    )

    def url(self, host: Host) -> str:
        return f"http://{host.addresses['control']}:{PORT}/v3"

    def installation(self, openstack: OpenStack) -> dict[str, Any]:
        return {}

    def variables(self, openstack: OpenStack, host: Host, *, backend: str) -> dict[str, Any]:
        return {"keystone_listen_address": host.addresses["control"], "keystone_port": PORT}

    def removal(self, openstack: OpenStack) -> dict[str, Any]:
        return {}

    def commands(self) -> Mapping[str, tuple[str, ...]]:
        return {}
