"""Virtual machines of this machine, made by Vagrant through EnOSlib."""

from enos_crdb.providers.vagrant.hosts import VagrantHosts

__all__ = ["VagrantHosts"]
