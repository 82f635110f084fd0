"""Executes a plan: one item after the other, each recorded when it ends, whatever happens to the others."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enos_crdb import events, record, run
from enos_crdb.campaign import adaptive
from enos_crdb.campaign.hosts import Hosts, Ready
from enos_crdb.campaign.record import INTERRUPTED, CampaignRecord
from enos_crdb.campaign.sweeper import Sweeper
from enos_crdb.errors import (
    BenchError,
    CommandError,
    ConfigurationError,
    DeploymentError,
    EnosCrdbError,
    NetworkError,
    PrerequisiteError,
    ProviderError,
    StateError,
)
from enos_crdb.model import Event
from enos_crdb.record import Labels
from enos_crdb.store import now
from enos_crdb.summary import summarise
from enos_crdb.sweep import Clock, Combination, Item

SPOILS = ("hosts", "deployment", "reset")
"""Causes after which the deployment is given up and another one made."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How an attempt ended. ``cause``: ``network``, ``hosts``, ``deployment``, ``reset``, ``load``, ``interrupted``."""

    status: str
    cause: str = ""
    message: str = ""
    run: str | None = None
    ready: Ready | None = None
    run_s: float = 0.0


class Execution:
    """One call: from where the record is to the end of the plan, of the budget, or of the user's patience."""

    def __init__(self, record: CampaignRecord, hosts: Hosts) -> None:
        self.record = record
        self.hosts = hosts
        self.experiment = record.plan.experiment
        self._begun = time.monotonic()
        self._sweeper = Sweeper(
            record.directory / "sweep",
            [item.number for item in record.plan.items],
            [item.number for item in record.plan.items if self._settled(item)],
        )

    def run(self) -> bool:
        """Execute what is left; returns whether everything was. After Ctrl-C things are put away.

        Raises `KeyboardInterrupt` then, and `PrerequisiteError` when this machine can run nothing of it.
        """
        try:
            self._mark_torn()
            complete = self._all()
            wish = self.experiment.hosts.at_end if complete else self.experiment.hosts.on_interrupt
            if wish == "destroy":
                self.hosts.discard()
        except (KeyboardInterrupt, PrerequisiteError):
            self._mark_torn()
            if self.experiment.hosts.on_interrupt == "destroy":
                self.hosts.discard()
            raise
        finally:
            self.hosts.close()
        if complete:
            self.record.finish()
        return complete

    def _all(self) -> bool:
        self._renew()
        while True:
            while (number := self._sweeper.next()) is not None:
                item = next(found for found in self.record.plan.items if found.number == number)
                if not self._fits(item):
                    self._sweeper.cancel(number)
                    return False
                self._item(item)
                self._sweeper.done(number)
            if not (extra := adaptive.more(self.record)):
                return True
            self.record.extend(extra)
            self._sweeper.extend(item.number for item in self.record.plan.items)

    def _renew(self) -> None:
        """Give back, before anything begins, hosts of an earlier call that are reserved for less than a run."""
        item = next((found for found in self.record.plan.items if not self._settled(found)), None)
        if item is not None and (short := self._lease_short(item)):
            events.warn(f"{short}: other ones will be reserved")
            self.hosts.discard()

    def _fits(self, item: Item) -> bool:
        """Whether the budget and the reservation of the hosts have room for an item."""
        if short := self._lease_short(item):
            events.warn(f"{short}; continued later, the campaign reserves hosts again")
            return False
        hours = self.experiment.budget.hours
        if hours is None:
            return True
        needed_s = self._needed_s(item)
        left_s = hours * 3600 - (time.monotonic() - self._begun)
        if needed_s > left_s:
            left = f"{max(left_s, 0):.0f} s are left"
            events.warn(f"of the budget of {hours:g} hours, {left}, and a run needs about {needed_s:.0f} s")
        return needed_s <= left_s

    def _lease_short(self, item: Item) -> str:
        """Why the hosts that are up are not ours long enough for an item; empty when they are, or are not for it."""
        living, lease = self.record.living, self.hosts.lease
        if living is None or lease is None or living.place != self.record.plan.place(item):
            return ""
        left_s, needed_s = lease.remaining_s(time.time()), self._needed_s(item)
        if left_s >= needed_s:
            return ""
        return f"the hosts are reserved for another {max(left_s, 0):.0f} s, and a run needs about {needed_s:.0f} s"

    def _needed_s(self, item: Item) -> float:
        living = self.record.living
        return self._clock().remaining([item], living=living.place if living else None).seconds

    def _clock(self) -> Clock:
        return Clock(self.record.plan, self.record.observed())

    def _item(self, item: Item) -> None:
        """Attempts at one item, until one is good or its retries are used up."""
        combination = self.record.plan.of(item)
        if why := self._hopeless(item):
            self._write(item, 1, now(), Ended(status="skipped", cause="deployment", message=why))
            return
        while not self._settled(item):
            attempt = 1 + len(self.record.of(item))
            self._announce(item, combination, attempt)
            started_at = now()
            self.record.attempt = {"item": item.number, "attempt": attempt, "started_at": started_at}
            ended = self._attempt(item, combination, attempt)
            self._write(item, attempt, started_at, ended)
            if ended.status != "ok":
                events.warn(f"run {item.number}, attempt {attempt}: {ended.cause}: {ended.message}")
                self._after_failure(ended.cause)

    def _settled(self, item: Item) -> bool:
        """Whether nothing more is to be done for an item."""
        if any(entry["status"] == "ok" for entry in self.record.of(item)):
            return True
        since = [entry for entry in self.record.since_pardon() if entry["item"] == item.number]
        entries = [entry for entry in since if entry["cause"] != INTERRUPTED]
        if not entries:
            return False
        last = entries[-1]
        if last["status"] == "skipped":
            return True
        retries = int(getattr(self.experiment.retries, last["cause"], 0))
        return [entry["cause"] for entry in entries].count(last["cause"]) > retries

    def _hopeless(self, item: Item) -> str:
        """Why it is not tried: the same combination could not be deployed in the same repetition of deployments."""
        place = (item.combination, item.deployment_repetition)
        last = {entry["item"]: entry for entry in self.record.since_pardon()}
        for number, entry in last.items():
            same = (entry["combination"], entry["deployment_repetition"]) == place and number != item.number
            if same and (entry["status"], entry["cause"]) == ("failed", "deployment"):
                return f"the combination could not be deployed: see item {number}"
        return ""

    def _attempt(self, item: Item, combination: Combination, attempt: int) -> Ended:
        ready: Ready | None = None
        before: set[Path] = set()
        started = time.monotonic()
        try:
            ready = self.hosts.ready(item, combination)
            self.hosts.stage = "deployment"
            before = _runs(ready)
            started = time.monotonic()
            labels = self._labels(item, attempt)
            directory = run.measure(ready.context, combination.configuration.bench, labels=labels)
            run_s = time.monotonic() - started
            return self._judge(Ended(status="ok", run=directory.name, ready=ready, run_s=run_s), directory)
        except NetworkError as error:
            ended = Ended(status="refused", cause="network", message=str(error), ready=ready)
            if self._silent():  # no wonder
                ended = _failed(ended, "hosts", str(error))
        except (ProviderError, PrerequisiteError) as error:
            if isinstance(error, PrerequisiteError) and not any(e["status"] == "ok" for e in self.record.entries):
                raise  # this machine can run none of them: nobody wants to read that of each
            ended = Ended(status="failed", cause="hosts", message=str(error), ready=ready)
        except DeploymentError as error:
            ended = Ended(status="failed", cause=self._blame(), message=str(error), ready=ready)
        except (BenchError, CommandError, ConfigurationError, StateError) as error:
            cause = "load" if ready else self.hosts.stage
            ended = Ended(status="failed", cause=cause, message=str(error), ready=ready)
        return _with_run(ended, before, time.monotonic() - started)

    def _judge(self, ended: Ended, directory: Path) -> Ended:
        """A run that came back is good when every scenario was, and every host is still there."""
        failure = summarise(directory).failure
        silent = self._silent()
        if silent:
            return _failed(ended, "hosts", f"{', '.join(silent)} did not answer after the run. {failure}".strip())
        return _failed(ended, "load", failure) if failure else ended

    def _blame(self) -> str:
        return "hosts" if self._silent() else self.hosts.stage

    def _silent(self) -> list[str]:
        try:
            return self.hosts.silent()
        except EnosCrdbError as error:
            return [f"the deployment ({error})"]

    def _after_failure(self, cause: str) -> None:
        self.hosts.wear()
        if cause in SPOILS:
            try:
                self.hosts.discard()
            except (ProviderError, DeploymentError, CommandError) as error:
                events.warn(f"the deployment could not be destroyed: {error}")

    def _write(self, item: Item, attempt: int, started_at: str, ended: Ended) -> None:
        ready = ended.ready
        self.record.add(
            {
                **self._place(item),
                "attempt": attempt,
                "deployment": ready.context.deployment.directory.name if ready else self.hosts.name,
                "run": ended.run,
                "status": ended.status,
                "cause": ended.cause,
                "message": ended.message,
                "started_at": started_at,
                "finished_at": now(),
                "deploy_s": round(ready.deploy_s, 3) if ready else 0.0,
                "run_s": round(ended.run_s, 3),
                "start": ready.start if ready else None,
                "state": ready.state["digest"] if ready else None,
            }
        )

    def _place(self, item: Item) -> dict[str, Any]:
        return {
            "item": item.number,
            "combination": item.combination,
            "factors": dict(self.record.plan.of(item).factors),
            "deployment_repetition": item.deployment_repetition,
            "repetition": item.repetition,
            "block": item.block,
        }

    def _labels(self, item: Item, attempt: int) -> Labels:
        return Labels(
            campaign=self.record.name,
            experiment=self.experiment.experiment,
            **self._place(item),
            attempt=attempt,
            seed=self.experiment.seed,
        )

    def _mark_torn(self) -> None:
        """Record the attempt that was under way when this process, or one before it, was ended."""
        torn = self.record.attempt
        if torn is None:
            return
        item = next(found for found in self.record.plan.items if found.number == torn["item"])
        living = self.record.living
        run = _torn_run(self.hosts.directory, self.record.name, torn) if living else None
        ended = Ended(status="failed", cause=INTERRUPTED, message="ended from outside; made again", run=run)
        self._write(item, torn["attempt"], torn["started_at"], ended)
        self.hosts.wear()

    def _announce(self, item: Item, combination: Combination, attempt: int) -> None:
        items = self.record.plan.items
        living = self.record.living
        left = [found for found in items if found.number >= item.number]
        expected = self._clock().remaining(left, living=living.place if living else None).seconds
        elapsed = time.monotonic() - self._begun
        position = items.index(item) + 1
        again = f", attempt {attempt}" if attempt > 1 else ""
        text = f"run {position}/{len(items)}: {item.combination}{again}"
        text += f"  ({clock(elapsed)} elapsed, about {clock(expected)} left)"
        data = {
            **self._place(item),
            "attempt": attempt,
            "position": position,
            "total": len(items),
            "elapsed_s": elapsed,
            "remaining_s": expected,
            "hosts": combination.hosts,
        }
        events.publish(Event(kind="item", text=text, data=data))


def clock(duration_s: float) -> str:
    """``1:02:03``, hours first."""
    minutes, rest = divmod(round(duration_s), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _failed(ended: Ended, cause: str, message: str) -> Ended:
    return Ended(status="failed", cause=cause, message=message, run=ended.run, ready=ended.ready, run_s=ended.run_s)


def _runs(ready: Ready) -> set[Path]:
    return set(ready.context.deployment.runs.iterdir())


def _with_run(ended: Ended, before: set[Path], run_s: float) -> Ended:
    """The same with the directory of the run that failed, if it got so far."""
    if ended.ready is None:
        return ended
    made = sorted(path.name for path in _runs(ended.ready) - before)
    return Ended(
        status=ended.status,
        cause=ended.cause,
        message=ended.message,
        run=made[-1] if made else None,
        ready=ended.ready,
        run_s=run_s,
    )


def _torn_run(deployment: Path | None, campaign: str, attempt: Mapping[str, Any]) -> str | None:
    """The directory of the run that an attempt left behind."""
    for directory in sorted(deployment.glob("runs/*"), reverse=True) if deployment else ():
        with suppress(StateError):  # killed before its first record was complete
            labels = record.read(directory).campaign
            if labels and (labels.campaign, labels.item, labels.attempt) == (
                campaign,
                attempt["item"],
                attempt["attempt"],
            ):
                return directory.name
    return None
