"""What Rally brought back: how each client ended, and its report as samples."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from enos_crdb.errors import BenchError
from enos_crdb.masking import masked
from enos_crdb.model import RESPONSE, Sample, slug
from enos_crdb.record import Client, Outcome

FORMAT_VERSIONS = ("1.2",)
"""Versions of Rally's JSON report that are understood."""
ITERATION = "iteration"
"""Metric of a whole iteration, from its start to its end."""
LATE = "Late starts"
"""Title of the output by which an iteration of the open loop tells how long it waited for its start."""
ENDINGS = {"report.json": ".json", "report.html": ".html", "rally.log": ".log", "status.json": ".status.json"}
"""Names on the rally host -> endings in the run's directory."""


def receive(
    run: Path,
    incoming: Path,
    index: int,
    scenario: str,
    wanted: Sequence[Client],
    *,
    secrets: Sequence[str] = (),
) -> tuple[Outcome, ...]:
    """Unpack what the rally hosts sent (``<incoming>/<host>.tar``) into ``<run>/rally`` and remove it.

    One outcome per client of `wanted`, in their order. Files keep every byte, unless one of `secrets` is in it.
    """
    stem = slug(index, scenario)
    (run / "rally").mkdir(parents=True, exist_ok=True)
    for host in dict.fromkeys(client.rally for client in wanted):
        archive = incoming / f"{host}.tar"
        if archive.exists():
            _unpack(archive, run / "rally", stem, secrets)
            archive.unlink()
    return tuple(_outcome(run, f"{stem}-{client.name}", client) for client in wanted)


def _unpack(archive: Path, target: Path, stem: str, secrets: Sequence[str]) -> None:
    with tarfile.open(archive) as packed:
        for member in packed:
            client, _, part = member.name.partition("/")
            stream = packed.extractfile(member) if member.isfile() else None
            if stream is None or part not in ENDINGS or "/" in part or client in ("", ".", ".."):
                continue
            path = target / f"{stem}-{client}{ENDINGS[part]}"
            path.touch(mode=0o600)
            path.write_bytes(masked(stream.read(), secrets))


def _outcome(run: Path, name: str, client: Client) -> Outcome:
    status_file, report = run / "rally" / f"{name}.status.json", run / "rally" / f"{name}.json"
    file = f"rally/{name}.json" if report.exists() else None
    try:
        status = json.loads(status_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        message = f"nothing came back from {client.rally}; is the host up?"
        return Outcome(client=client.name, status="lost", message=message, file=file)
    return Outcome(
        client=client.name,
        status=status["status"],
        message=status["message"],
        file=file,
        started_at=_iso(status["started_at"]),
        finished_at=_iso(status["finished_at"]),
        intended=status.get("intended"),
    )


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


def samples(report: Path, *, run: str, scenario: str, client: str) -> list[Sample]:
    """Rally's JSON report as rows: one per iteration, and one per atomic action, in the order of their start.

    In an open loop, a row of metric ``response`` follows each iteration: from its intended start to its end.
    Failures are kept. Raises `BenchError` for a report that is not understood, or that lacks iterations.
    """
    document = _read(report)
    try:
        workloads = [
            workload for task in document["tasks"] for subtask in task["subtasks"] for workload in subtask["workloads"]
        ]
        rows: list[Sample] = []
        first = 0
        for workload in workloads:
            data = workload["data"]
            if workload["total_iteration_count"] != len(data):
                raise BenchError(
                    f"{report} is incomplete: Rally counted {workload['total_iteration_count']} iterations and "
                    f"wrote {len(data)}.\nIts disk was probably full; run the scenario again."
                )
            for number, iteration in enumerate(data, start=first):
                rows.extend(_rows(iteration, run, scenario, client, number))
            first += len(data)
    except (KeyError, TypeError) as error:
        raise BenchError(f"{report} is not a Rally report as we know it: {type(error).__name__} {error}.") from None
    return rows


def _read(report: Path) -> Any:
    try:
        with report.open("rb") as stream:
            document = json.load(stream)
    except OSError as error:
        raise BenchError(f"{report} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise BenchError(f"{report} is not valid JSON ({error}); Rally did not write it to its end.") from None
    info = document.get("info") if isinstance(document, dict) else None
    version = info.get("format_version") if isinstance(info, dict) else None
    if version not in FORMAT_VERSIONS:
        raise BenchError(
            f"{report} has format_version {version!r}; known are {', '.join(FORMAT_VERSIONS)}.\n"
            "Rally on the hosts is not the one of our lock file; deploy again, or report it to enos_crdb."
        )
    return document


def _rows(iteration: Mapping[str, Any], run: str, scenario: str, client: str, number: int) -> Iterator[Sample]:
    problem = iteration["error"]
    # Class and message; the third part is a traceback.
    error = f"{problem[0]}: {' '.join(str(problem[1]).split())}" if problem else ""
    waited_s = _waited_s(iteration)
    whole = Sample(
        run=run,
        scenario=scenario,
        client=client,
        iteration=number,
        metric=ITERATION,
        value=iteration["duration"],
        unit="s",
        started_at=iteration["timestamp"],
        outcome="failed" if problem else "ok",
        error=error,
        intended_at=None if waited_s is None else iteration["timestamp"] - waited_s,
    )
    yield whole
    if waited_s is not None:
        # Rally's duration leaves out what it calls idle; who waits for an answer does not.
        value = waited_s + iteration["duration"] + iteration["idle_duration"]
        yield replace(whole, metric=RESPONSE, value=value, started_at=iteration["timestamp"] - waited_s)
    for path, action in _flat(iteration["atomic_actions"], ""):
        failed = bool(action.get("failed"))
        yield replace(
            whole,
            metric=path,
            value=action["finished_at"] - action["started_at"],
            started_at=action["started_at"],
            outcome="failed" if failed else "ok",
            error=error if failed else "",
        )


def _waited_s(iteration: Mapping[str, Any]) -> float | None:
    """How long after its intended start an iteration of the open loop began; None in a closed loop."""
    for output in iteration.get("output", {}).get("additive", ()):
        if output["title"] == LATE:
            return max(0.0, float(output["data"][0][1]))
    return None


def _flat(actions: Iterable[Mapping[str, Any]], parent: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Actions and the actions inside them, outer first: (``outer/inner``, action)."""
    for action in actions:
        path = f"{parent}{action['name']}"
        yield path, action
        if action.get("children"):
            yield from _flat(action["children"], f"{path}/")
