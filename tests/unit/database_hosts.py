"""Hosts of a database on two networks, and its section of a deployment file."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from enos_crdb.config.database import Database
from enos_crdb.model import Host, Network, Resources


def host(name: str, index: int, *roles: str, site: str = "local") -> Host:
    return Host(
        name=name,
        roles=roles,
        address=f"10.0.1.{index}",
        addresses={"control": f"10.0.1.{index}", "database": f"10.0.2.{index}"},
        site=site,
    )


def resources(*hosts: Host) -> Resources:
    return Resources(
        hosts=hosts,
        networks=(Network(name="control", cidr="10.0.1.0/24"), Network(name="database", cidr="10.0.2.0/24")),
    )


def options(**values: Any) -> Any:
    return TypeAdapter[Any](Database).validate_python(values)
