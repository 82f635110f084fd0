"""How long `enos_crdb deploy` takes, per step and host count, with an empty and with a filled cache.

Run as root: ``invoke bench.deploy``. Each row is one real deployment on local hosts; the table also shows
the CPU time of the engine with its children, and the peak memory of its largest process. Nothing else
should run on the machine; the load before each deployment is printed so that a reader can tell.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

HAND_TYPED_S = 60 + 25 + 62 + 45 + 2
"""Base image, database, Keystone, Rally's virtualenv and booting, typed one after the other on 2 cores."""

PLACES = {
    "1": [{"roles": ["database", "keystone", "rally"]}],
    "2": [{"roles": ["database", "keystone"]}, {"roles": ["rally"]}],
    "4": [{"roles": ["database", "keystone"]}, {"roles": ["keystone"], "count": 2}, {"roles": ["rally"]}],
    "4 galera": [{"roles": ["database", "keystone"], "count": 3}, {"roles": ["rally"]}],
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One deployment. Seconds of wall clock, by step; CPU seconds; peak memory in MB."""

    hosts: str
    cache: str
    steps: dict[str, float]
    seconds: float
    cpu_s: float
    peak_mb: float
    load_before: float


def main() -> None:
    """Deploy each host count twice from a cache of its own, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", nargs="*", default=list(PLACES), choices=list(PLACES), help="host counts")
    parser.add_argument("--keep", action="store_true", help="keep the caches and results")
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="enos_crdb-bench-", dir="/var/tmp"))
    rows: list[Row] = []
    try:
        for hosts in options.hosts:
            place = scratch / hosts.replace(" ", "-")
            place.mkdir()
            rows += [measure(hosts, "empty", place), measure(hosts, "filled", place)]
    finally:
        if rows:
            Console(width=200 if not sys.stdout.isatty() else None).print(table(rows))
            print(verdict(rows))
        if not options.keep:
            shutil.rmtree(scratch, ignore_errors=True)


def measure(hosts: str, cache: str, place: Path) -> Row:
    """Deploy once, read the steps' times from the state file, destroy."""
    file = place / "experiment.yaml"
    backend = "galera" if "galera" in hosts else "postgresql"
    name = f"bench-{hosts.replace(' ', '-')}"
    document = {"name": name, "provider": "nspawn", "machines": PLACES[hosts], "database": {"backend": backend}}
    file.write_text(yaml.safe_dump(document))
    environment = {**os.environ, "ENOS_CRDB_CACHE": str(place / "cache"), "ENOS_CRDB_RESULTS": str(place / "results")}
    engine = [sys.executable, "-m", "enos_crdb"]
    load = os.getloadavg()[0]
    print(f"-- {hosts} host(s), {cache} cache (load before: {load:.2f})", flush=True)
    started = time.monotonic()
    process = subprocess.Popen([*engine, "deploy", "--env", str(file)], env=environment)
    _, status, used = os.wait4(process.pid, 0)  # of this deployment alone, and of all that it waited for
    seconds = time.monotonic() - started
    if status:
        sys.exit(f"the deployment of {hosts} host(s) with {cache} cache failed")
    done = json.loads((place / "results" / "current" / "deployment.json").read_text())["done"]
    subprocess.run([*engine, "destroy"], env=environment, check=True)
    return Row(
        hosts=hosts,
        cache=cache,
        steps={step: value["seconds"] for step, value in done.items()},
        seconds=seconds,
        cpu_s=used.ru_utime + used.ru_stime,
        peak_mb=used.ru_maxrss / 1024,
        load_before=load,
    )


def table(rows: list[Row]) -> Table:
    """One line per deployment."""
    shown = Table(title="enos_crdb deploy (seconds)")
    steps = list(rows[0].steps)
    for heading in ("hosts", "cache", *steps, "total", "CPU s", "peak MB", "load before"):
        shown.add_column(heading, justify="right")
    for row in rows:
        values = [f"{row.steps.get(step, 0):.1f}" for step in steps]
        shown.add_row(
            row.hosts,
            row.cache,
            *values,
            f"{row.seconds:.1f}",
            f"{row.cpu_s:.1f}",
            f"{row.peak_mb:.0f}",
            f"{row.load_before:.2f}",
        )
    return shown


def verdict(rows: list[Row]) -> str:
    """The ratios that matter, from this one session."""
    total = {(row.hosts, row.cache): row.seconds for row in rows}
    lines = [f"typed by hand, one after the other: {HAND_TYPED_S} s"]
    for hosts in dict.fromkeys(row.hosts for row in rows):
        first, second = total[hosts, "empty"], total.get((hosts, "filled"))
        line = f"{hosts}: first / typed by hand = {first / HAND_TYPED_S:.2f}"
        if second:
            line += f"; second / first = {second / first:.2f}"
        if ("1", "empty") in total and hosts != "1":
            line += f"; first / first of one host = {first / total['1', 'empty']:.2f}"
        lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    main()
