"""One run: every scenario of the ``bench`` section once, on a deployment, into a directory of its own."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from enos_crdb import events, provenance, rally, record, stats
from enos_crdb.config import check
from enos_crdb.config.bench import Bench
from enos_crdb.errors import BenchError
from enos_crdb.masking import to_mask
from enos_crdb.model import LOAD, STEADY, Host, Sample, slug
from enos_crdb.network.probes import Window
from enos_crdb.phases import emulate, load
from enos_crdb.phases.collect import collect
from enos_crdb.phases.context import Context
from enos_crdb.phases.reset import cross, reset
from enos_crdb.record import Labels, Outcome, RunRecord, ScenarioRecord
from enos_crdb.store import now, write_json, write_text

UNCOMMITTED = "uncommitted.diff"
"""What the code had beyond its commit."""
PREFLIGHT_S = 20
"""How long a Keystone may take to issue a token after its database was reset."""


class Run:
    """A run in progress. Its record is saved whenever it changes: what is done is never lost."""

    def __init__(self, context: Context, section: Bench, labels: Labels | None) -> None:
        self.context = context
        self.section = section
        self.directory = context.deployment.new_run()
        installer = context.configuration.openstack.installer
        self.clients = rally.clients(context.resources, section.load, section.placement, installer=installer)
        state = context.deployment.state
        configuration = {**state.configuration, "bench": section.model_dump(mode="json")}
        self.record = RunRecord(
            run=self.directory.name,
            deployment=context.deployment.directory.name,
            started_at=now(),
            provider=context.configuration.provider,
            campaign=labels,
            provenance=provenance.describe(context.runner),
            configuration=check(configuration, source=str(context.deployment.directory / "deployment.json")),
            hosts=tuple(_remembered(host) for host in context.resources.hosts),
            layers=dict(state.layers),
            clients=self.clients,
        )
        if self.record.provenance.dirty:
            write_text(self.directory / UNCOMMITTED, provenance.uncommitted(context.runner))
        self.windows: list[Window] = []
        """When each scenario loaded the hosts."""
        self.save()

    def save(self, **changes: Any) -> None:
        """Keep what has changed of the record."""
        self.record = replace(self.record, **changes)
        record.write(self.record, self.directory)

    def warn(self, text: str) -> None:
        """Tell the user and keep it beside the numbers."""
        events.warn(text)
        self.record = replace(self.record, warnings=(*self.record.warnings, text))


def _remembered(host: Host) -> Host:
    """A host without the way to it. Its address stays: on Grid'5000 it says which machine it was."""
    roles = tuple(role for role in host.roles if role != LOAD)  # the clients say where Rally ran
    return Host(
        name=host.name,
        roles=roles,
        site=host.site,
        address=host.address,
        addresses=dict(host.addresses),
        system=host.system,
    )


def measure(context: Context, section: Bench, *, labels: Labels | None = None) -> Path:
    """Reset, load and measure for each scenario, then collect; returns the run's directory.

    ``labels`` say which place the run has in a campaign.
    A scenario that cannot run is recorded and the others go on. Raises `DeploymentError` when the hosts
    cannot even be prepared, `StateError` when the deployment is not complete, and `NetworkError` when the network
    is not what the file asks for and that is to be refused: nothing is measured then, or what was is not reported.
    """
    context.require("verify")
    context.require_lease()
    context = context.measuring(section)
    this = Run(context, section, labels)
    events.note(f"run {this.directory.name}")
    with events.phase("network", "Measuring the network"):
        before = emulate.before(context)
        this.save(network=before)
    emulate.refuse(before)
    try:
        with events.phase("bench-begin", "Preparing Rally"):
            load.begin(context, this.directory.name, this.clients, section, expected=before.expected)
        for index, name in enumerate(section.scenarios, 1):
            with events.phase("bench", f"{name} ({index}/{len(section.scenarios)})") as phase:
                phase.result = _scenario(this, index, name)
    finally:
        _end(this)
    with events.phase("network", "Measuring the network again"):
        after = emulate.after(context, before)
        this.save(network=after)
    with events.phase("collect", "Collecting from the hosts"):
        collect(context, this.directory)
        this.record = record.read(this.directory)
        under_load = emulate.during(context, this.directory, this.record, after, this.windows)
        this.save(network=under_load)
    emulate.refuse(under_load)
    return this.directory


def _end(this: Run) -> None:
    """Leave nothing running on the hosts; also after Ctrl-C."""
    try:
        load.end(this.context, this.directory.name)
    finally:
        this.save(finished_at=now())


def _scenario(this: Run, index: int, name: str) -> str:
    """Reset, load, and keep what came of it; returns that in a few words."""
    started_at = now()
    samples: list[Sample] = []
    if problem := _reset(this, index):
        outcomes = tuple(
            Outcome(client=client.name, status="invalid", message=f"the database could not be reset: {problem}")
            for client in this.clients
        )
    else:
        outcomes = _load(this, index, name, samples)
    samples = rally.in_windows(samples, this.section)
    if iterations := [sample for sample in samples if sample.metric == "iteration"]:
        this.windows.append(
            Window(
                scenario=name,
                begin=min(sample.started_at for sample in iterations),
                end=max(sample.started_at + sample.value for sample in iterations),
                iterations=len(iterations),
                mean_ms=1000 * statistics.fmean(sample.value for sample in iterations),
            )
        )
    stats.append(samples, this.directory / "samples.csv")
    found = ScenarioRecord(
        name=name,
        index=index,
        started_at=started_at,
        finished_at=now(),
        clients=outcomes,
        load=rally.pace(samples, this.section),
    )
    this.save(scenarios=(*this.record.scenarios, found))
    for outcome in outcomes:
        if not outcome.ok:
            events.warn(f"{name}, {outcome.client}: {outcome.status}: {outcome.message}")
    return _in_short(samples)


def _in_short(samples: Sequence[Sample]) -> str:
    """How many iterations there were, and the mean of the steady ones that succeeded."""
    found = [sample for sample in samples if sample.metric == "iteration" and sample.window == STEADY]
    good = [sample.value for sample in found if sample.outcome == "ok"]
    counted = f"{len(found)} iterations" + (f", {len(found) - len(good)} failed" if len(good) < len(found) else "")
    return f"{counted}, mean {statistics.fmean(good) * 1000:.0f} ms" if good else counted


def _reset(this: Run, index: int) -> str | None:
    """Make Keystone's database anew when the configuration says so; returns why it could not be done."""
    if this.section.reset == "never" or (this.section.reset == "run" and index > 1):
        return None
    done = reset(this.context)
    if done.problem:
        return done.problem
    if done.silent:
        this.warn(f"{', '.join(done.silent)} could not be reached while the database was reset")
    # The first requests on a new database find dead connections and empty caches; they are not Rally's to pay for.
    for failure in cross(this.context, timeout_s=PREFLIGHT_S):
        this.warn(f"before the load: {failure}")
    return None


def _load(this: Run, index: int, name: str, samples: list[Sample]) -> tuple[Outcome, ...]:
    incoming = this.directory / "incoming"
    incoming.mkdir(exist_ok=True)
    try:
        found = load.load(
            this.context,
            this.directory.name,
            index=index,
            name=name,
            clients=this.clients,
            section=this.section,
            incoming=incoming,
        )
        _keep_counters(this.directory, slug(index, name), found.counters)
        secrets = to_mask(this.context.secrets.values())
        outcomes = rally.receive(this.directory, incoming, index, name, this.clients, secrets=secrets)
    finally:
        shutil.rmtree(incoming)
    for trouble in found.troubles:
        this.warn(f"{name}: {trouble}")
    return tuple(_read(this, name, outcome, samples) for outcome in outcomes)


def _read(this: Run, name: str, outcome: Outcome, samples: list[Sample]) -> Outcome:
    """Add one client's report to `samples`; a report that cannot be read makes the outcome a failure."""
    if outcome.file is None:
        return outcome
    try:
        samples += rally.samples(
            this.directory / outcome.file, run=this.directory.name, scenario=name, client=outcome.client
        )
    except BenchError as error:
        return Outcome(client=outcome.client, status="crashed", message=str(error), file=outcome.file)
    return outcome


def _keep_counters(directory: Path, scenario: str, counters: load.Counters) -> None:
    """Write the counters of databases and Keystones around a scenario.

    To ``hosts/<host>/counters/<scenario>.json`` and ``hosts/<host>/keystone_counters/<scenario>.json``, the values
    of both moments each.
    """
    for kind, by_host in counters.items():
        for host, moments in by_host.items():
            place = directory / "hosts" / host / kind
            place.mkdir(parents=True, exist_ok=True)
            write_json(place / f"{scenario}.json", moments)
