"""From what the tests did to a verdict on each assumption: a table, a JSON object, an exit status."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.cockroach.assumptions import ASSUMPTIONS

GENUINE = ("CCL", "OSS")
"""What `cockroach version` calls its distribution, when it is Cockroach Labs' or built from their source."""
STAND_IN = "stand-in"


class Verdict(Enum):
    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    NOT_APPLICABLE = "does not apply"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one test of an assumption ended. ``kind``: passed, failed (an assertion), broken (anything else), skipped,
    elsewhere (the release is not one that the assumption is about)."""

    assumption: str
    test: str
    kind: str
    seen: str
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The verdict on one assumption. ``seen``: what the server did, or why it was not asked."""

    assumption: str
    verdict: Verdict
    seen: str
    tests: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Executable:
    """What the executable says of itself."""

    path: str
    build_tag: str
    distribution: str

    @property
    def genuine(self) -> bool:
        return self.distribution in GENUINE


def judge(outcomes: Iterable[Outcome], executable: Executable) -> tuple[Finding, ...]:
    """A finding for each assumption, in their order. What is not CockroachDB confirms and refutes nothing."""
    by_id: dict[str, list[Outcome]] = {assumption.id: [] for assumption in ASSUMPTIONS}
    for outcome in outcomes:
        by_id[outcome.assumption].append(outcome)
    return tuple(_finding(name, tuple(found), executable) for name, found in by_id.items())


def _finding(assumption: str, outcomes: tuple[Outcome, ...], executable: Executable) -> Finding:
    verdict, decisive = _verdict(outcomes)
    seen = "; ".join(dict.fromkeys(outcome.seen for outcome in decisive if outcome.seen)) or "no test of it was run"
    if not executable.genuine:
        kinds = ", ".join(sorted({outcome.kind for outcome in outcomes}))
        verdict, seen = Verdict.NOT_TRIED, f"{STAND_IN} ({kinds}: {seen})" if kinds else STAND_IN
    return Finding(
        assumption=assumption,
        verdict=verdict,
        seen=seen,
        tests=tuple(outcome.test for outcome in outcomes),
        seconds=round(sum(outcome.seconds for outcome in outcomes), 1),
    )


def _verdict(outcomes: tuple[Outcome, ...]) -> tuple[Verdict, tuple[Outcome, ...]]:
    """The worst that was seen decides; with the outcomes that say so."""
    order = (
        ("failed", Verdict.REFUTED),
        ("broken", Verdict.NOT_TRIED),
        ("skipped", Verdict.NOT_TRIED),
        ("passed", Verdict.CONFIRMED),
        ("elsewhere", Verdict.NOT_APPLICABLE),
    )
    for kind, verdict in order:
        decisive = tuple(outcome for outcome in outcomes if outcome.kind == kind)
        if decisive:
            return verdict, decisive
    return Verdict.NOT_TRIED, ()


def exit_status(findings: Iterable[Finding]) -> int:
    """0: all is confirmed that applies. 1: something is refuted. 10: nothing is, but not everything was tried."""
    verdicts = {finding.verdict for finding in findings}
    if Verdict.REFUTED in verdicts:
        return 1
    return 10 if Verdict.NOT_TRIED in verdicts else 0


def as_json(findings: Iterable[Finding], executable: Executable) -> dict[str, Any]:
    """What is written to the report."""
    sentences = {assumption.id: assumption for assumption in ASSUMPTIONS}
    rows = []
    for finding in findings:
        assumption = sentences[finding.assumption]
        rows.append(
            {
                "id": assumption.id,
                "sentence": assumption.sentence,
                "verdict": finding.verdict.value,
                "seen": finding.seen,
                "relied_on": list(assumption.relied_on),
                "source": assumption.source,
                "tests": list(finding.tests),
                "seconds": finding.seconds,
            }
        )
    described = {"path": executable.path, "build_tag": executable.build_tag, "distribution": executable.distribution}
    return {"executable": {**described, "genuine": executable.genuine}, "assumptions": rows}


def render(findings: Iterable[Finding], executable: Executable, *, width: int = 160) -> str:
    """The table that a terminal shows."""
    findings = tuple(findings)
    console = Console(file=io.StringIO(), width=width, record=True)
    title = f"What {executable.build_tag or '?'} ({executable.distribution or '?'}) says of our assumptions"
    table = Table(title=title, show_lines=True)
    for heading in ("assumption", "verdict", "what was seen", "relied on in"):
        table.add_column(heading, overflow="fold")
    sentences: Mapping[str, Any] = {assumption.id: assumption for assumption in ASSUMPTIONS}
    for finding in findings:
        assumption = sentences[finding.assumption]
        told = Text(assumption.id, style="bold").append(f"\n{assumption.sentence}", style="not bold")
        files = Text("\n".join(assumption.relied_on))
        table.add_row(told, Text(finding.verdict.value), Text(finding.seen[:600]), files)
    console.print(table)
    counts = {verdict: sum(finding.verdict is verdict for finding in findings) for verdict in Verdict}
    console.print(", ".join(f"{count} {verdict.value}" for verdict, count in counts.items() if count))
    if not executable.genuine:
        console.print(
            f"STAND-IN: {executable.path} is not CockroachDB (distribution {executable.distribution or 'unknown'}). "
            "Nothing here is known of CockroachDB by this run."
        )
    return console.export_text()
