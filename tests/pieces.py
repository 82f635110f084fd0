"""Runs the tests in pieces: those that always run, then deep ones, a process for each file; and sums them up.

What ended is written down after each piece, so that a run that was cut, by its budget or by Ctrl-C, can be resumed.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.tiers import ALONE, ROOT, cost_s, file_of, in_turn, next_that_fits, pieces_of
from tests.tiers import touched as touched_by

STATE = ROOT / ".cache" / "deep-tests.json"
ENDS = (0, 1, 5)
"""How pytest ends when it was neither interrupted nor misused: all passed, some failed, none selected."""
ALWAYS = "tests that always run"
SHOWN_REASONS = 15
BESIDE_EACH_OTHER = 2


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a piece. ``skipped``: reason -> how many; ``notes``: what tests say of the path that they took."""

    passed: int = 0
    failed: int = 0
    seconds: float = 0.0
    skipped: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: Mapping[str, float] = field(default_factory=dict)

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            passed=self.passed + other.passed,
            failed=self.failed + other.failed,
            seconds=self.seconds + other.seconds,
            skipped=dict(Counter(self.skipped) + Counter(other.skipped)),
            notes=tuple(dict.fromkeys([*self.notes, *other.notes])),
            files={
                name: self.files.get(name, 0.0) + other.files.get(name, 0.0) for name in {**self.files, **other.files}
            },
        )

    @property
    def counts(self) -> str:
        """As pytest's closing line has them."""
        told = {"failed": self.failed, "passed": self.passed, "skipped": sum(self.skipped.values())}
        return ", ".join(f"{count} {what}" for what, count in told.items() if count) or "no tests ran"


def read_report(path: Path) -> Outcome:
    """The outcome in a JUnit report of pytest's; a missing one, of a pytest that was ended, holds a failure."""
    if not path.exists():
        return Outcome(failed=1)
    counts, skipped = Counter[str](), Counter[str]()
    files, notes = dict[str, float](), list[str]()
    for case in ElementTree.parse(path).iter("testcase"):
        name = _file_of(case.get("classname", ""))
        files[name] = files.get(name, 0.0) + float(case.get("time", 0))
        notes += [str(found.get("value")) for found in case.iter("property") if found.get("name") == "path taken"]
        reason = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            counts["failed"] += 1
        elif reason is not None:
            skipped[reason.get("message", "")] += 1
        else:
            counts["passed"] += 1
    return Outcome(passed=counts["passed"], failed=counts["failed"], skipped=dict(skipped), files=files,
                   notes=tuple(dict.fromkeys(notes)))  # fmt: skip


def _file_of(classname: str) -> str:
    """``tests.unit.test_x`` or ``tests.unit.test_x.TestClass`` as a path."""
    found = re.match(r"(?:\w+\.)*?test_\w+", classname)
    return (found[0] if found else classname).replace(".", "/") + ".py"


def run(*, select: Sequence[str], deep: bool, touched: bool, resume: bool, budget_s: float) -> int:
    """Run what is asked for and sum it up; the exit status.

    `deep`: every deep test; `touched`: those that the last day's commits ask for, then the others in turn. Both begin
    with the tests that always run, unless these passed before the run that `resume` continues. With `select` (options
    of pytest) only tests that always run are looked at.
    """
    started = time.monotonic()
    if select or not (deep or touched):
        return sum_up(always(select))
    record = Record.of_now(resume=resume)
    if ALWAYS in record.done and not record.done[ALWAYS].failed:
        total = Outcome()
    else:
        total = always()
        record.add(ALWAYS, total)
    pieces = pieces_of(_deep_ones())
    found, left = deep_tests(
        _in_order(pieces, everything=deep),
        tests=pieces,
        record=record,
        left_s=lambda: budget_s - (time.monotonic() - started),
    )
    show_costs((total + found).files)
    return sum_up(replace(total + found, seconds=time.monotonic() - started), left)


def _deep_ones() -> list[str]:
    """Every deep test, by pytest's id."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-m", "deep", "--override-ini=addopts="]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return [line for line in done.stdout.splitlines() if "::" in line]


def _in_order(pieces: Iterable[str], *, everything: bool) -> list[str]:
    """Pieces in the order in which they are to run: the longest first, or what a change touched and others in turn."""
    if everything:
        return sorted(pieces, key=lambda piece: -cost_s(piece))
    files = touched_by(_changed_in_a_day())
    asked = {piece for piece in pieces if file_of(piece) in files}
    number = len(_git("rev-list", "HEAD").split())
    shown = sorted({_short(file_of(piece)) for piece in asked})
    print(f"deep tests of what the last day's commits touched: {', '.join(shown) or 'none'}")
    return [*in_turn(asked, number), *in_turn(set(pieces) - asked, number)]


def _changed_in_a_day() -> list[str]:
    """Files that the commits of the day before the newest one changed, it included."""
    newest = int(_git("log", "-1", "--format=%ct"))
    return sorted(set(_git("log", f"--since={newest - 24 * 3600}", "--format=", "--name-only").split("\n")) - {""})


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def _short(piece: str) -> str:
    return piece.rpartition("/")[2].removeprefix("test_").replace(".py", "")


def seconds(text: str) -> float:
    """``40m``, ``1h30m``, ``90s``, or nothing at all for as long as it takes."""
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    if found is None:
        raise SystemExit(f"--budget {text!r} is no duration: 40m, 1h30m or 90s")
    hours, minutes, rest = (int(number or 0) for number in found.groups())
    return hours * 3600 + minutes * 60 + rest if text else math.inf


def always(select: Sequence[str] = ()) -> Outcome:
    """The tests that always run: side by side, then, alone, those that measure how long things take."""
    # Most tests on hosts wait a good part of their time, so one more goes side by side than there are cores.
    workers = min(4, (os.cpu_count() or 1) + 1)
    beside = ["-m", "not deep and not alone", f"--numprocesses={workers}", "--dist=loadgroup", "--no-loadscope-reorder"]
    done = _pytest([*beside, *select]) + _pytest(["-m", "not deep and alone", *select])
    return done


def _pytest(arguments: Sequence[str], *, output: Any = None) -> Outcome:
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        started = time.monotonic()
        command = [sys.executable, "-m", "pytest", *arguments, f"--junitxml={report}"]
        status = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
        if status.returncode not in ENDS:
            raise SystemExit(status.returncode)
        outcome = read_report(report)
        return outcome + Outcome(seconds=time.monotonic() - started)


@dataclass
class Record:
    """Which pieces have ended on the code as it is now, and how."""

    code: str
    done: dict[str, Outcome] = field(default_factory=dict)

    @classmethod
    def of_now(cls, *, resume: bool) -> Record:
        """An empty one, or the last one when `resume` and the code is still the same."""
        code = _digest_of_the_code()
        if resume and STATE.exists():
            stored = json.loads(STATE.read_text())
            if stored["code"] == code:
                return cls(code, {name: Outcome(**outcome) for name, outcome in stored["done"].items()})
            print("The code has changed since the last run: what had passed then is run again.")
        return cls(code)

    def add(self, name: str, outcome: Outcome) -> None:
        self.done[name] = outcome
        self.save()

    def save(self) -> None:
        STATE.parent.mkdir(exist_ok=True)
        whole = {"code": self.code, "done": {name: asdict(outcome) for name, outcome in self.done.items()}}
        STATE.with_suffix(".new").write_text(json.dumps(whole))
        STATE.with_suffix(".new").replace(STATE)


def _digest_of_the_code() -> str:
    """Of every file that git tracks or would track."""
    digest = hashlib.sha256()
    listed = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in sorted(filter(None, listed.split("\0"))):
        path = ROOT / name
        digest.update(name.encode() + b"\0" + (path.read_bytes() if path.is_file() else b""))
    return digest.hexdigest()


def deep_tests(
    pieces: Iterable[str], *, tests: Mapping[str, Sequence[str]], record: Record, left_s: Callable[[], float]
) -> tuple[Outcome, list[str]]:
    """Run `pieces` with their `tests`, in their order, as many as fit in what is left; and which ones did not.

    Two at a time; those that nothing may run beside come at the end, one by one.
    """
    waiting = [piece for piece in pieces if piece not in record.done]
    total, left = Outcome(), list[str]()
    for beside_each_other, names in (
        (BESIDE_EACH_OTHER, [piece for piece in waiting if file_of(piece) not in ALONE]),
        (1, [piece for piece in waiting if file_of(piece) in ALONE]),
    ):
        with ThreadPoolExecutor(beside_each_other) as pool:
            running: dict[Future[Outcome], str] = {}
            while True:
                while len(running) < beside_each_other and (piece := next_that_fits(names, left_s())):
                    names.remove(piece)
                    print(f"{piece}: deep tests begin (about {cost_s(piece)} s)", flush=True)
                    running[pool.submit(_deep_piece, tests[piece])] = piece
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    total += _ended(running.pop(future), future.result(), record)
        left += names
    return total, left


def _deep_piece(tests: Sequence[str]) -> Outcome:
    """Run `tests`; what pytest printed is shown when one failed."""
    with tempfile.TemporaryFile("w+") as output:
        outcome = _pytest([*tests], output=output)
        if outcome.failed:
            output.seek(0)
            print(output.read(), flush=True)
    return outcome


def _ended(name: str, outcome: Outcome, record: Record) -> Outcome:
    print(f"{name}: {outcome.counts} in {outcome.seconds:.0f} s", flush=True)
    record.add(name, outcome)
    return outcome


def show_costs(files: Mapping[str, float], least_s: float = 1.0) -> None:
    """What each file cost, in seconds of its tests and their fixtures."""
    print("\nseconds by file (of tests that ran side by side)")
    for name, seconds in sorted(files.items(), key=lambda item: -item[1]):
        if seconds >= least_s:
            print(f"{seconds:8.1f}  {name}")


def sum_up(outcome: Outcome, left: Sequence[str] = ()) -> int:
    """Print what could not be run here and why, and a closing line as pytest's; the exit status."""
    if outcome.skipped:
        print("\nNot run on this machine:")
        reasons = Counter(outcome.skipped).most_common()
        for reason, count in reasons[:SHOWN_REASONS]:
            print(f"{count:6d}  {reason}")
        if len(reasons) > SHOWN_REASONS:
            rest = sum(count for _, count in reasons[SHOWN_REASONS:])
            print(f"{rest:6d}  for {len(reasons) - SHOWN_REASONS} other reasons")
    for note in outcome.notes:
        print(f"Path taken: {note}")
    if left:
        print(f"Left for another time (--resume): {', '.join(map(_short, left))}")
    print(f" {outcome.counts} in {outcome.seconds:.2f}s ".center(80, "="))
    if outcome.failed:
        return 1
    return 0 if outcome.passed or left else 5
