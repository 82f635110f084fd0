"""Commands that a user runs on a host, on this terminal."""

from __future__ import annotations

from collections.abc import Sequence

from enos_crdb import keystone, ssh
from enos_crdb.errors import StateError
from enos_crdb.phases.context import Context


def ssh_command(context: Context, name: str, arguments: Sequence[str], *, terminal: bool = False) -> list[str]:
    """The ssh command that runs `arguments` (or a shell) on the host called `name`."""
    try:
        host = context.resources.host(name)
    except KeyError:
        known = ", ".join(host.name for host in context.resources.hosts)
        raise StateError(f"there is no host '{name}' in this deployment; there are: {known}.") from None
    return ssh.command(host, arguments, terminal=terminal)


def openstack_command(context: Context, arguments: Sequence[str], region: str | None) -> list[str]:
    """The ssh command that runs python-openstackclient on a rally host, as the administrator."""
    context.require("verify")
    keystones = [host.name for host in context.resources.with_role("keystone")]
    if region is not None and region not in keystones:
        raise StateError(f"there is no Keystone '{region}' in this deployment; there are: {', '.join(keystones)}.")
    remote = keystone.openstack_command(tuple(arguments), cloud=region or keystones[0])
    return ssh_command(context, context.resources.with_role("rally")[0].name, remote)
