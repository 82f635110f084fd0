"""What stands in the Vagrantfile that EnOSlib writes: our part of it, and what can be read there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from enos_crdb.config.vagrant import Vagrant

_MACHINE = re.compile(r'^\s*config\.vm\.define "([^"]+)"', re.MULTILINE)
_ADDRESS = re.compile(r':private_network, ip: "([0-9.]+)"')
_PYTHON = "command -v python3 >/dev/null || (apt-get update -q && apt-get install -y -q python3)"


def extra(section: Vagrant, *, prefix: str, kvm: bool) -> str:
    """Ruby for all machines: the box, what Ansible needs, and what EnOSlib's Vagrantfile leaves to defaults.

    ``prefix`` begins the machines' names in libvirt; ``kvm``: this machine has it.
    """
    lines = [
        # By default libvirt would mount the deployment's directory, with its passwords, by NFS.
        'config.vm.synced_folder ".", "/vagrant", disabled: true',
        "config.vm.box_check_update = false",
    ]
    if section.box_version:
        lines.append(f"config.vm.box_version = {literal(section.box_version)}")
    if section.box_url:
        lines.append(f"config.vm.box_url = {literal(section.box_url)}")
    lines.append(f'config.vm.provision "shell", inline: {literal(_PYTHON)}')
    if section.backend == "libvirt":
        lines.append(f"config.vm.provider(:libvirt) {{ |lv| lv.default_prefix = {literal(prefix)} }}")
        if not kvm:
            lines.append('config.vm.provider(:libvirt) { |lv| lv.driver = "qemu" }')
    else:
        lines.append("config.vm.provider(:virtualbox) { |vb| vb.linked_clone = true }")
    return "\n  ".join([*lines, *section.config_extra.splitlines()])


def machine_extra(section: Vagrant, *, prefix: str, name: str) -> str:
    """Ruby for the machine `name`."""
    if section.backend == "virtualbox":
        return f"my.vm.provider(:virtualbox) {{ |vb| vb.name = {literal(prefix + name)} }}"
    return ""  # libvirt puts the prefix before every name


def literal(text: str) -> str:
    """`text` as a Ruby string, in which nothing is evaluated."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def addresses(text: str, networks: Sequence[str]) -> dict[str, Mapping[str, str]]:
    """Machine's name -> network's name -> address, from a Vagrantfile; `networks` in the order EnOSlib got them."""
    _, *parts = _MACHINE.split(text)
    machines = zip(parts[::2], parts[1::2], strict=True)
    return {name: dict(zip(networks, _ADDRESS.findall(block), strict=True)) for name, block in machines}
