"""The section ``openstack.devstack``: which DevStack, from where, and how long it may take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from enos_crdb.config.base import Section

Settings = dict[str, str | int | bool]

DECIDED: Mapping[str, str] = {
    "ADMIN_PASSWORD": "enos_crdb, which generates it",
    "API_WORKERS": "`openstack.keystone.workers`",
    "DATABASE_HOST": "the `database` section of the deployment file",
    "DATABASE_PASSWORD": "the `database` section of the deployment file",
    "DATABASE_TYPE": "the `database` section of the deployment file",
    "DEST": "enos_crdb, which expects it in /opt/stack",
    "ENABLED_SERVICES": "enos_crdb, which installs Keystone alone",
    "GIT_BASE": "`git_base`",
    "HOST_IP": "the hosts",
    "KEYSTONE_ENABLE_CACHE": "`openstack.keystone.cache`",
    "KEYSTONE_PASSWORD_HASH_ROUNDS": "`openstack.keystone.password_hash_rounds`",
    "KEYSTONE_TOKEN_FORMAT": "`openstack.keystone.token_provider`",
    "LOGFILE": "enos_crdb, which follows it",
    "OFFLINE": "enos_crdb, which sets it when nothing is to be installed",
    "RECREATE_KEYSTONE_DB": "enos_crdb: the hosts share one database",
    "REGION_NAME": "the hosts: each is a region",
    "VERBOSE": "enos_crdb, which follows the log",
}
"""Variables of ``local.conf`` that another key decides, or enos_crdb itself."""


def _free(settings: Settings) -> Settings:
    for name, value in settings.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"'{name}' is not the name of a variable: it has letters, digits and '_' only")
        if name.startswith("ENOS_CRDB_") or name in DECIDED:
            raise ValueError(f"'{name}' is decided by {DECIDED.get(name, 'enos_crdb')}; leave it out here")
        if re.search(r"[\n\r]", str(value)):
            raise ValueError(f"the value of '{name}' must be on one line")
    return settings


def _git_base(value: str) -> str:
    if not re.fullmatch(r"(https?|git|ssh|file)://[^\s'\"@]+", value):
        raise ValueError(
            f"'{value}' is not the address of git repositories; write one like https://opendev.org, without a password "
            "(repositories are cloned from <git_base>/openstack/devstack and so on)"
        )
    return value.rstrip("/")


def _revision(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/+-]*", value) or ".." in value:
        raise ValueError(f"'{value}' is not the name of a branch, a tag or a commit")
    return value


def _pins(value: list[str]) -> list[str]:
    for pin in value:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*===[A-Za-z0-9.+!]+", pin):
            raise ValueError(f"'{pin}' is not a pin; write one like SQLAlchemy===2.0.52")
    return value


Revision = Annotated[str, AfterValidator(_revision)]


class DevStack(Section):
    """DevStack, with ``installer: devstack``."""

    git_base: Annotated[str, AfterValidator(_git_base)] = "https://opendev.org"
    """Base address of the git repositories (``<git_base>/openstack/keystone``...). The hosts must reach it: name a
    mirror where they have no access to the Internet."""
    branch: Revision | None = None
    """Branch of DevStack, which decides what is installed; by default ``stable/<release>``. ``master`` becomes the
    next release."""
    ref: Revision | None = None
    """Tag or commit of DevStack on that branch; by default the newest commit."""
    constraints: Annotated[list[str], AfterValidator(_pins)] = []
    """Pins of Python packages that replace the release's, each like ``SQLAlchemy===2.0.52``."""
    timeout_s: int = Field(default=3600, ge=10, le=86400)
    """Longest duration of ``stack.sh``, in seconds; a longer one is ended."""
    rally: bool = False
    """Also install DevStack's plugin for Rally on the Keystone hosts, with its tables in SQLite. The load of ``bench``
    comes from the hosts of role ``rally`` in both cases."""
    rally_ref: Revision = "4.1.0"
    """Tag, branch or commit of that plugin (``openstack/rally-openstack`` has no stable branches); by default the
    version that ``bench`` uses."""
    demo_accounts: bool = False
    """Create DevStack's demo projects, users and groups, for ``source openrc demo demo``."""
    clean: bool = False
    """``destroy --hosts keep`` runs ``clean.sh`` instead of ``unstack.sh``: DevStack's configuration and virtual
    environment are removed, too."""
    settings: Annotated[Settings, AfterValidator(_free)] = {}
    """Any other variable of ``local.conf``, passed on unchanged (``KEYSTONE_BRANCH: 29.0.2``)."""
