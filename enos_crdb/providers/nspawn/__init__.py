"""Local hosts: Debian machines in systemd-nspawn containers, each with two networks."""

from enos_crdb.providers.nspawn.configuration import Configuration, HostRequest, NetworkRequest
from enos_crdb.providers.nspawn.prerequisites import Lack
from enos_crdb.providers.nspawn.provider import Nspawn

__all__ = ["Configuration", "HostRequest", "Lack", "NetworkRequest", "Nspawn"]
