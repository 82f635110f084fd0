"""What of a run is the load and what the engine: seconds and share of each kind of work, on few and on many hosts.

Run as root: ``invoke bench.run``. Local hosts are real; there the clock counts. A stub in place of ssh plays
50, 100 and 500 hosts that do nothing: there only this program's processor time and memory count, and no number of
theirs is a measurement of Keystone.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.stub import Stub
from enos_crdb import config, events, inventory
from enos_crdb.config import Configuration
from enos_crdb.door import SshDoor
from enos_crdb.model import Event
from enos_crdb.phases import deploy, destroy
from enos_crdb.phases.context import Context, open_context
from enos_crdb.run import measure
from enos_crdb.store import Store
from enos_crdb.testing import FakeProvider, RecordingAnsible, RecordingDoor, RecordingRunner, resources

SCENARIOS = ("keystone/authenticate-user-and-validate-token", "keystone/create-and-list-tenants")
MACHINES: Mapping[str, list[dict[str, Any]]] = {
    "1": [{"roles": ["database", "keystone", "rally"]}],
    "4": [{"roles": ["database", "keystone"], "count": 3}, {"roles": ["rally"]}],
    "8": [{"roles": ["database", "keystone"], "count": 6}, {"roles": ["rally"], "count": 2}],
}
SIMULATED = (50, 100, 500)
GROUP = 25
"""Simulated hosts come in groups of so many; a file allows 200 in one."""
ENGINE, LOAD, RALLY = "reading and writing, here", "the load itself", "Rally's own, around the load"
WAIT, START = "Waiting for the end of Rally", "Starting Rally"


@dataclass
class Clock:
    """Seconds by kind of work: what hosts were doing, or this program between two such things."""

    spent: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    doing: str = ENGINE
    since: float = field(default_factory=time.monotonic)

    def __call__(self, event: Event) -> None:
        if event.kind == "task":
            self.turn(event.text)
        elif event.kind in ("ok", "phase", "phase-done"):
            self.turn(ENGINE)

    def turn(self, doing: str) -> None:
        """From now on, `doing`."""
        now = time.monotonic()
        self.spent[self.doing] += now - self.since
        self.doing, self.since = doing, now


@dataclass(frozen=True, kw_only=True)
class Row:
    """A run. Seconds of wall clock, by kind of work; CPU seconds, of ssh too where it is real; peak memory in MB."""

    hosts: int
    scenarios: int
    spent: Mapping[str, float]
    seconds: float
    cpu_s: float
    peak_mb: float

    @property
    def load_s(self) -> float:
        return self.spent[LOAD]

    def overhead_s(self, *kinds: str) -> float:
        return sum(self.spent.get(kind, 0.0) for kind in kinds)


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", nargs="*", default=list(MACHINES), choices=list(MACHINES), help="local hosts")
    parser.add_argument("--simulated", nargs="*", type=int, default=SIMULATED, help="simulated hosts")
    parser.add_argument("--times", type=int, default=40, help="iterations per scenario")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    print(f"load of this machine before: {os.getloadavg()[0]:.2f}", flush=True)
    for hosts in options.hosts:
        console.print(kinds(apart(on_local_hosts, hosts, options.times)))
    if options.simulated:
        console.print(many([least(count) for count in options.simulated]))


def apart(measured: Any, *arguments: Any) -> Row:
    """Measure in a process of its own, so that memory and processor time are those of this one run."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        row: Row = pool.submit(measured, *arguments).result()
    return row


def least(count: int) -> Row:
    """The one of three that cost least: what else the machine does only ever adds."""
    return min((apart(on_a_stub, count) for _ in range(3)), key=lambda row: row.cpu_s)


def on_local_hosts(hosts: str, times: int) -> Row:
    """Deploy, warm up with a run, measure another, destroy."""
    scratch = Path(tempfile.mkdtemp(prefix="enos_crdb-bench-", dir="/var/tmp"))
    configuration = check(MACHINES[hosts], "postgresql" if hosts == "1" else "galera", times=times)
    deployment = Store(scratch).create(configuration.name, configuration.model_dump(mode="json"))
    deployment.add_secrets(inventory.new_secrets())
    context = open_context(deployment, configuration)
    try:
        print(f"-- {hosts} local host(s)", flush=True)
        deploy.deploy(context)
        measure(context, configuration.bench)
        return measured(context, children=True)
    finally:
        destroy.destroy(context, keep_hosts=False)
        shutil.rmtree(scratch)


def check(machines: list[dict[str, Any]], backend: str, *, times: int) -> Configuration:
    return config.check(
        {
            "name": "bench-run",
            "provider": "nspawn",
            "machines": machines,
            "database": {"backend": backend},
            "openstack": {"keystone": {"password_hash_rounds": 4}},
            "bench": {
                "scenarios": list(SCENARIOS),
                "times": times,
                "concurrency": min(2, times),
                "load": "light" if len(machines) < 2 else "heavy",
            },
        },
        source="bench.run",
    )


def on_a_stub(count: int) -> Row:
    """A run on hosts that answer at once and do nothing, each behind a connection as ssh would be one."""
    half = {"roles": ["database", "keystone"], "count": GROUP}, {"roles": ["rally"], "count": GROUP}
    machines = [dict(group) for group in half for _ in range(count // GROUP // 2)]
    configuration = check(machines, "cockroachdb", times=1)
    with tempfile.TemporaryDirectory(prefix="enos_crdb-bench-") as scratch:
        deployment = Store(Path(scratch)).create(configuration.name, configuration.model_dump(mode="json"))
        deployment.add_secrets(inventory.new_secrets())
        context = Context(
            configuration=configuration,
            deployment=deployment,
            provider=FakeProvider(configuration=configuration),
            ansible=RecordingAnsible(),
            door=RecordingDoor(),
            runner=RecordingRunner(),
            cache=Path(scratch) / "cache",
        )
        deployment.save(resources=resources(configuration))
        deployment.mark_done("verify", 0.0)
        with Stub(context.resources.hosts, Path(scratch)) as stub:
            return measured(replace(context, door=SshDoor(logs=deployment.logs, connect=stub.connect)), children=False)


def measured(context: Context, *, children: bool) -> Row:
    """Run once, and look at the clock."""
    clock, cpu_s, began = Clock(), used(children), time.monotonic()
    with events.listening(clock):
        run = measure(context, context.configuration.bench)
        clock.turn("")
    seconds = time.monotonic() - began
    context.door.close()  # the processor time of ssh counts when it has ended
    spent = dict(clock.spent)
    load_s, waited_s = loaded(run), spent[WAIT] + spent[START]
    if children:
        spent = {kind: value for kind, value in spent.items() if kind not in (WAIT, START)}
        spent |= {LOAD: load_s, RALLY: waited_s - load_s}
    return Row(
        hosts=len(context.resources.hosts),
        scenarios=len(context.configuration.bench.scenarios),
        spent=spent,
        seconds=seconds,
        cpu_s=used(children) - cpu_s,
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def used(children: bool) -> float:
    """CPU seconds of this process, and of those it waited for."""
    whose = [resource.RUSAGE_SELF, *([resource.RUSAGE_CHILDREN] if children else [])]
    usages = [resource.getrusage(who) for who in whose]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def loaded(run: Path) -> float:
    """Seconds under load: from the first iteration's start to the last one's end, of all scenarios."""
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    with (run / "samples.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            if row["metric"] == "iteration":
                name, start = row["scenario"], float(row["started_at"])
                first[name] = min(first.get(name, start), start)
                last[name] = max(last.get(name, 0.0), start + float(row["value"]))
    return sum(last[name] - first[name] for name in first)


PER_RUN = (
    "Measuring round trips",
    "Starting Rally and the sampler",
    "Stopping Rally and the sampler",
    "Collecting journals, files and versions",
)
"""What a run does once, however many its scenarios."""


def kinds(row: Row) -> Table:
    """What one run spent, by kind of work."""
    shown = Table(
        title=f"{row.hosts} local host(s), {row.scenarios} scenarios: {row.seconds:.1f} s, CPU {row.cpu_s:.1f} s"
    )
    for heading in ("kind of work", "seconds", "share"):
        shown.add_column(heading, justify="left" if heading == "kind of work" else "right")
    found = sorted(row.spent.items(), key=lambda item: -item[1])
    for kind, seconds in found:
        shown.add_row(kind, f"{seconds:.2f}", f"{seconds / row.seconds:.0%}", end_section=kind == found[-1][0])
    once_s = sum(row.spent.get(kind, 0.0) for kind in PER_RUN)
    each_s = (row.seconds - row.load_s - once_s) / row.scenarios
    shown.add_row("of a run, once", f"{once_s:.2f}", f"{once_s / row.seconds:.0%}")
    shown.add_row("of a scenario, beside its load", f"{each_s:.2f}", f"{each_s / row.seconds:.0%}")
    engine_s = row.seconds - row.load_s - row.spent[RALLY]
    shown.add_row("the engine's: neither the load nor Rally", f"{engine_s:.2f}", f"{engine_s / row.seconds:.0%}")
    return shown


def many(rows: list[Row]) -> Table:
    """One line per number of simulated hosts."""
    shown = Table(title="simulated hosts (a stub in place of ssh)")
    for heading in ("hosts", "scenarios", "CPU s", "CPU ms per host", f"ratio to {rows[0].hosts}", "peak MB"):
        shown.add_column(heading, justify="right")
    least = rows[0].cpu_s / rows[0].hosts
    for row in rows:
        each = row.cpu_s / row.hosts
        shown.add_row(
            str(row.hosts),
            str(row.scenarios),
            f"{row.cpu_s:.2f}",
            f"{each * 1000:.1f}",
            f"{each / least:.2f}",
            f"{row.peak_mb:.0f}",
        )
    return shown


if __name__ == "__main__":
    main()
