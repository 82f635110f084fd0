"""How hosts are reached by ssh: the command lines of our own and what Ansible is told."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from enos_crdb.model import Host

CONFIGURATION = "ENOS_CRDB_SSH_CONFIG"
"""Environment variable: an ssh configuration file to use instead of the user's own."""

_THROW_AWAY = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=10")
"""Host keys are those of machines that are installed anew all the time: they are not kept."""


def configured() -> list[str]:
    """``-F FILE`` when the user names a configuration file."""
    file = os.environ.get(CONFIGURATION)
    return ["-F", file] if file else []


_ALIVE = ("BatchMode=yes", "ServerAliveInterval=5", "ServerAliveCountMax=3", "ControlPath=none")
"""For a connection that stays: a host that is gone is noticed in 15 seconds, and nobody is asked for a password."""


def command(host: Host, arguments: Sequence[str], *, terminal: bool = False, keep_alive: bool = False) -> list[str]:
    """The command that runs `arguments` on `host` as root, or opens a shell there as the host's user.

    ``keep_alive`` is for connections that stay open while nobody looks.
    """
    arguments = ["sudo", "--", *arguments] if arguments and host.user != "root" else list(arguments)
    if host.local:
        return arguments or [os.environ.get("SHELL", "/bin/sh")]
    line = ["ssh", *configured(), *_options(), *_jump(host)]
    line += ["-i", host.keyfile, "-o", "IdentitiesOnly=yes"] if host.keyfile else []
    line += ["-p", str(host.port)] if host.port else []
    line += ["-t"] if terminal else []
    line += [word for option in _ALIVE for word in ("-o", option)] if keep_alive else []
    return [*line, "--", f"{host.user}@{host.address}", *map(shlex.quote, arguments)]


def _options() -> list[str]:
    return [word for option in _THROW_AWAY for word in ("-o", option)]


def _jump(host: Host) -> list[str]:
    """Over the hosts that EnOSlib calls ``gateway`` and, behind it, ``internal_gateway``."""
    hops = [
        f"{user}@{gateway}" if (user := host.variables.get(f"{name}_user")) else str(gateway)
        for name in ("gateway", "internal_gateway")
        if (gateway := host.variables.get(name))
    ]
    if not hops:
        return []
    *first, last = hops
    through = ["ssh", *configured(), *_options(), *(["-J", *first] if first else []), "-W", "%h:%p", last]
    return ["-o", f"ProxyCommand={shlex.join(through)}"]
