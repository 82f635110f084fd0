"""What vagrant's messages usually mean, and what to do."""

from __future__ import annotations

import re

SHOWN_LINES = 15
"""How much of what vagrant said is shown; its log has all of it."""

_MEANINGS: tuple[tuple[str, str], ...] = (
    (
        r"could not be found or could not be accessed in the remote|The requested URL returned error: 404",
        "There is no such box, or the catalogue cannot be reached. Check vagrant.box and vagrant.box_version, or "
        "fetch the box once with `vagrant box add NAME`, or name a file or a URL with vagrant.box_url.",
    ),
    (
        r"doesn't support the provider you requested|isn't installed for the provider|doesn't match the provider",
        "The box exists, but not for this backend: choose another vagrant.box, or another vagrant.backend.",
    ),
    (
        r"no available version that matches",
        "vagrant.box_version fits no version of the box (`vagrant box list` lists those that are here).",
    ),
    (
        r"Could ?n[o']t resolve host|Failed to connect to|Connection timed out after"
        r"|error while downloading the metadata",
        "This machine has no way to where the box is. With a proxy, set http_proxy and https_proxy; without a network, "
        "add the box from a file: `vagrant box add FILE --name NAME`.",
    ),
    (
        r"(VT-x|AMD-V) is (disabled|not available)|VERR_(VMX|SVM)_",
        "The processor's virtualisation is switched off or used by another hypervisor: switch VT-x or AMD-V on in the "
        "firmware's setup, or stop what uses it (KVM beside VirtualBox).",
    ),
    (
        r"Could not access KVM kernel module|failed to initialize (kvm|KVM)|requires KVM, but it is not available"
        r"|domaintype=kvm|failed to set MSR|kvm_\w+: Assertion",
        "KVM cannot be used. Load kvm_intel or kvm_amd, or do without it, slowly: "
        "vagrant.config_extra: 'config.vm.provider(:libvirt) { |lv| lv.driver = \"qemu\" }'.",
    ),
    (
        r"Failed to connect socket to|authentication unavailable",
        "libvirt does not run, or does not let this user in: start libvirtd; as an ordinary user, join the group "
        "libvirt (`sudo usermod -aG libvirt $USER`) and log in again.",
    ),
    (
        r"not within the allowed ranges|Ranges: ",
        "VirtualBox refuses the subnet: use one inside 192.168.56.0/21 (or auto) in networks.*.cidr, or allow more in "
        "/etc/vbox/networks.conf.",
    ),
    (
        r"collides with a|Network is already in use by interface|does not match with network name",
        "Another network of this machine has the subnet: choose another in networks.*.cidr, or auto.",
    ),
    (
        r"found a port collision|cannot forward the specified ports",
        "A port that VirtualBox shall forward is in use: stop what listens there, or destroy machines that are left.",
    ),
    (
        r"kernel module is not loaded|installation is incomplete"
        r"|\"VBoxManage\" command or one of its dependencies could not",
        "VirtualBox is not ready: install it with its kernel module (`sudo /sbin/vboxconfig`), then `VBoxManage "
        "--version` must say nothing but a version.",
    ),
    (
        r"Cannot allocate memory",
        "This machine has too little free memory: ask for less with machines.*.memory_mb, or for fewer machines.",
    ),
    (
        r"No space left on device",
        "A disk of this machine is full: machines are kept in libvirt's storage pool (/var/lib/libvirt/images) or in "
        "~/VirtualBox VMs, boxes in ~/.vagrant.d.",
    ),
    (
        r"Timed out while waiting for the machine to boot|timed out while attempting to connect via SSH",
        "A machine did not answer by ssh in time. It may be slow (without KVM): "
        "vagrant.config_extra: 'config.vm.boot_timeout = 1800'.",
    ),
    (
        r"machine because it is locked|another process is already executing an action",
        "Another vagrant works on the machines, perhaps of a command that was killed: wait until it ended.",
    ),
    (
        r"of domain about to create is already taken|VM with that name already exists"
        r"|Volume for domain is already created",
        "A machine or a volume of that name was left behind: look with `virsh list --all` or `VBoxManage list vms`, "
        "remove it there, or choose another vagrant.name_prefix.",
    ),
    (
        r"No usable storage pool",
        "libvirt's storage pool 'default' cannot be used: see `virsh pool-info default`.",
    ),
    (
        r"provider '[^']*' could not be found|Unknown configuration section",
        "vagrant's plugin is missing: install the Debian package vagrant-libvirt, or run "
        "`vagrant plugin install vagrant-libvirt`.",
    ),
    (
        r"error loading a Vagrantfile|syntax error in the following Vagrantfile|errors in the configuration of this",
        "The Vagrantfile is refused: look at vagrant.config_extra.",
    ),
    (
        r"SSH command responded with a non-zero exit status",
        "A command inside a machine failed, see above; the box must be a Debian or an Ubuntu with the user vagrant.",
    ),
)
"""Words of Vagrant, vagrant-libvirt, libvirt, QEMU, VirtualBox and curl as their sources have them, or as was seen."""


def explain(text: str) -> str:
    """What the error in `text` (all that vagrant said) usually means; empty when it is not a known one."""
    # Errors come last; before them, progress may well name networks, pools and ports. Lines are wrapped anywhere.
    end = " ".join(" ".join(_said(text)[-40:]).split())
    return next((meaning for pattern, meaning in _MEANINGS if re.search(pattern, end)), "")


def tail(text: str) -> str:
    """The last lines of `text` that say something, indented."""
    return "\n".join(f"  {line}" for line in _said(text)[-SHOWN_LINES:])


def _said(text: str) -> list[str]:
    """The lines of `text` without those of Ruby's stack, which vagrant shows for what it did not foresee."""
    return [line.rstrip() for line in text.splitlines() if line.strip() and not re.search(r":\d+:in `", line)]
