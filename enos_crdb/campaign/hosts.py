"""The deployment that is up: made when an item needs another, reset and compared with a fresh one in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from enos_crdb import events
from enos_crdb.campaign.record import CampaignRecord, Living
from enos_crdb.config import Configuration
from enos_crdb.door import Call
from enos_crdb.errors import DeploymentError
from enos_crdb.model import Lease
from enos_crdb.phases import deploy as deploy_phase
from enos_crdb.phases import emulate
from enos_crdb.phases.context import Context
from enos_crdb.phases.destroy import destroy
from enos_crdb.phases.reset import reset, state
from enos_crdb.store import Deployment, Store
from enos_crdb.sweep import Combination, Item

Opener = Callable[[Deployment, Configuration], Context]
"""Saves a (changed) configuration in a deployment and opens it. Tests give one that returns doubles."""


@dataclass(frozen=True, kw_only=True)
class Ready:
    """Hosts on which a run can begin. ``start``: ``fresh``, or ``reset`` (and found equal to fresh)."""

    context: Context
    start: str
    state: Mapping[str, Any]
    deploy_s: float


class Hosts:
    """The one deployment that a campaign has at a time.

    ``stage`` tells what was going on when something failed: ``hosts``, ``deployment``, ``reset`` or ``network``.
    """

    def __init__(self, record: CampaignRecord, store: Store, opener: Opener = deploy_phase.open_for_deploy) -> None:
        self._record = record
        self._store = store
        self._open = opener
        self._locks = ExitStack()
        self._context: Context | None = None
        self._worn = True
        self.stage = "hosts"

    @property
    def name(self) -> str | None:
        """The directory of the deployment that is up."""
        return self._record.living.deployment if self._record.living else None

    @property
    def directory(self) -> Path | None:
        return self._store.root / self.name if self.name else None

    @property
    def lease(self) -> Lease | None:
        """The reservation of the hosts that are up; None when there are none, or nobody ends it."""
        return self._deployment().state.lease if self._record.living else None

    def ready(self, item: Item, combination: Combination) -> Ready:
        """Bring about what the combination asks for: hosts, software, options, fresh data, network.

        Raises `ProviderError`, `PrerequisiteError`, `DeploymentError`, `NetworkError`.
        """
        living = self._record.living
        if living and living.place != self._record.plan.place(item):
            self.discard()
            living = None
        started = time.monotonic()
        made = living is None
        context = self._fresh(item, combination) if living is None else self._again(combination.configuration)
        deploy_s = time.monotonic() - started if made else 0.0
        living = self._record.living
        assert living is not None
        start = "reset" if living.used else "fresh"
        known = self._reset(context, living) if living.used else living.fresh or self._keep_state(context)
        self.stage = "network"
        if not _in_force(context):
            emulate.set_network(context, context.configuration.emulation)
        self._record.living = replace(self._living(), used=True)
        return Ready(context=context, start=start, state=known, deploy_s=deploy_s)

    def _living(self) -> Living:
        found = self._record.living
        assert found is not None, "there is no deployment"
        return found

    def _fresh(self, item: Item, combination: Combination) -> Context:
        """A new deployment."""
        self.stage = "deployment"
        configuration = combination.configuration
        deployment = self._store.create(configuration.name, configuration.model_dump(mode="json"))
        self._record.living = Living(
            deployment=deployment.directory.name,
            deployment_repetition=item.deployment_repetition,
            key=combination.key,
        )
        return self._converge(deployment, configuration)

    def _again(self, configuration: Configuration) -> Context:
        """The deployment that is up, with the options of this configuration."""
        self.stage = "deployment"
        deployment = self._deployment()
        asked = configuration.model_dump(mode="json")
        differs = self._worn or _converged(deployment.state.configuration) != _converged(asked)
        if not _in_force_is(deployment, configuration):
            emulate.clear(self._opened(deployment, configuration))  # nobody wants to deploy or reset through it
        if differs:
            return self._converge(deployment, configuration)
        return self._opened(deployment, configuration)

    def _converge(self, deployment: Deployment, configuration: Configuration) -> Context:
        self._worn = True
        context = self._opened(deployment, configuration)
        deploy_phase.deploy(context)
        self._worn = False
        return context

    def _opened(self, deployment: Deployment, configuration: Configuration) -> Context:
        if self._context is None:
            self._locks.enter_context(deployment.locked())
        self._context = self._open(deployment, configuration)
        return self._context

    def _deployment(self) -> Deployment:
        if self._context is not None:
            return self._context.deployment
        return self._store.open(self._store.root / self._living().deployment)

    def _reset(self, context: Context, living: Living) -> Mapping[str, Any]:
        """Make Keystone's database anew, and compare it with what it held when the deployment was new."""
        self.stage = "reset"
        with events.phase("reset", "Resetting, and comparing with a fresh deployment"):
            done = reset(context)
            if done.problem or done.silent:
                raise DeploymentError(done.problem or f"{', '.join(done.silent)} could not be reached for the reset.")
            found = state(context)
        if living.fresh is None:
            return self._kept(found)
        if found != living.fresh:
            raise DeploymentError(
                "Keystone's database was reset, but is not what it was on the fresh deployment: "
                f"{_difference(living.fresh, found)}.\n"
                "Something writes to it between runs. The deployment is given up, and another one made."
            )
        return found

    def _keep_state(self, context: Context) -> Mapping[str, Any]:
        """Look at the database of a new deployment, before anything uses it."""
        with events.phase("state", "Looking at the fresh database"):
            return self._kept(state(context))

    def _kept(self, found: Mapping[str, Any]) -> Mapping[str, Any]:
        self._record.living = replace(self._living(), fresh=found)
        return found

    def silent(self) -> list[str]:
        """Hosts that do not answer. None when there are no hosts."""
        context = self._context
        if context is None or context.deployment.state.resources is None:
            return []
        answers = context.door.run(
            "Asking every host", [Call(host=host, argv=("true",)) for host in context.resources.hosts]
        )
        return sorted(answer.host for answer in answers if not answer.ok)

    def wear(self) -> None:
        """Something went wrong on the deployment: before the next run, bring everything to what is asked."""
        self._worn = True

    def discard(self) -> None:
        """Give the hosts back. Its runs stay."""
        living = self._record.living
        if living is None:
            return
        deployment = self._deployment()
        if deployment.state.destroyed_at is None:
            if self._context is None:
                self._locks.enter_context(deployment.locked())
                self._context = self._open(deployment, _configuration(deployment))
            destroy(self._context, keep_hosts=False)
        self.close()
        self._record.living = None

    def close(self) -> None:
        """Let other processes use the deployment."""
        if self._context is not None:
            self._context.door.close()
        self._locks.close()
        self._context = None
        self._worn = True


def _configuration(deployment: Deployment) -> Configuration:
    from enos_crdb.config import check

    return check(deployment.state.configuration, source=str(deployment.directory / "deployment.json"))


def _converged(document: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a configuration that `deploy` brings about: all but the emulation and the load."""
    kept = {key: value for key, value in document.items() if key not in ("emulation", "bench")}
    return {**kept, "placement": document["bench"].get("placement"), "load": document["bench"].get("load")}


def _wanted(configuration: Configuration) -> list[dict[str, Any]]:
    return [constraint.model_dump(mode="json") for constraint in configuration.emulation.constraints]


def _in_force_is(deployment: Deployment, configuration: Configuration) -> bool:
    """Whether the emulation that a deployment has is the one that is asked for."""
    emulated = deployment.state.emulation
    if emulated is None:
        return not _wanted(configuration)
    same = configuration.emulation.emulator in ("auto", emulated["emulator"])
    return same and bool(emulated.get("set_at")) and list(emulated["constraints"]) == _wanted(configuration)


def _in_force(context: Context) -> bool:
    return _in_force_is(context.deployment, context.configuration)


def _difference(fresh: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """The tables that differ, by their rows."""
    before, now = fresh["rows"], found["rows"]
    wrong = [
        f"{table} has {now.get(table, 'no')} rows instead of {before.get(table, 'no')}"
        for table in sorted({*before, *now})
        if before.get(table) != now.get(table)
    ]
    other = [
        table
        for table, rows in now.items()
        if before.get(table) == rows and fresh["contents"].get(table) != found["contents"][table]
    ]
    wrong += [f"{table} has other rows" for table in other]
    return "; ".join(wrong[:5])
