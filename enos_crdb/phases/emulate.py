"""The network between the hosts: set, cleared, measured and judged; what of it goes into a run's manifest."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from enos_crdb import events, traffic
from enos_crdb.backends.placement import nearest_node
from enos_crdb.config.cockroachdb import CockroachDB
from enos_crdb.config.emulation import Constraint, Emulation, Link, Pair, links
from enos_crdb.errors import EnosCrdbError, NetworkError, StateError
from enos_crdb.model import Resources
from enos_crdb.network import Judgement, expect, judge, netem, probes, round_trips
from enos_crdb.network.plan import expected_loss, medians
from enos_crdb.network.probes import Window
from enos_crdb.phases.collect import PROBES
from enos_crdb.phases.context import Context
from enos_crdb.providers import EmulatingProvider
from enos_crdb.record import Expected, Matrix, NetworkRecord, RoundTrip, RunRecord, Tolerance
from enos_crdb.store import now

ATTEMPTS = 3
"""A machine that is busy for a second (a compaction, a package index) must not spoil a day of measuring."""
PAUSE_S = 1.0


def set_network(context: Context, emulation: Emulation | None) -> NetworkRecord | None:
    """Put the constraints of `emulation` in force, instead of whatever was; none leaves the network as it is.

    Clears, measures without, installs, measures with; returns what `before` does, or None when nothing was installed.
    Raises `NetworkError` when it cannot be done (nothing of it is left), or when the network is off and
    `emulation.mismatch` is ``refuse`` (it stays, to be looked at).
    """
    wanted = emulation or Emulation()
    try:
        planned = links(wanted.constraints, context.resources.hosts)
    except ValueError as error:
        raise NetworkError(f"{error}.") from None
    _refuse_one_network(planned, context.resources)
    clear(context)
    if not planned:
        return None
    emulator = choose_emulator(context, wanted.emulator)
    if emulator == "netem":  # before anything is kept: what `clear` finds afterwards counts as ours
        hosts = context.resources.hosts
        netem.refuse_foreign(hosts, planned, netem.survey(context.door, hosts))
    baseline = _baseline(context, wanted, planned)
    in_force = {
        "constraints": [constraint.model_dump(mode="json") for constraint in wanted.constraints],
        "emulator": emulator,
        "baseline": [asdict(trip) for trip in baseline],
        "set_at": None,
    }
    context.deployment.save(emulation=in_force)  # before, so that `clear` knows what to look for after a crash
    _install(context, emulator, planned)
    found = _gate(context, wanted)
    context.deployment.save(emulation={**in_force, "set_at": now()})
    return found


def _refuse_one_network(planned: Sequence[Link], resources: Resources) -> None:
    """Where both networks are one, what is done to one of them is done to the other."""
    single = {host.name for host in resources.hosts if host.on_one_network}
    found = [link for link in planned if link.network == "control" and link.dst in single]
    if found:
        raise NetworkError(
            f"emulation.constraints: {found[0].dst} has one network for both, 'control' and 'database' "
            f"({resources.host(found[0].dst).addresses['control']}).\n"
            "Write `network: database` in the constraints; they hold for all that goes between those hosts."
        )


def _baseline(context: Context, emulation: Emulation, planned: Sequence[Link]) -> tuple[Expected, ...]:
    """The round trips without emulation. Raises `NetworkError` when a pair of `planned` has none."""
    found = medians(_measure(context, ()))
    known = {trip.pair for trip in found}
    measured = set(round_trips.pairs(context.resources.hosts))
    lost = [link for link in planned if link.pair in measured - known]
    if lost:
        pairs = _indented([f"{link.src} to {link.dst} on {link.network}" for link in lost])
        sentence = f"The round trips without emulation could not be measured; is a host down?\n{pairs}"
        if emulation.mismatch == "refuse":
            raise NetworkError(sentence)
        events.warn(sentence)
    return found


def _install(context: Context, emulator: str, planned: Sequence[Link]) -> None:
    try:
        if emulator == "netem":
            netem.install(context.door, context.resources.hosts, planned)
        else:
            _emulating(context).emulate(planned)
    except EnosCrdbError:
        clear(context)
        raise


def _gate(context: Context, emulation: Emulation) -> NetworkRecord:
    """Measure what was just installed. Raises `NetworkError` when it is off and that is to be refused."""
    found = before(context, emulation)
    if found.refused:
        raise NetworkError(
            "The emulated network is not what the constraints say:\n"
            + _indented(found.deviations)
            + "\nUsually this machine is too busy, or other rules are in the way. Try again, raise "
            "emulation.tolerance_ms, or keep the numbers marked with emulation.mismatch: label."
        )
    for sentence in found.deviations:
        events.warn(sentence)
    return found


def clear(context: Context) -> None:
    """Remove what `set_network` installed, and nothing else. Does nothing when nothing is in force."""
    state = context.deployment.state.emulation
    if state is None:
        return
    if state["emulator"] == "netem":
        netem.clear(context.door, context.resources.hosts, in_force(context).links)
    else:
        _emulating(context).emulate(())
    context.deployment.save(emulation=None)


def apply_file(context: Context) -> None:
    """The last step of a deployment: what the file says, unless that is in force already."""
    emulation = context.configuration.emulation
    state = context.deployment.state.emulation
    if state is None and not emulation.constraints:
        return
    asked = [constraint.model_dump(mode="json") for constraint in emulation.constraints]
    if state is not None and state["set_at"] and state["constraints"] == asked:
        same_emulator = emulation.emulator in ("auto", state["emulator"])
        if same_emulator and not faults(context, in_force(context)):
            return
    set_network(context, emulation)


def restore(context: Context) -> NetworkRecord:
    """Measure, and install again what should be in force when something of it is missing.

    Returns what `before` does. Raises `NetworkError` like `set_network`.
    """
    wanted = emulation_in_force(context)
    state = context.deployment.state.emulation
    missing = faults(context, in_force(context))
    for sentence in missing:
        events.warn(sentence)
    found = None
    if wanted.constraints and (missing or state is None or not state["set_at"]):
        found = set_network(context, wanted)
    return found or before(context, wanted)


def emulation_in_force(context: Context) -> Emulation:
    """The section with the constraints that are in force, or the file's when none are."""
    section = context.configuration.emulation
    state = context.deployment.state.emulation
    if state is None:
        return section
    return section.model_copy(update={"constraints": list(_constraints(state))})


@dataclass(frozen=True, kw_only=True)
class InForce:
    """What is emulated now. ``links`` is what the constraints mean for each pair of hosts."""

    emulator: str = "none"
    constraints: tuple[Constraint, ...] = ()
    links: tuple[Link, ...] = ()
    expected: tuple[Expected, ...] = ()


def in_force(context: Context) -> InForce:
    """What was set last, worked out for every pair of hosts: once for all who need it, as there are many pairs."""
    state = context.deployment.state.emulation
    if state is None:
        return InForce()
    constraints = _constraints(state)
    planned = links(constraints, context.resources.hosts)
    return InForce(
        emulator=state["emulator"],
        constraints=constraints,
        links=planned,
        expected=expect([Expected(**row) for row in state["baseline"]], planned),
    )


def _constraints(state: Mapping[str, Any]) -> tuple[Constraint, ...]:
    return tuple(Constraint.model_validate(constraint) for constraint in state["constraints"])


def faults(context: Context, known: InForce) -> list[str]:
    """What is not in force of what was set: a process that died, a rule that went; a sentence each."""
    if known.emulator == "none":
        return []
    if known.emulator == "netem":
        return netem.faults(context.door, context.resources.hosts, known.links)
    return _emulating(context).emulation_faults(known.links)


def choose_emulator(context: Context, asked: str) -> str:
    """``netem`` or ``nfqueue``. Raises `NetworkError` when what is asked for is not to be had."""
    local = isinstance(context.provider, EmulatingProvider)
    if asked == "nfqueue":
        if local:
            return "nfqueue"
        raise NetworkError(
            f"emulation.emulator: the provider '{context.configuration.provider}' cannot delay packets itself, only "
            "local hosts can ('nspawn').\nChoose 'netem', or 'auto'."
        )
    found = netem.survey(context.door, context.resources.hosts)
    without = [name for name, survey in found.items() if not survey.netem]
    if not without:
        return "netem"
    if asked == "auto" and local:
        return "nfqueue"
    remedy = "choose emulator 'auto'" if local else "take hosts whose kernel has it"
    raise NetworkError(
        f"emulation.emulator: the kernel of {', '.join(without)} has no netem ({found[without[0]].why}).\n"
        f"Its module may be in a package of its own (Ubuntu: linux-modules-extra-$(uname -r)); otherwise {remedy}."
    )


def _emulating(context: Context) -> EmulatingProvider:
    if not isinstance(context.provider, EmulatingProvider):
        raise NetworkError(f"The provider '{context.configuration.provider}' cannot delay packets itself.")
    return context.provider


# Measuring


def measure(context: Context) -> Matrix:
    """The round trips as they are now."""
    return _measured(context, in_force(context))


def _measured(context: Context, known: InForce) -> Matrix:
    trips = _measure(context, known.expected)
    return Matrix(at=now(), rtt=trips)


def _measure(context: Context, expected: Sequence[Expected]) -> tuple[RoundTrip, ...]:
    return round_trips.measure(context.door, context.resources.hosts, expected=expected)


def _tolerance(emulation: Emulation) -> Tolerance:
    return Tolerance(percent=emulation.tolerance_percent, ms=emulation.tolerance_ms)


def _judged(context: Context, known: InForce, emulation: Emulation) -> tuple[Matrix, Judgement]:
    """The first matrix that is not off, or the last one, and what it says."""
    for attempt in range(1, ATTEMPTS + 1):
        matrix = replace(_measured(context, known), attempts=attempt)
        judgement = judge(
            matrix.rtt,
            known.expected,
            _tolerance(emulation),
            loss=expected_loss(known.links),
            faults=faults(context, known),
        )
        if judgement.verdict != "off" or attempt == ATTEMPTS:
            break
        events.note(f"the network is off, measuring again: {judgement.deviations[0]}")
        time.sleep(PAUSE_S)
    return matrix, judgement


# A run


def before(context: Context, emulation: Emulation | None = None) -> NetworkRecord:
    """Measure before the load, for the run's record. `refuse` decides whether to go on."""
    section = emulation or context.configuration.emulation
    known = in_force(context)
    matrix, judgement = _judged(context, known, section)
    return NetworkRecord(
        emulator=known.emulator,
        constraints=known.constraints,
        tolerance=_tolerance(section),
        mismatch=section.mismatch,
        expected=known.expected,
        before=matrix,
        after=None,
        verdict=judgement.verdict,
        deviations=judgement.deviations,
    )


def after(context: Context, network: NetworkRecord) -> NetworkRecord:
    """Measure after the load; returns `network` with what was found, and the worse of the two verdicts."""
    matrix, judgement = _judged(context, in_force(context), context.configuration.emulation)
    order = ("ok", "not measured", "off")
    return replace(
        network,
        after=matrix,
        verdict=max(network.verdict, judgement.verdict, key=order.index),
        deviations=(
            *(f"before the load: {sentence}" for sentence in network.deviations),
            *(f"after the load: {sentence}" for sentence in judgement.deviations),
        ),
    )


def during(
    context: Context, directory: Path, run: RunRecord, network: NetworkRecord, windows: Sequence[Window]
) -> NetworkRecord:
    """`network`, and what the hosts of the `run` in `directory` saw of it under load; the worse of the verdicts.

    Warns of each thing that was not as it should be.
    """
    known = in_force(context)
    files = {host.name: directory / "hosts" / host.name / PROBES for host in context.resources.hosts}
    found = probes.during(files, windows, known.expected, _tolerance(context.configuration.emulation))
    sentences = [
        *probes.judge(found, loss=expected_loss(known.links)),
        *(
            f"during {window.scenario}: {said}"
            for window, slug in ((window, run.scenario(window.scenario).slug) for window in windows)
            if (said := probes.impossible(window, _trips(context, directory, slug), known.expected))
        ),
    ]
    for sentence in sentences:
        events.warn(sentence)
    return replace(
        network,
        during=found,
        verdict="off" if sentences else network.verdict,
        deviations=(*network.deviations, *sentences),
    )


def _trips(context: Context, directory: Path, slug: str) -> dict[Pair, int]:
    """The round trips that each Keystone counted on its way to its database; none where the way is not known."""
    database, resources = context.configuration.database, context.resources
    if isinstance(database, CockroachDB) and database.haproxy:
        return {}
    found = {}
    try:
        for host in resources.with_role("keystone"):
            node = nearest_node(resources, host)
            sent = traffic.read(directory, [host.name], slug)
            if sent and node.name != host.name:
                found[host.name, node.name, "database"] = sent.round_trips
    except StateError:  # a torn file; whoever reads it is told
        return {}
    return found


def refuse(network: NetworkRecord) -> None:
    """Raise `NetworkError` when the network was off and the file says to refuse that."""
    if network.refused:
        raise NetworkError(
            "The network is not what the constraints say, so the numbers are not to be trusted:\n"
            + _indented(network.deviations)
            + "\n`enos_crdb emulate` shows it and mends what is missing; emulation.mismatch: label keeps such numbers, "
            "marked."
        )


def _indented(sentences: Sequence[str], most: int = 12) -> str:
    shown = [f"  {sentence}" for sentence in sentences[:most]]
    return "\n".join([*shown, *([f"  ... and {len(sentences) - most} more"] if len(sentences) > most else [])])
