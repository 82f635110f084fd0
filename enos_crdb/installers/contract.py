"""What an installer of Keystone is to the rest of enos_crdb. Values only, no effects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from enos_crdb.config.openstack import OpenStack
from enos_crdb.model import Host


class Installer(Protocol):
    """How OpenStack gets on the hosts of role ``keystone``. All end with the same Keystone, equally configured."""

    @property
    def name(self) -> str:
        """As in the deployment file."""

    @property
    def ansible_role(self) -> str:
        """Ansible role with the tasks ``preflight``, ``install``, ``deploy`` and ``remove``."""

    @property
    def installs(self) -> tuple[str, ...]:
        """Ansible roles whose files decide what an installation leaves on a host, in that order."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Directories of this installation (`enos_crdb.shipped`) that are sent to the host, and the Ansible variables
        that say where they are."""

    @property
    def wheels(self) -> bool:
        """Whether Keystone is installed from a wheelhouse of ours."""

    @property
    def virtualenv(self) -> str:
        """Where Keystone's Python is on the host."""

    @property
    def unit(self) -> str:
        """systemd's unit of Keystone."""

    @property
    def account(self) -> str:
        """Name of the Unix account that Keystone runs as."""

    @property
    def files(self) -> tuple[str, ...]:
        """Globs of configuration and log files that are collected; passwords in them are masked then."""

    def url(self, host: Host) -> str:
        """Address of Keystone's API on `host`, with the version."""

    def installation(self, openstack: OpenStack) -> dict[str, Any]:
        """Variables of the Ansible role that decide what it installs; they decide the name of the layer, too."""

    def variables(self, openstack: OpenStack, host: Host, *, backend: str) -> dict[str, Any]:
        """Variables of every other playbook, beside those that say how Keystone is configured."""

    def removal(self, openstack: OpenStack) -> dict[str, Any]:
        """Variables of the Ansible role that decide how much ``remove`` takes away, equal for all hosts."""

    def commands(self) -> Mapping[str, tuple[str, ...]]:
        """Thing -> command that prints its version on the host."""
