"""EnOSlib configuration of the `nspawn` provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from enoslib.infra.configuration import BaseConfiguration

_NETWORK = {"type": "object", "properties": {"cidr": {"type": "string"}}, "additionalProperties": False}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "suite": {"type": ["string", "null"], "pattern": "^[a-z]+$"},
        "mirror": {"type": ["string", "null"]},
        "resources": {
            "type": "object",
            "properties": {
                "machines": {"type": "array", "minItems": 1, "maxItems": 240, "items": {"$ref": "#/$defs/machine"}},
                "networks": {
                    "type": "object",
                    "properties": {"control": _NETWORK, "database": _NETWORK},
                    "additionalProperties": False,
                },
            },
            "required": ["machines"],
            "additionalProperties": False,
        },
    },
    "required": ["resources"],
    "additionalProperties": False,
    "$defs": {
        "machine": {
            "type": "object",
            "properties": {
                # Part of the container's name, of which 64 characters may be used.
                "name": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?$"},
                "roles": {"type": "array", "items": {"type": "string"}},
                "site": {"type": "string"},
                "cpus": {"type": ["number", "null"], "exclusiveMinimum": 0},
                "memory_mb": {"type": ["integer", "null"], "minimum": 64},
                "layer": {"type": ["string", "null"], "pattern": "^[A-Za-z0-9_.-]+$"},
            },
            "required": ["name", "roles"],
            "additionalProperties": False,
        }
    },
}


@dataclass(frozen=True, kw_only=True)
class HostRequest:
    """One local host. ``cpus`` is in cores; ``layer`` the key of a prepared layer to boot from."""

    name: str
    roles: tuple[str, ...]
    site: str = "local"
    cpus: float | None = None
    memory_mb: int | None = None
    layer: str | None = None

    @classmethod
    def from_dictionary(cls, dictionary: Mapping[str, Any]) -> HostRequest:
        return cls(**{**dictionary, "roles": tuple(dictionary["roles"])})

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "roles": list(self.roles)}


@dataclass(frozen=True, kw_only=True)
class NetworkRequest:
    """``name`` is ``control`` or ``database``; ``cidr`` an IPv4 subnet or ``auto``."""

    name: str
    cidr: str = "auto"


class Configuration(BaseConfiguration):  # type: ignore[misc]  # EnOSlib has no types
    """What the provider is asked for.

    ``suite``: Debian or Ubuntu suite of the hosts; ``None`` is this machine's own where it is known to work.
    ``mirror``: where the base image comes from; ``None`` is this machine's own.
    """

    _SCHEMA = SCHEMA

    def __init__(self) -> None:
        super().__init__()
        self._machine_cls = HostRequest
        self._network_cls = NetworkRequest
        self.suite: str | None = None
        self.mirror: str | None = None
        self.machines: list[HostRequest] = []
        self.networks: list[NetworkRequest] = []

    @classmethod
    def from_dictionary(cls, dictionary: Mapping[str, Any], validate: bool = True) -> Configuration:
        if validate:
            cls.validate(dictionary)
        self = cls()
        self.suite = dictionary.get("suite")
        self.mirror = dictionary.get("mirror")
        resources = dictionary["resources"]
        self.machines = [HostRequest.from_dictionary(machine) for machine in resources["machines"]]
        self.networks = [
            NetworkRequest(name=name, cidr=network.get("cidr", "auto"))
            for name, network in resources.get("networks", {}).items()
        ]
        return self

    @property
    def cidrs(self) -> dict[str, str]:
        """Network's name to requested subnet."""
        return {network.name: network.cidr for network in self.networks}

    def to_dict(self) -> dict[str, Any]:
        return {
            "suite": self.suite,
            "mirror": self.mirror,
            "resources": {
                "machines": [machine.to_dict() for machine in self.machines],
                "networks": {network.name: {"cidr": network.cidr} for network in self.networks},
            },
        }
