"""What a provider is asked for, and what it must be able to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from enos_crdb.command import Runner
from enos_crdb.config import Configuration
from enos_crdb.config.emulation import Link
from enos_crdb.config.resources import PlannedHost
from enos_crdb.config.resources import plan_hosts as _plan_hosts
from enos_crdb.model import Host, Lease, Resources, System


class Provider(Protocol):
    """Hosts on demand. Every method is safe to repeat, also after a crash half-way."""

    @property
    def control_path_dir(self) -> Path:
        """Where ssh keeps its control sockets; emptied by `release`."""

    @property
    def system(self) -> System | None:
        """What the hosts run, or will run; None when only they can tell."""

    @property
    def sees_binds(self) -> bool:
        """Whether the hosts see the directories of `Request.read_only_binds`."""

    @property
    def owns_hosts(self) -> bool:
        """Whether `release` ends the hosts, with all that is on them. If not, they are cleaned before."""

    def problems(self) -> list[str]:
        """What this machine or account lacks, a sentence each; nothing is changed."""

    def prepare(self) -> None:
        """Make this machine ready. Raises `PrerequisiteError`."""

    def acquire(self, layers: Mapping[str, str]) -> Resources:
        """Reserve or start the hosts; gives the same names and addresses when called again.

        ``layers``: host name -> prepared layer to boot from (only for a `LayeringProvider`). A host whose ``system``
        is None or which lacks an address is asked for them afterwards: an address belongs to the network of that name
        in whose subnet it is (there may be several subnets of one name).
        Raises `ProviderError`.
        """

    def release(self) -> None:
        """Give everything back; nothing is left behind. Raises `ProviderError`.

        Also in a directory that never saw the hosts, where the request alone tells which they are.
        """


@runtime_checkable
class LayeringProvider(Provider, Protocol):
    """A provider that can keep what was installed on a host and start other hosts from it."""

    def layer_exists(self, key: str) -> bool:
        """Whether a layer of that key is in the cache."""

    def building(self, keys: Mapping[str, tuple[str, ...]]) -> AbstractContextManager[Mapping[str, Host]]:
        """Start one host per key (key -> roles); what is installed in the block becomes the layer.

        The layer is complete when the block ended; an exception in the block discards it. Layers that another process
        installed while this one waited for it have no host.
        """


@runtime_checkable
class LeasedProvider(Provider, Protocol):
    """A provider whose hosts are ours for a limited time."""

    def lease(self) -> Lease | None:
        """The reservation of the hosts that `acquire` gave; None before."""


@runtime_checkable
class EmulatingProvider(Provider, Protocol):
    """A provider that can delay packets itself, for hosts whose kernel has no netem."""

    def emulate(self, links: Sequence[Link]) -> None:
        """Delay, lose and slow down packets as `links` say, and no others; none clears all of it.

        Safe to repeat. Raises `NetworkError` when it cannot be done; nothing of it is left then.
        """

    def emulation_faults(self, links: Sequence[Link]) -> list[str]:
        """What is not in force of `links` (a process that died, a rule that went), a sentence each."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a provider is asked for."""

    configuration: Configuration
    directory: Path
    cache: Path
    runner: Runner
    notify: Callable[[str], None]
    read_only_binds: Mapping[Path, str] = field(default_factory=dict)


def plan_hosts(configuration: Configuration) -> tuple[PlannedHost, ...]:
    """Every host that the file asks for, in file order."""
    return _plan_hosts(configuration.machines)
