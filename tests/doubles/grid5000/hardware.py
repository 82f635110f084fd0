"""What happens to the nodes when jobs begin and end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Hardware(Protocol):
    """The nodes. Names are FQDNs without VLAN. A method returns when it is done."""

    def granted(self, nodes: Sequence[str], user: str) -> None:
        """A job of `user` began: he may log in."""

    def deployed(self, nodes: Sequence[str], environment: str, key: str) -> None:
        """kadeploy finished: the nodes run `environment`, and root may log in with `key` (a public key per line)."""

    def attached(self, nodes: Sequence[str], interface: str, vlan: str) -> None:
        """An interface was put into a VLAN."""

    def withdrawn(self, nodes: Sequence[str]) -> None:
        """The job ended: nobody may log in, and what ran on the nodes is gone."""


class NoHardware:
    """There are no nodes behind the names."""

    def granted(self, nodes: Sequence[str], user: str) -> None: ...

    def deployed(self, nodes: Sequence[str], environment: str, key: str) -> None: ...

    def attached(self, nodes: Sequence[str], interface: str, vlan: str) -> None: ...

    def withdrawn(self, nodes: Sequence[str]) -> None: ...
