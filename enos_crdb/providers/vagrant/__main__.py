"""EnOSlib's Vagrant provider in a process of its own: ``python -m enos_crdb.providers.vagrant DIRECTORY``.

It writes into its working directory, and what vagrant says goes to its streams: neither may be the engine's.
The request comes on standard input as JSON (`VagrantHosts`); the machines go to ``hosts.json`` in the directory.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from enos_crdb.command import LibraryProcessFailed
from enos_crdb.store import write_json


def configure(asked: Mapping[str, Any]) -> Any:
    """The request as EnOSlib's configuration."""
    from enoslib import VagrantConf

    where = {key: asked[key] for key in ("backend", "box", "user")}
    conf = VagrantConf.from_settings(**where, config_extra=asked["config_extra"])
    for machine in asked["machines"]:
        conf.add_machine(
            **where,
            roles=machine["roles"],
            name_prefix=machine["name"],
            flavour_desc={"core": machine["cpus"], "mem": machine["memory_mb"]},
            config_extra_vm=machine["config_extra"],
        )
    for name, cidr in asked["networks"].items():
        conf.add_network(roles=[name], cidr=cidr)
    return conf.finalize()


def main() -> int:
    """Bring the machines up. The status is vagrant's."""
    from enoslib import Vagrant

    # Vagrant gets Ctrl-C too, and cleans up: EnOSlib must wait for it.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    signal.signal(signal.SIGTERM, _pass_on)
    asked = json.load(sys.stdin)
    os.chdir(sys.argv[1])
    try:
        roles, _ = Vagrant(configure(asked)).init()
    except LibraryProcessFailed as error:
        return error.returncode or 1
    # EnOSlib makes an object for each role of a machine, all alike: one is kept.
    hosts = {host.alias: host for host in roles.all()}
    write_json(Path("hosts.json"), [_values(hosts[machine["name"]]) for machine in asked["machines"]])
    return 0


def _pass_on(number: int, frame: FrameType | None) -> None:
    """The engine is dead: vagrant is asked to clean up."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGINT)


def _values(host: Any) -> dict[str, Any]:
    return {
        "name": host.alias,
        "address": host.address,
        "port": int(host.port),
        "user": host.user,
        "keyfile": host.keyfile,
        "variables": dict(host.extra),
    }


if __name__ == "__main__":
    sys.exit(main())
