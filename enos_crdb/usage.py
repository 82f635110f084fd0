"""What hosts used during a run: the sampler's CSV (see ``playbooks/programs/sampler.py``)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from enos_crdb.errors import StateError

if TYPE_CHECKING:
    import pandas

RALLY = "rally_client"
"""Rally's processes, as the sampler names them."""
IDLE = ("idle", "iowait")


@dataclass(frozen=True)
class Usage:
    """One host over time. Counters only grow: a restart of the host does not take back what was used."""

    cores: float
    process_cpu_s: Mapping[str, pandas.Series[float]]
    machine_busy_s: pandas.Series[float]
    machine_cores: float

    def process_share(self, name: str, start: float, end: float) -> float:
        """CPU seconds of the processes called `name` per second and core of this host; NaN when nobody looked."""
        if name not in self.process_cpu_s:
            return 0.0 if self._covers(start, end) else math.nan
        return _grown(self.process_cpu_s[name], start, end) / self.cores

    def processes_cores(self, start: float, end: float) -> float:
        """How many cores all processes of this host kept busy; NaN when nobody looked."""
        if not self._covers(start, end):
            return math.nan
        return sum(_grown(counter, start, end) for counter in self.process_cpu_s.values())

    def machine_share(self, start: float, end: float) -> float:
        """How busy all cores of the machine were, 0 to 1 (local hosts share their machine with everything else)."""
        return _grown(self.machine_busy_s, start, end) / self.machine_cores

    def _covers(self, start: float, end: float) -> bool:
        times = self.machine_busy_s.index
        return len(times) > 1 and times[0] <= start and end <= times[-1] + 2.0


def read(path: Path, *, limit_cores: float | None = None) -> Usage:
    """Read a host's samples; ``limit_cores`` is its CPU limit, if it has one. Raises `StateError`."""
    import pandas

    try:
        rows = pandas.read_csv(path, keep_default_na=False, dtype={"name": str})
        rows["time"] = rows["time"].astype(float)
        rows["value"] = rows["value"].astype(float)
    except (OSError, ValueError, KeyError) as error:
        raise StateError(f"{path} cannot be read as samples of a host: {error}.") from None
    cores = rows.loc[rows["metric"] == "cores", "value"]
    times = sorted(set(rows["time"]))
    machine_cores = float(cores.iloc[-1]) if len(cores) else math.nan
    return Usage(
        cores=min(machine_cores, limit_cores or machine_cores),
        process_cpu_s=_counters(rows[rows["metric"] == "process_cpu_s"], times),
        machine_busy_s=_busy(rows[rows["metric"] == "machine_cpu_s"], times),
        machine_cores=machine_cores,
    )


def _counters(rows: pandas.DataFrame, times: list[float]) -> dict[str, pandas.Series[float]]:
    """Every counter at every instant. A value is written when it changes; it begins anew after a restart."""
    found = {}
    for name, group in rows.groupby("name"):
        known = group.drop_duplicates("time", keep="last").set_index("time")["value"]
        grown = known.diff().clip(lower=0).fillna(known)
        found[str(name)] = grown.cumsum().reindex(times).ffill().fillna(0.0)
    return found


def _busy(rows: pandas.DataFrame, times: list[float]) -> pandas.Series[float]:
    import pandas

    states = [series for name, series in _counters(rows, times).items() if name not in IDLE]
    return sum(states[1:], start=states[0]) if states else pandas.Series(dtype=float)


def _grown(counter: pandas.Series[float], start: float, end: float) -> float:
    """Growth per second from `start` to `end`, straight between samples; NaN outside of them."""
    import numpy

    times = counter.index.to_numpy(dtype=float)
    if len(times) < 2 or not (end > start >= times[0] - 2.0) or end > times[-1] + 2.0:
        return math.nan
    before, after = numpy.interp([start, end], times, counter.to_numpy(dtype=float))
    return float(after - before) / (end - start)
