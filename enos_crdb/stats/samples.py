"""Samples as a table in memory, and as the CSV that a run keeps."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from enos_crdb.model import STEADY, Sample

if TYPE_CHECKING:
    import pandas

ITERATION = "iteration"
"""Metric of a whole iteration; every other one is ``response`` or the path of an atomic action."""
COLUMNS = tuple(field.name for field in fields(Sample))
_row = attrgetter(*COLUMNS)


def frame(samples: Iterable[Sample]) -> pandas.DataFrame:
    """Samples as a table: one row each, columns named as the fields of `Sample`."""
    import pandas

    return pandas.DataFrame.from_records([_row(sample) for sample in samples], columns=list(COLUMNS))


def write(samples: Iterable[Sample], path: Path) -> None:
    """Write `samples` as CSV with a header, row by row: a table would be a second copy. Times keep the microsecond."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(
            [f"{cell:.6f}" if isinstance(cell, float) else cell for cell in _row(sample)] for sample in samples
        )


def read(path: Path) -> pandas.DataFrame:
    """The table that `write` wrote."""
    import pandas

    text = dict.fromkeys(("run", "scenario", "client", "metric", "unit", "outcome", "error", "window"), str)
    table = pandas.read_csv(
        path, dtype=text, keep_default_na=False, na_values={"value": ["", "nan"], "intended_at": ["", "nan"]}
    )
    if "window" not in table:  # written before there was a warm-up
        table = table.assign(window=STEADY, intended_at=float("nan"))
    return table
