"""Samples as a table in memory, and as the CSV that a run keeps."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from enos_crdb.errors import StateError
from enos_crdb.model import Sample

if TYPE_CHECKING:
    import pandas

ITERATION = "iteration"
"""Metric of a whole iteration; every other one is ``response`` or the path of an atomic action."""
COLUMNS = tuple(field.name for field in fields(Sample))
TEXT = ("run", "scenario", "client", "metric", "unit", "outcome", "error", "window")
"""Columns of text; few different values each."""
_row = attrgetter(*COLUMNS)


def frame(samples: Iterable[Sample]) -> pandas.DataFrame:
    """Samples as a table: one row each, columns named as the fields of `Sample`."""
    import pandas

    return pandas.DataFrame.from_records([_row(sample) for sample in samples], columns=list(COLUMNS))


def append(samples: Iterable[Sample], path: Path) -> None:
    """Add `samples` to a CSV file, with a header when it is new, row by row: a table would be a second copy.

    Times keep the microsecond. On the disk when this returns.
    """
    path.touch(mode=0o600)
    with path.open("a", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        if stream.tell() == 0:
            writer.writerow(COLUMNS)
        writer.writerows(
            [f"{cell:.6f}" if isinstance(cell, float) else cell for cell in _row(sample)] for sample in samples
        )
        stream.flush()
        os.fsync(stream.fileno())


def read(path: Path) -> pandas.DataFrame:
    """The table that `append` wrote; text columns are categories, which keeps a million rows below 100 MB.

    Raises `StateError` for a file that is torn or foreign.
    """
    import pandas

    types: dict[str, str] = {**dict.fromkeys(TEXT, "category"), "value": "float64", "started_at": "float64"}
    try:
        table = pandas.read_csv(
            path,
            dtype=types,
            keep_default_na=False,
            na_values={"value": ["", "nan"], "intended_at": ["", "nan"]},
        )
    except (OSError, ValueError) as error:
        raise StateError(f"{path} cannot be read as samples: {error}.") from None
    lacking = [column for column in COLUMNS if column not in table]
    whole = not lacking and not table[list(TEXT)].isna().any(axis=None)  # no cell of ours is missing, only empty
    if not whole or not set(table["outcome"].cat.categories) <= {"ok", "failed"}:
        what = f"no column {', '.join(lacking)}" if lacking else "a row ends early, or is not ours"
        raise StateError(f"{path} is torn, or not what a run writes: {what}.")
    return table
