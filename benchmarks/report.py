"""How long `enos_crdb report` takes on a campaign of a million samples, and how much memory.

``invoke bench.report``. The campaign is synthetic (numbers drawn at random), written below a scratch directory that is
removed at the end; the page is made by the command itself, in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import synthetic

MOST_S, MOST_MB, MOST_PAGE_MB = 30.0, 1000.0, 5.0
"""What a page may cost with a million samples on two cores."""
SCENARIOS = ("keystone/authenticate", "keystone/create-user", "keystone/get-entities", "keystone/create-and-list-users")
RUNS = 3


@dataclass(frozen=True, kw_only=True)
class Row:
    """One page: what went in, and what it cost."""

    samples: int
    runs: int
    seconds: float
    cpu_s: float
    peak_mb: float
    page_mb: float
    figures: int
    load_before: float


def main() -> int:
    """Measure each size and print the table; 1 when a million samples cost too much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--keep", action="store_true", help="keep the results and the pages")
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="enos_crdb-bench-report-", dir="/var/tmp"))
    rows = []
    try:
        for samples in options.samples:
            rows.append(measure(scratch / str(samples), samples))
    finally:
        if options.keep:
            print(f"kept: {scratch}")
        else:
            shutil.rmtree(scratch, ignore_errors=True)
    Console(width=200 if not sys.stdout.isatty() else None).print(table(rows))
    costly = [row for row in rows if row.seconds > MOST_S or row.peak_mb > MOST_MB or row.page_mb > MOST_PAGE_MB]
    for row in costly:
        print(f"{row.samples} samples cost more than {MOST_S:g} s, {MOST_MB:g} MB or a page of {MOST_PAGE_MB:g} MB")
    return 1 if costly else 0


def measure(root: Path, samples: int) -> Row:
    """Write a campaign of about so many samples, and report it."""
    combinations = synthetic.grid()
    # Each iteration is two samples: itself and its one atomic action.
    iterations = samples // (2 * len(combinations) * RUNS * len(SCENARIOS))
    root.mkdir()
    campaign = synthetic.write_campaign(
        root, combinations=combinations, runs=RUNS, iterations=iterations, scenarios=SCENARIOS
    )
    load = os.getloadavg()[0]
    command = [sys.executable, "-m", "enos_crdb", "--results", str(root), "report", campaign.name]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    if status:
        sys.exit(f"the report of {samples} samples failed")
    return Row(
        samples=2 * iterations * len(combinations) * RUNS * len(SCENARIOS),
        runs=len(combinations) * RUNS,
        seconds=seconds,
        cpu_s=used.ru_utime + used.ru_stime,
        peak_mb=used.ru_maxrss / 1024,
        page_mb=(campaign / "report.html").stat().st_size / 1e6,
        figures=len(list((campaign / "figures").glob("*.svg"))),
        load_before=load,
    )


def table(rows: list[Row]) -> Table:
    """One line per size."""
    shown = Table(title="enos_crdb report")
    for heading in ("samples", "runs", "seconds", "CPU s", "peak MB", "page MB", "figures", "load before"):
        shown.add_column(heading, justify="right")
    for row in rows:
        shown.add_row(
            f"{row.samples:,}",
            str(row.runs),
            f"{row.seconds:.1f}",
            f"{row.cpu_s:.1f}",
            f"{row.peak_mb:.0f}",
            f"{row.page_mb:.2f}",
            str(row.figures),
            f"{row.load_before:.2f}",
        )
    return shown


if __name__ == "__main__":
    sys.exit(main())
