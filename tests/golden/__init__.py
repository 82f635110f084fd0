"""Stored runs, and the tables that reports of them must have: a change of the code must not change a number.

``stored/`` is a results directory with a run that was measured (PostgreSQL on local hosts, without Rally's own files,
journals and configuration files), as it was written then. ``python -m tests.golden`` writes the tables anew; a commit
that does says which numbers changed and why.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.synthetic import grid, write_campaign
from enos_crdb.report import collect
from enos_crdb.report.contents import compose
from enos_crdb.summary import summarise, write_csv

PLACE = Path(__file__).resolve().parent
TABLES = PLACE / "tables"
SCENARIOS = ("keystone/authenticate", "keystone/create-and-list-users")


def tables(scratch: Path) -> Mapping[str, str]:
    """Every table of the reports and summaries of what is stored: its name -> the CSV file's text."""
    found: dict[str, str] = {}
    stored = scratch / "stored"
    shutil.copytree(PLACE / "stored", stored)
    campaign = write_campaign(
        scratch / "drawn",
        combinations=grid(("postgresql", "galera"), (0.0, 10.0, 50.0)),
        runs=2,
        iterations=30,
        scenarios=SCENARIOS,
        failure_share=0.1,
        refused=1,
        failed=1,
    )
    (run,) = stored.glob("*/runs/*")
    found["measured/summary.csv"] = write_csv(summarise(run), run).read_text(encoding="utf-8")
    for name, source in (("measured", run), ("drawn", campaign)):
        page = compose(collect([source]), scratch)  # without drawing its figures
        found |= {f"{name}/{table.name}.csv": table.csv() for part in page.sections for table in part.tables}
    return found


def write() -> None:
    """Write the tables as the code makes them now."""
    shutil.rmtree(TABLES, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, text in tables(Path(scratch)).items():
            (TABLES / name).parent.mkdir(parents=True, exist_ok=True)
            (TABLES / name).write_text(text, encoding="utf-8")
