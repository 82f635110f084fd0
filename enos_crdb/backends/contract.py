"""What a database backend is to the rest of enos_crdb. Values only, no effects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from enos_crdb.model import Host, Resources

Options_contra = TypeVar("Options_contra", contravariant=True)


DATABASE_PROGRAMS = "/var/lib/enos_crdb/database"
"""Where the Ansible role of every backend leaves what a run starts on hosts of role ``database``, under equal names:
``reset`` (status 0: the database is fresh) and ``counters`` (prints one JSON object); and where `Reset` or ``exports``
say so, ``ready``, ``compare`` and ``export``."""


@dataclass(frozen=True, kw_only=True)
class Reset:
    """Where the program ``reset`` runs: on every host, or ``through_one`` for all, the first that is ``ready``.

    With ``compared`` every host runs ``compare`` afterwards.
    """

    through_one: bool = False
    compared: bool = False


EACH = Reset()
THROUGH_ONE = Reset(through_one=True)
THROUGH_ONE_COMPARED = Reset(through_one=True, compared=True)


@dataclass(frozen=True, kw_only=True)
class File:
    """A small file on a Keystone host that only Keystone may read (a client certificate, its key)."""

    path: str
    content: str


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How one Keystone reaches its database.

    ``url`` is SQLAlchemy's, with the password. ``parameters`` are those of the engine plugin ``keystone_crdb``,
    and ``schema_parameters`` replace them while ``keystone-manage db_sync`` runs.
    """

    url: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    schema_parameters: Mapping[str, str] = field(default_factory=dict)
    files: tuple[File, ...] = ()


class Backend(Protocol[Options_contra]):
    """A database under test. ``options`` is always the section ``database`` of the deployment file."""

    @property
    def name(self) -> str:
        """As in the deployment file."""

    @property
    def ansible_role(self) -> str:
        """Ansible role that installs, configures and removes it."""

    @property
    def installs(self) -> tuple[str, ...]:
        """Ansible roles whose files decide what an installation leaves on a host."""

    @property
    def files(self) -> tuple[str, ...]:
        """Globs of the configuration and log files that are kept."""

    @property
    def exports(self) -> bool:
        """Whether hosts have the program ``export``, which writes some of ``files`` before they are collected."""

    @property
    def resets(self) -> Reset:
        """How Keystone's database is brought back to its fresh state."""

    def installation(self, options: Options_contra) -> dict[str, Any]:
        """Variables of the Ansible role that decide what it installs; they decide the name of the layer, too."""

    def new_secrets(self, options: Options_contra, resources: Resources, secrets: Mapping[str, str]) -> dict[str, str]:
        """Secrets that need the hosts' addresses (certificates) and are not among ``secrets`` yet."""

    def variables(
        self, options: Options_contra, resources: Resources, secrets: Mapping[str, str]
    ) -> dict[str, dict[str, Any]]:
        """Variables of the Ansible role for every host of role ``database``, by host name.

        ``secrets`` holds ``database_password`` and what `new_secrets` gave.
        """

    def connection(
        self, options: Options_contra, resources: Resources, keystone: Host, secrets: Mapping[str, str]
    ) -> Connection:
        """How Keystone on the host `keystone` reaches the database."""

    def version_command(self) -> tuple[str, ...]:
        """Command that prints the version of the running server on a host of role ``database``."""
