"""Installer ``devstack``: a stock DevStack with a plugin of ours, Keystone behind Apache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from enos_crdb.config.openstack import OpenStack
from enos_crdb.model import Host

HOME = "/opt/stack"
DATABASE_TYPES: Mapping[str, str] = {
    "postgresql": "enos_postgresql",
    "mariadb": "enos_mariadb",
    "galera": "enos_mariadb",
    "cockroachdb": "enos_cockroachdb",
}
"""Backend -> the database type that our plugin registers with DevStack."""

CONSTRAINTS = ("SQLAlchemy===2.0.52",)
"""keystone_crdb and sqlalchemy-cockroachdb need a newer SQLAlchemy than the constraints of 2025.2 and 2026.1 have; one
version for all of them, on every backend."""


@dataclass(frozen=True, kw_only=True)
class DevStackInstaller:
    """Keystone as OpenStack's developers run it."""

    name: str = "devstack"
    ansible_role: str = "devstack"
    installs: tuple[str, ...] = ("memcached", "devstack")
    sources: tuple[str, ...] = ("devstack_plugin",)
    wheels: bool = False
    virtualenv: str = f"{HOME}/data/venv"
    unit: str = "devstack@keystone.service"
    account: str = "stack"
    files: tuple[str, ...] = (
        "/etc/keystone/keystone.conf",
        "/etc/keystone/keystone-uwsgi-public.ini",
        f"{HOME}/enos_crdb-files/db_sync.conf",
        f"{HOME}/devstack/local.conf",
        f"{HOME}/logs/stack.sh.log",
        f"{HOME}/logs/stack.sh.log.summary",
        "/var/lib/enos_crdb/devstack/*.out",
        "/etc/apache2/sites-available/keystone-api.conf",
        "/var/log/apache2/*.log",
        "/etc/memcached.conf",
    )

    def url(self, host: Host) -> str:
        return f"http://{host.addresses['control']}/identity/v3"

    def installation(self, openstack: OpenStack) -> dict[str, Any]:
        asked = openstack.devstack
        return {
            "devstack_git_base": asked.git_base,
            "devstack_branch": asked.branch or f"stable/{openstack.release}",
            "devstack_ref": asked.ref or "",
        }

    def variables(self, openstack: OpenStack, host: Host, *, backend: str) -> dict[str, Any]:
        asked = openstack.devstack
        own = {pin.partition("===")[0].lower() for pin in asked.constraints}
        return {
            **self.installation(openstack),
            "keystone_listen_address": "",  # Apache and DevStack's uWSGI do
            "keystone_account": self.account,
            "keystone_unit": self.unit,
            "devstack_home": HOME,
            "devstack_address": host.addresses["control"],
            "devstack_database_type": DATABASE_TYPES[backend],
            "devstack_constraints": [
                *(pin for pin in CONSTRAINTS if pin.partition("===")[0].lower() not in own),
                *asked.constraints,
            ],
            "devstack_demo_accounts": asked.demo_accounts,
            "devstack_rally": asked.rally,
            "devstack_rally_ref": asked.rally_ref,
            "devstack_settings": dict(asked.settings),
            "devstack_timeout_s": asked.timeout_s,
        }

    def removal(self, openstack: OpenStack) -> dict[str, Any]:
        return {"devstack_clean": openstack.devstack.clean}

    def commands(self) -> Mapping[str, tuple[str, ...]]:
        def commit(name: str) -> tuple[str, ...]:
            # As its owner: git refuses a repository of somebody else.
            return ("runuser", "--user=stack", "--", "git", "-C", f"{HOME}/{name}", "log", "-1", "--format=%H %cI")

        return {f"{name}_commit": commit(name) for name in ("devstack", "keystone", "requirements")}
