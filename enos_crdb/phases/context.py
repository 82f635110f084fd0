"""What every phase needs: the configuration, the deployment's directory, and the doors to the world."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from enos_crdb import events, inventory, providers
from enos_crdb.ansible import Ansible, EnoslibAnsible, PlaybookResult
from enos_crdb.command import Runner, SubprocessRunner
from enos_crdb.config import Configuration, check
from enos_crdb.config.bench import Bench
from enos_crdb.door import Door, SshDoor
from enos_crdb.errors import StateError
from enos_crdb.masking import to_mask
from enos_crdb.model import LOAD, Resources
from enos_crdb.providers import Provider
from enos_crdb.store import Deployment

LEASE_SHORT_S = 15 * 60.0
"""What is left of a reservation when users are warned."""
WHEELS_ON_HOSTS = "/srv/enos_crdb/wheelhouse"
"""Where hosts find the wheelhouses of this machine."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """One deployment, opened. Tests put doubles in place of ``provider``, ``ansible``, ``door`` and ``runner``."""

    configuration: Configuration
    deployment: Deployment
    provider: Provider
    ansible: Ansible
    door: Door
    runner: Runner
    cache: Path

    @property
    def resources(self) -> Resources:
        """The hosts, with the role ``load`` where Rally runs. Raises `StateError` when there are none yet."""
        if self.deployment.state.destroyed_at:
            raise StateError(
                f"{self.deployment.directory.name} was destroyed at {self.deployment.state.destroyed_at}.\n"
                "Its runs can still be read; `enos_crdb deploy --env FILE` makes a new deployment."
            )
        if self.deployment.state.resources is None:
            raise StateError(
                f"{self.deployment.directory.name} has no hosts yet: its deployment was interrupted.\n"
                "Continue it with `enos_crdb deploy`."
            )
        return self.deployment.state.resources.placed(self.configuration.bench.placement)

    def measuring(self, section: Bench) -> Context:
        """The same deployment under another ``bench`` section. Raises `StateError` where it asks for Rally in vain."""
        bare = [
            host.name for host in self.resources.with_role(section.placement) if not {"rally", LOAD} & set(host.roles)
        ]
        if bare:
            raise StateError(
                f"bench.placement: Rally is not installed on {', '.join(bare)}.\n"
                f"It is installed where the deployment asks for it; `enos_crdb deploy --env FILE --set "
                f"bench.placement={section.placement}` adds it to the living hosts."
            )
        return replace(self, configuration=self.configuration.model_copy(update={"bench": section}))

    @property
    def secrets(self) -> dict[str, str]:
        return self.deployment.secrets()

    def play(
        self,
        playbook: str,
        *,
        variables: Mapping[str, Any] | None = None,
        host_variables: Mapping[str, Mapping[str, Any]] | None = None,
        tolerate: bool = False,
    ) -> PlaybookResult:
        """Run a playbook on all hosts with the variables of the deployment, and with those given.

        Raises like `Ansible.run`.
        """
        known = inventory.host_variables(self.configuration, self.resources, self.secrets)
        given = host_variables or {}
        return self.ansible.run(
            playbook,
            self.resources.hosts,
            variables={**inventory.variables(self.configuration), **(variables or {})},
            host_variables={name: {**known.get(name, {}), **given.get(name, {})} for name in {**known, **given}},
            tolerate=tolerate,
        )

    def require_lease(self) -> None:
        """Raise `StateError` when the hosts are not ours any more; warn when that is soon."""
        lease = self.deployment.state.lease
        left_s = lease.remaining_s(time.time()) if lease else None
        if left_s is None:
            return
        if left_s <= 0:
            raise StateError(
                f"the reservation of {self.deployment.directory.name} is over since {-left_s / 60:.0f} minutes: its "
                "hosts are gone.\nRuns and logs are here. `enos_crdb destroy`, then `enos_crdb deploy --env FILE` "
                "reserves hosts again; a longer `walltime` keeps them longer."
            )
        if left_s < LEASE_SHORT_S:
            events.warn(f"the reservation of the hosts ends in {left_s / 60:.0f} minutes")

    def require(self, step: str) -> None:
        """Raise `StateError` unless the deployment step `step` is done."""
        if step not in self.deployment.state.done:
            raise StateError(
                f"{self.deployment.directory.name} is not complete: step '{step}' was not reached.\n"
                "Continue it with `enos_crdb deploy`."
            )


def open_context(deployment: Deployment, configuration: Configuration | None = None) -> Context:
    """The context of `deployment` on real hosts; the configuration is the deployment's own unless given."""
    configuration = configuration or check(
        deployment.state.configuration, source=str(deployment.directory / "deployment.json")
    )
    cache = cache_directory()
    runner = SubprocessRunner()
    provider = providers.provide(
        providers.Request(
            configuration=configuration,
            directory=deployment.directory,
            cache=cache,
            runner=runner,
            notify=events.note,
            read_only_binds={cache / "wheelhouse": WHEELS_ON_HOSTS},
        )
    )

    def secrets() -> tuple[str, ...]:
        return to_mask(deployment.secrets().values())

    return Context(
        configuration=configuration,
        deployment=deployment,
        provider=provider,
        ansible=EnoslibAnsible(logs=deployment.logs, control_path_dir=provider.control_path_dir, secrets=secrets),
        door=SshDoor(logs=deployment.logs, secrets=secrets),
        runner=runner,
        cache=cache,
    )


def bare_provider(configuration: Configuration, directory: Path) -> Provider:
    """The provider of a configuration that nobody deployed here; `directory` is for what it must remember."""
    return providers.provide(
        providers.Request(
            configuration=configuration,
            directory=directory,
            cache=cache_directory(),
            runner=SubprocessRunner(),
            notify=events.note,
        )
    )


def cache_directory() -> Path:
    """Where base images, layers and wheels are kept: ``$ENOS_CRDB_CACHE``, or the user's cache directory."""
    if chosen := os.environ.get("ENOS_CRDB_CACHE"):
        return Path(chosen).resolve()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).resolve() / "enos_crdb"
