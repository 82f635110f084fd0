"""Samples of many runs as one table."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from enos_crdb import stats
from enos_crdb.errors import StateError
from enos_crdb.loading.combinations import combine
from enos_crdb.loading.stored import Skipped, StoredRun, find

if TYPE_CHECKING:
    import pandas


def load(path: Path | str) -> pandas.DataFrame:
    """All samples below `path` as one table.

    Columns are the fields of `Sample`, then ``deployment``, ``backend``, ``combination``, ``repetition``, ``block`` and
    ``factor.<name>`` for each factor (numbers when all its levels are). A combination holds the runs that repeat one
    another (`identity`), and is called by what tells it from the others here; outside a campaign, repetitions are
    counted in their deployment. Text columns are categories. What was left out is warned of, and
    listed in ``.attrs["skipped"]``. Raises `StateError` when no run can be read.
    """
    import pandas

    found = find(path)
    combinations = {run.directory: group.name for group in combine(found.runs) for run in group.runs}
    factors = sorted({name for run in found.runs for name in run.factors})
    skipped, tables, seen = list(found.skipped), [], Counter[str]()
    for run in found.runs:
        seen[run.deployment] += 1
        try:
            tables.append(_labelled(run, combinations[run.directory], factors, seen[run.deployment]))
        except StateError as error:
            skipped.append(Skipped.for_(run.directory, error))
    if not tables:
        raise StateError(f"no run in {path} can be read:\n" + "\n".join(f"  {one}" for one in skipped))
    table = _numbers(pandas.concat(_alike(tables), ignore_index=True), found.runs, factors)
    table.attrs["skipped"] = [str(one) for one in skipped]
    if skipped:
        warnings.warn(f"{len(skipped)} runs left out: {'; '.join(table.attrs['skipped'])}", stacklevel=2)
    return table


def _labelled(run: StoredRun, combination: str, factors: Sequence[str], repetition: int) -> pandas.DataFrame:
    """The run's samples with its combination and its place in the campaign in every row."""
    from pandas import CategoricalDtype, Series

    table = stats.read(run.samples)
    texts = {"deployment": run.deployment, "backend": run.backend, "combination": combination}
    levels = {f"factor.{name}": str(run.factors[name]) if name in run.factors else None for name in factors}
    columns = {
        name: Series(text, index=table.index, dtype=CategoricalDtype([text] if text is not None else []))
        for name, text in {**texts, **levels}.items()
    }
    place = run.labels
    numbers = {"repetition": place.repetition if place else repetition, "block": place.block if place else 1}
    return table.assign(**columns, **numbers)[[*stats.COLUMNS, *texts, *numbers, *levels]]


def _numbers(table: pandas.DataFrame, runs: Sequence[StoredRun], factors: Sequence[str]) -> pandas.DataFrame:
    """Factors whose levels are numbers as numbers, so that they can be compared and drawn."""
    for name in factors:
        levels = {str(run.factors[name]): run.factors[name] for run in runs if name in run.factors}
        if all(isinstance(level, int | float) and not isinstance(level, bool) for level in levels.values()):
            table[f"factor.{name}"] = table[f"factor.{name}"].astype(object).map(levels).astype(float)
            if table[f"factor.{name}"].notna().all() and all(isinstance(level, int) for level in levels.values()):
                table[f"factor.{name}"] = table[f"factor.{name}"].astype(int)
    return table


def _alike(tables: Sequence[pandas.DataFrame]) -> list[pandas.DataFrame]:
    """The tables with the same categories in each column: otherwise pandas would make text of them again."""
    from pandas import CategoricalDtype

    names = [name for name in tables[0] if isinstance(tables[0][name].dtype, CategoricalDtype)]
    common = {
        name: CategoricalDtype(list(dict.fromkeys(text for table in tables for text in table[name].cat.categories)))
        for name in names
    }
    return [table.astype(common) for table in tables]
