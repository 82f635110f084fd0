"""Hosts that are there already: own virtual machines, bare metal, this machine."""

from enos_crdb.providers.static.provider import StaticHosts

__all__ = ["StaticHosts"]
