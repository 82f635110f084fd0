"""Installers: what Ansible, clients and `collect` must know of each way OpenStack gets on a host. Values only."""

from __future__ import annotations

from enos_crdb.installers.contract import Installer
from enos_crdb.installers.devstack import DevStackInstaller
from enos_crdb.installers.pypi import PyPIInstaller

INSTALLERS: dict[str, Installer] = {installer.name: installer for installer in (PyPIInstaller(), DevStackInstaller())}
"""Every installer by its name in the deployment file."""

__all__ = ["INSTALLERS", "Installer"]
