"""Write what this host uses, every second, as CSV: time, metric, name, value. Standard library only.

    sampler.py FILE [SECONDS]               sample until SIGTERM
    sampler.py start NAME FILE SECONDS      do that in a transient unit, and end those of other runs
    sampler.py stop NAME                    end that unit, if it is there

metric             name         value
cores                           processors this host may use
machine_cpu_s      a state      CPU seconds since boot of the whole machine (a container sees its machine's)
machine_memory_mb  a state      memory of the whole machine
process_cpu_s      a command    CPU seconds of this host's processes of that name since the sampler began
process_rss_mb     a command    resident memory of those processes (shared pages are counted in each)

Values are written when they change; a name that is absent has the value it had before.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import defaultdict
from typing import TextIO

import watcher

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
UNITS = "enos-crdb-sampler-"
CPU_STATES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
MEMORY_STATES = ("MemTotal", "MemAvailable", "SwapFree")


class Processes:
    """CPU seconds per command name, those of ended processes included."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}
        self._seen: dict[tuple[str, str], float] = {}
        self._first: dict[tuple[str, str], float] = {}
        self._ended: defaultdict[str, float] = defaultdict(float)
        self._began = False

    def read(self) -> tuple[dict[str, float], dict[str, float]]:
        """CPU seconds and resident MiB by command name."""
        now: dict[tuple[str, str], float] = {}
        memory: defaultdict[str, float] = defaultdict(float)
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat") as stream:
                    text = stream.read()
            except (FileNotFoundError, ProcessLookupError):
                continue
            fields = text.rpartition(")")[2].split()
            key = (pid, fields[19])  # with its start: pids are used again
            now[key] = (int(fields[11]) + int(fields[12])) / TICKS
            # A process that was there before the sampler brings its past; a new one is all ours.
            self._first.setdefault(key, now[key] if not self._began else 0.0)
            # Forked and then executed: the name of a process may change in its first moments.
            if key not in self._names or self._names[key] in ("systemd", "python", "sh"):
                self._names[key] = command_name(pid, text)
            if int(fields[21]):
                memory[self._names[key]] += int(fields[21]) * PAGE_MB
        self._bury(now)
        self._began = True
        return self._total(now), dict(memory)

    def _bury(self, now: dict[tuple[str, str], float]) -> None:
        for key in self._seen.keys() - now.keys():
            self._ended[self._names.pop(key)] += self._seen[key] - self._first.pop(key)
        self._seen = now

    def _total(self, now: dict[tuple[str, str], float]) -> dict[str, float]:
        total = self._ended.copy()
        for key, seconds in now.items():
            total[self._names[key]] += seconds - self._first[key]
        return {name: round(seconds, 2) for name, seconds in total.items() if seconds > 0}


def command_name(pid: str, stat: str) -> str:
    """The kernel's name of a process; for an interpreter, the name of its script."""
    name = stat[stat.index("(") + 1 : stat.rindex(")")]
    if not name.startswith("python"):
        return name
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            words = [word.decode(errors="replace") for word in stream.read().split(b"\0")]
    except (FileNotFoundError, ProcessLookupError):
        return name
    scripts = [word for word in words[1:] if word and not word.startswith("-")]
    return os.path.basename(scripts[0]).removesuffix(".py")[:40] if scripts else "python"


def machine() -> dict[tuple[str, str], float]:
    """What the kernel says of the whole machine."""
    found: dict[tuple[str, str], float] = {("cores", ""): len(os.sched_getaffinity(0))}
    with open("/proc/stat") as stream:
        ticks = stream.readline().split()[1:9]
    found |= {("machine_cpu_s", state): int(count) / TICKS for state, count in zip(CPU_STATES, ticks, strict=False)}
    with open("/proc/meminfo") as stream:
        lines = (line.split() for line in stream)
        sizes = {words[0].rstrip(":"): int(words[1]) // 1024 for words in lines}
    return found | {("machine_memory_mb", state): sizes.get(state, 0) for state in MEMORY_STATES}


def sample(output: TextIO, processes: Processes, last: dict[tuple[str, str], float]) -> None:
    instant = time.time()
    cpu, memory = processes.read()
    values = machine()
    values |= {("process_cpu_s", name): seconds for name, seconds in cpu.items()}
    values |= {("process_rss_mb", name): round(size) for name, size in memory.items()}
    for metric, name in last.keys() - values.keys():
        if metric == "process_rss_mb" and last[metric, name]:
            values[metric, name] = 0
    for (metric, name), value in values.items():
        if last.get((metric, name)) != value:
            quoted = name.replace('"', "'").replace(",", ";").replace("\n", " ")
            output.write(f"{instant:.3f},{metric},{quoted},{round(value, 2)}\n")
    last.update(values)
    output.flush()


def main() -> None:
    if sys.argv[1] == "start":
        name, path, period = sys.argv[2:5]
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if watcher.start(UNITS, name, __file__, [path, period]):
            print("started")
        return
    if sys.argv[1] == "stop":
        if watcher.stop(UNITS, sys.argv[2]):
            print("stopped")
        return
    period_s = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))
    processes, last = Processes(), dict[tuple[str, str], float]()
    with open(sys.argv[1], "a", encoding="utf-8") as output:
        if not output.tell():  # after a restart of the host, the rows go on
            output.write("time,metric,name,value\n")
        following = time.monotonic()
        while True:
            sample(output, processes, last)
            if stopped:
                return
            following = max(following + period_s, time.monotonic())
            while not stopped and (rest := following - time.monotonic()) > 0:
                time.sleep(min(rest, 0.2))


if __name__ == "__main__":
    main()
