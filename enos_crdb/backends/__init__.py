"""Database backends: what Ansible, Keystone and `collect` must know of each. Values only, no effects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from enos_crdb.backends.galera import GaleraBackend
from enos_crdb.backends.mariadb import MariaDBBackend
from enos_crdb.backends.postgresql import PostgreSQLBackend
from enos_crdb.model import Host, Resources

Options_contra = TypeVar("Options_contra", contravariant=True)


class Backend(Protocol[Options_contra]):
    """A database under test."""

    @property
    def name(self) -> str:
        """As in the experiment file."""

    @property
    def ansible_role(self) -> str:
        """Ansible role that installs, configures, resets, counts and removes it."""

    @property
    def installs(self) -> tuple[str, ...]:
        """Ansible roles whose files decide what an installation leaves on a host."""

    @property
    def files(self) -> tuple[str, ...]:
        """Globs of the configuration and log files that are kept."""

    def variables(
        self, options: Options_contra, resources: Resources, secrets: Mapping[str, str]
    ) -> dict[str, dict[str, Any]]:
        """Variables of the Ansible role for every host of role ``database``, by host name.

        ``options`` is the section ``database`` of the experiment file; ``secrets`` holds ``database_password``.
        """

    def connection(self, resources: Resources, keystone: Host, secrets: Mapping[str, str]) -> str:
        """The SQLAlchemy URL (with the password) that Keystone on the host `keystone` connects to."""

    def version_command(self) -> tuple[str, ...]:
        """Command that prints the version of the running server on a host of role ``database``."""


BACKENDS: dict[str, Backend[Any]] = {
    backend.name: backend for backend in (PostgreSQLBackend(), MariaDBBackend(), GaleraBackend())
}
"""Every backend by its name in the experiment file."""
