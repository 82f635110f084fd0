"""`VagrantHosts`: EnOSlib's Vagrant provider as the engine's `Provider`."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from enos_crdb import command
from enos_crdb.command import Completed
from enos_crdb.config.vagrant import CPUS, MEMORY_MB
from enos_crdb.errors import PrerequisiteError, ProviderError
from enos_crdb.model import Host, Network, Resources, System
from enos_crdb.providers import connections
from enos_crdb.providers.contract import Request, plan_hosts
from enos_crdb.providers.vagrant import explanations, prerequisites, subnets, vagrantfile
from enos_crdb.store import read_json, write_json

NETWORKS = ("control", "database")
WAIT_S = 600
"""How long the vagrant of a command that was killed may still work."""
_BUSY = 75


class VagrantHosts:
    """Virtual machines of this machine, for the engine.

    ``<deployment>/vagrant`` holds all that is known of them: the Vagrantfile, vagrant's own ``.vagrant``, what was
    asked for (``request.json``, written before anything exists) and what came of it (``hosts.json``).
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._section = request.configuration.vagrant
        self._directory = request.directory.resolve() / "vagrant"

    @property
    def control_path_dir(self) -> Path:
        return connections.socket_directory(self._directory)

    @property
    def system(self) -> System | None:
        return None  # a box is what its maker put there

    @property
    def sees_binds(self) -> bool:
        return False

    @property
    def owns_hosts(self) -> bool:
        return True

    def problems(self) -> list[str]:
        return prerequisites.problems(
            self._section,
            memory_mb=[planned.group.memory_mb or MEMORY_MB for planned in plan_hosts(self._request.configuration)],
            home=Path(os.environ.get("VAGRANT_HOME") or Path.home() / ".vagrant.d"),
            runner=self._request.runner,
            notify=self._request.notify,
        )

    def prepare(self) -> None:
        if not (self._directory / "hosts.json").exists() and (found := self.problems()):
            raise PrerequisiteError("This machine cannot run machines of Vagrant yet:\n" + "\n".join(found))

    # Up

    def acquire(self, layers: Mapping[str, str]) -> Resources:
        """The machines, started where they do not run. Raises `ProviderError`."""
        asked = self._asked()
        if not self._all_run(asked):
            self._up(asked)
        return self._resources(asked)

    def _asked(self) -> dict[str, Any]:
        """The request to EnOSlib; its subnets are those of the machines that exist."""
        configuration, section = self._request.configuration, self._section
        before = self._before() if self._machines_exist() else None
        return {
            "backend": section.backend,
            "box": section.box,
            "user": section.user,
            "config_extra": vagrantfile.extra(section, prefix=self._prefix, kvm=prerequisites.KVM.exists()),
            "machines": [
                {
                    "name": planned.name,
                    "roles": list(planned.group.roles),
                    "cpus": int(planned.group.cpus or CPUS),
                    "memory_mb": planned.group.memory_mb or MEMORY_MB,
                    "config_extra": vagrantfile.machine_extra(section, prefix=self._prefix, name=planned.name),
                }
                for planned in plan_hosts(configuration)
            ],
            "networks": before["networks"] if before else self._subnets(),
        }

    def _subnets(self) -> dict[str, str]:
        backend = self._section.backend
        asked = {name: getattr(self._request.configuration.networks, name).cidr for name in NETWORKS}
        if "auto" not in asked.values():
            return asked
        taken = [*subnets.taken(self._request.runner, backend=backend), *self._claims.others(self._directory)]
        return subnets.choose(asked, taken, backend=backend)

    @property
    def _claims(self) -> subnets.Claims:
        return subnets.Claims(directory=self._request.cache / "vagrant")

    def _before(self) -> dict[str, Any] | None:
        file = self._directory / "request.json"
        return dict(read_json(file)) if file.exists() else None

    def _machines_exist(self) -> bool:
        return any((self._directory / ".vagrant" / "machines").glob("*/*/id"))

    def _all_run(self, asked: Mapping[str, Any]) -> bool:
        """Whether nothing is to be done; told by one vagrant, as EnOSlib's way takes two and another per machine."""
        if self._before() != asked or not (self._directory / "hosts.json").exists():
            return False
        said = self._request.runner.run(["vagrant", "status", "--machine-readable"], env=self._environment, check=False)
        rows = [line.split(",") for line in said.stdout.splitlines()]
        states = {row[1]: row[3] for row in rows if len(row) > 3 and row[2] == "state"}
        return all(states.get(machine["name"]) == "running" for machine in asked["machines"])

    def _up(self, asked: Mapping[str, Any]) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._directory / "hosts.json").unlink(missing_ok=True)
        write_json(self._directory / "request.json", asked)
        self._claims.add(self._digest, self._directory, asked["networks"].values())
        self._request.notify(
            f"vagrant makes {len(asked['machines'])} machines of {asked['box']}; minutes, with a new box"
        )
        child = [sys.executable, "-m", "enos_crdb.providers.vagrant", str(self._directory)]
        ended = self._follow(child, input=json.dumps(asked))
        if ended.returncode != 0:
            raise ProviderError(
                self._failure("vagrant could not bring the machines up", ended)
                + "\nMachines that did come up are kept: `deploy` continues with them, `destroy` removes them."
            )

    def _resources(self, asked: Mapping[str, Any]) -> Resources:
        hosts = {host["name"]: host for host in read_json(self._directory / "hosts.json")}
        found = vagrantfile.addresses((self._directory / "Vagrantfile").read_text(), list(asked["networks"]))
        return Resources(
            hosts=tuple(
                Host(
                    **hosts[planned.name],
                    roles=tuple(planned.group.roles),
                    addresses=found[planned.name],
                    site=planned.site,
                )
                for planned in plan_hosts(self._request.configuration)
            ),
            # No gateway: the way out is another interface, which vagrant made for itself.
            networks=tuple(Network(name=name, cidr=cidr) for name, cidr in asked["networks"].items()),
        )

    # Down

    def release(self) -> None:
        """Destroy the machines and forget them. Boxes stay in vagrant's home. Raises `ProviderError`."""
        if (self._directory / "Vagrantfile").exists():
            if shutil.which("vagrant") is None:
                raise ProviderError(f"vagrant is missing, and only it can destroy the machines of {self._directory}.")
            # Not EnOSlib's `destroy`: it drops what vagrant says about a failure.
            ended = self._follow(["vagrant", "destroy", "--force"])
            if ended.returncode != 0:
                raise ProviderError(self._failure("vagrant could not destroy the machines", ended))
        self._claims.remove(self._digest)
        connections.close(self._request.runner, self.control_path_dir)
        if self._directory.exists():
            shutil.rmtree(self._directory)

    # Vagrant

    def _follow(self, args: Sequence[str], *, input: str = "") -> Completed:
        """Run what runs vagrant, log all it says, tell what a user may want to see.

        One at a time, and none without an engine: after ``kill -9`` the orphan is asked to end, and waited for.
        """
        guard = ["setpriv", "--pdeathsig", "TERM", "flock", "--no-fork", "--timeout", str(WAIT_S)]
        guard += ["--conflict-exit-code", str(_BUSY), str(self._directory / "lock")]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("a", encoding="utf-8") as log:

            def hear(line: str) -> None:
                log.write(line + "\n")
                log.flush()
                if (text := progress(line)) is not None:
                    self._request.notify(text)

            return command.follow([*guard, *args], on_line=hear, input=input, env=self._environment)

    def _failure(self, what: str, ended: Completed) -> str:
        if ended.returncode == _BUSY:
            return f"{what}: the vagrant of a command that was killed still works after {WAIT_S} s.\nTry again later."
        meaning = explanations.explain(ended.stdout)
        said = explanations.tail(ended.stdout)
        return "\n".join(part for part in (f"{what}:", said, meaning, f"All it said: {self._log}") if part)

    @property
    def _log(self) -> Path:
        return self._directory.parent / "logs" / "vagrant.log"

    @property
    def _environment(self) -> dict[str, str]:
        """Where the Vagrantfile is, and what a user's settings for others must not change."""
        return {
            "VAGRANT_CWD": str(self._directory),
            "VAGRANT_VAGRANTFILE": "Vagrantfile",
            "VAGRANT_DOTFILE_PATH": str(self._directory / ".vagrant"),
            "VAGRANT_DEFAULT_PROVIDER": self._section.backend,
            "VAGRANT_NO_COLOR": "1",
            "VAGRANT_CHECKPOINT_DISABLE": "1",
        }

    @property
    def _digest(self) -> str:
        return hashlib.sha256(str(self._directory).encode()).hexdigest()[:8]

    @property
    def _prefix(self) -> str:
        """Before the machines' names in the hypervisor, which all deployments of this machine share."""
        return f"{self._section.name_prefix}-{self._digest}-"


def progress(line: str) -> str | None:
    """What a user sees of a line of vagrant's: steps of machines (``==> database-1: Booting VM...``) and warnings."""
    text = line.removeprefix("==> ")
    return None if text == line or ": -- " in text.replace("  ", " ") else text
