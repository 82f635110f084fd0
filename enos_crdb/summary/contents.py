"""What a run's directory says: rows, doubts, failures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enos_crdb.errors import StateError
from enos_crdb.loading import network_refused, stand_in
from enos_crdb.store import read_json
from enos_crdb.summary.doubts import doubts, throttled_soon
from enos_crdb.summary.facts import facts, labels
from enos_crdb.summary.rows import Row, read_rows, status

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, kw_only=True)
class Summary:
    """``facts``: what was measured, on what, under which load. ``failure`` is empty when all went well."""

    run: str
    facts: Mapping[str, str]
    labels: Mapping[str, Any]
    rows: tuple[Row, ...]
    warnings: tuple[str, ...]
    failure: str


def summarise(directory: Path, samples: pandas.DataFrame | None = None) -> Summary:
    """Read a run's directory; `samples` are its samples, if they were read already.

    Raises `StateError` when it is not one, is torn, or was made with something else than the database it is named for.
    """
    manifest = read_json(directory / "manifest.json")
    try:
        _refuse_stand_in(directory, manifest)
        _refuse_another_network(directory, manifest)
        rows = tuple(read_rows(directory, manifest, samples))
        return Summary(
            run=manifest["run"],
            facts=facts(directory, manifest),
            labels=labels(directory, manifest),
            rows=rows,
            warnings=(
                *manifest["warnings"],
                *_network_doubts(manifest),
                *doubts(rows, manifest),
                *throttled_soon(directory, manifest),
            ),
            failure=_failure(manifest),
        )
    except (KeyError, TypeError) as error:
        raise StateError(
            f"{directory / 'manifest.json'} is not the manifest of a run: {type(error).__name__} {error}.\n"
            "It was changed by hand, or written by another version of enos_crdb."
        ) from None


def _refuse_stand_in(directory: Path, manifest: Mapping[str, Any]) -> None:
    if why := stand_in(directory, manifest):
        raise StateError(
            f"run {manifest['run']} is not reported: {why}\n"
            f"What was collected is in {directory}; it says nothing about CockroachDB."
        )


def _refuse_another_network(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Numbers of a network that is not the one asked for are only given when the file says to mark them."""
    network = manifest.get("network") or {}  # runs of 0.1.0 did not measure it
    if network_refused(network):
        raise StateError(
            f"run {manifest['run']} is not reported: its network was not what the constraints say.\n"
            + "\n".join(f"  {sentence}" for sentence in network["deviations"])
            + f"\nWhat was measured is in {directory}. emulation.mismatch: label reports such runs, marked."
        )


def _network_doubts(manifest: Mapping[str, Any]) -> Iterator[str]:
    network = manifest.get("network") or {}
    if network.get("verdict") == "off":
        yield from (f"the network was not what the constraints say: {text}" for text in network["deviations"])
    elif network.get("verdict") == "not measured":
        yield from (f"the network could not be measured: {text}" for text in network["deviations"])


def _failure(manifest: Mapping[str, Any]) -> str:
    scenarios = manifest["scenarios"]
    bad = [
        f"  {scenario['name']}, {client['client']}: {client['status']}: {client['message']}".rstrip(": ")
        for scenario in scenarios
        for client in scenario["clients"]
        if client["status"] != "ok"
    ]
    count = sum(status(scenario) != "ok" for scenario in scenarios)
    asked = manifest["configuration"]["bench"]["scenarios"]
    absent = [name for name in asked if name not in {scenario["name"] for scenario in scenarios}]
    parts = []
    if bad:
        parts.append(f"{count} of {len(asked)} scenarios could not run, or missed their SLA:\n" + "\n".join(bad))
    if absent:
        parts.append(f"the run was interrupted before {', '.join(absent)}.")
    return "\n".join(parts)
