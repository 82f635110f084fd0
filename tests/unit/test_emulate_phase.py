"""The network of a deployment, on doubles: what is kept in its state, what is gated, what is left after a failure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from enos_crdb import config, events
from enos_crdb.config.emulation import Constraint, Emulation, Link
from enos_crdb.door import Answer, Call
from enos_crdb.errors import NetworkError
from enos_crdb.model import Event, Host
from enos_crdb.phases import emulate
from enos_crdb.phases.context import Context
from enos_crdb.record import Tolerance
from enos_crdb.store import Store
from enos_crdb.testing import FakeProvider, RecordingAnsible, RecordingDoor, RecordingRunner, resources, step_of

FILE = """\
name: net
provider: nspawn
machines: [{roles: [database, keystone], count: 3}, {roles: [rally]}]
database: {backend: galera}
"""
CONSTRAINTS = "emulation.constraints=[{between: [database, database], delay_ms: 10}]"


@dataclass(kw_only=True)
class Queues(FakeProvider):
    """A provider that delays packets; `works` says whether it really does, `refuses` what it says instead."""

    links: tuple[Link, ...] = ()
    works: bool = True
    refuses: str = ""
    lost: list[str] = field(default_factory=list)

    def emulate(self, links: Sequence[Link]) -> None:
        self.calls.append(f"emulate {len(links)}")
        self.links = tuple(links) if self.works else ()
        if links and self.refuses:
            raise NetworkError(self.refuses)

    def emulation_faults(self, links: Sequence[Link]) -> list[str]:
        return list(self.lost)


@dataclass(kw_only=True)
class Network(RecordingDoor):
    """Hosts that measure round trips of 0.2 ms, and what `provider` adds."""

    provider: Queues
    netem: bool = False
    qdiscs: tuple[dict[str, Any], ...] = ()

    def answer(self, call: Call) -> Answer:
        done = super().answer(call)
        assert call.request
        if not done.ok:
            return done
        if step_of(call) == "round_trips":
            return replace(done, stdout=json.dumps(self._measured(call.host, call.request)))
        devices = dict.fromkeys(call.request["addresses"], "eno1")
        said = {"devices": devices, "qdiscs": self.qdiscs, "netem": self.netem, "why": "unknown"}
        return replace(done, stdout=json.dumps(said))

    def _measured(self, host: Host, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        delays = {(link.src, link.dst, link.network): link.delay_ms for link in self.provider.links}
        rows = []
        for target in request["targets"]:
            key = (target["dst"], target["network"])
            rtt_ms = 0.2 + delays.get((host.name, *key), 0) + delays.get((key[0], host.name, key[1]), 0)
            gone = target["dst"] in self.dead
            rows.append(
                {
                    "dst": key[0],
                    "network": key[1],
                    "rtt_ms": [] if gone else [rtt_ms] * 15,
                    "lost": 15 if gone else 0,
                    "error": "",
                }
            )
        return rows


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulate, "PAUSE_S", 0.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net.yaml"
    path.write_text(FILE)
    return path


def a_context(path: Path, *overrides: str) -> Context:
    configuration = config.load(path, overrides)
    deployment = Store(path.parent / "results").create(configuration.name, configuration.model_dump(mode="json"))
    deployment.save(resources=resources(configuration))
    provider = Queues(configuration=configuration)
    return Context(
        configuration=configuration,
        deployment=deployment,
        provider=provider,
        ansible=RecordingAnsible(),
        door=Network(provider=provider),
        runner=RecordingRunner(),
        cache=path.parent,
    )


def provider(context: Context) -> Queues:
    assert isinstance(context.provider, Queues)
    return context.provider


def network(context: Context) -> Network:
    assert isinstance(context.door, Network)
    return context.door


def actions(context: Context) -> list[str]:
    """What the hosts were asked to do with their rules, in order."""
    return [call.request["action"] for call in network(context).calls if call.request and "action" in call.request]


def saved(context: Context) -> Any:
    return Store(context.deployment.directory.parent).open(context.deployment.directory).state.emulation


def test_nothing_is_done_for_a_file_without_constraints(path: Path) -> None:
    context = a_context(path)
    emulate.apply_file(context)
    assert (provider(context).calls, network(context).calls, saved(context)) == ([], [], None)


def test_the_file_is_put_in_force_once(path: Path) -> None:
    context = a_context(path, CONSTRAINTS)
    emulate.apply_file(context)
    state = saved(context)
    assert state["emulator"] == "nfqueue"
    assert state["set_at"]
    assert {row["rtt_ms"] for row in state["baseline"]} == {0.2}
    assert len(provider(context).links) == 6
    done = list(provider(context).calls)
    emulate.apply_file(context)
    assert provider(context).calls == done, "a second deployment changes nothing"


@pytest.mark.parametrize("lacking", ["process", "end"])
def test_what_is_missing_is_installed_again(path: Path, lacking: str) -> None:
    context = a_context(path, CONSTRAINTS)
    emulate.apply_file(context)
    if lacking == "process":
        provider(context).lost = ["it died"]
    else:  # the engine was killed while it installed
        context.deployment.save(emulation={**saved(context), "set_at": None})
    before = len(provider(context).calls)
    with pytest.raises(NetworkError, match="it died") if lacking == "process" else _nothing():
        emulate.apply_file(context)
    assert provider(context).calls[before:] == ["emulate 0", "emulate 6"]


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def test_a_file_without_constraints_clears_what_is_in_force(path: Path) -> None:
    context = a_context(path, CONSTRAINTS)
    emulate.apply_file(context)
    section = Emulation()
    emulate.apply_file(replace(context, configuration=context.configuration.model_copy(update={"emulation": section})))
    assert (provider(context).links, saved(context)) == ((), None)


def test_a_network_that_cannot_be_installed_leaves_nothing(path: Path) -> None:
    context = a_context(path, CONSTRAINTS)
    provider(context).refuses = "no such target"
    with pytest.raises(NetworkError, match="no such target"):
        emulate.apply_file(context)
    assert (provider(context).links, saved(context)) == ((), None)


def test_delays_that_are_not_there_are_refused(path: Path) -> None:
    context = a_context(path, CONSTRAINTS)
    provider(context).works = False
    with pytest.raises(NetworkError, match=r"the round trip takes 0\.20 ms, expected 20\.20 ms"):
        emulate.apply_file(context)
    found = emulate.before(context)
    assert (found.verdict, found.before.attempts) == ("off", emulate.ATTEMPTS)
    with pytest.raises(NetworkError, match="not to be trusted"):
        emulate.refuse(found)


def test_delays_that_are_not_there_are_labelled_when_the_file_says_so(path: Path) -> None:
    context = a_context(path, CONSTRAINTS, "emulation.mismatch=label")
    provider(context).works = False
    said: list[Event] = []
    with events.listening(said.append):
        emulate.apply_file(context)
    assert any(event.kind == "warning" and "expected 20.20 ms" in event.text for event in said)
    found = emulate.before(context)
    assert found.verdict == "off"
    emulate.refuse(found)


def test_a_run_is_told_the_network_before_and_after(path: Path) -> None:
    context = a_context(path, CONSTRAINTS)
    emulate.apply_file(context)
    found = emulate.before(context)
    assert (found.verdict, found.deviations, found.after) == ("ok", (), None)
    assert found.tolerance == Tolerance(percent=5.0, ms=1.0)
    assert {trip.rtt_ms for trip in found.expected} == {0.2, 20.2}
    assert len(found.before.rtt) == 4 * 3 * 2
    provider(context).links = ()
    worse = emulate.after(context, found)
    assert worse.verdict == "off"
    assert worse.deviations[0].startswith("after the load: database-1 to database-2 on database: the round trip")


def test_a_run_without_emulation_has_round_trips_too(path: Path) -> None:
    found = emulate.before(a_context(path))
    assert (found.emulator, found.constraints, found.expected, found.verdict) == ("none", (), (), "ok")
    assert found.before.rtt[0].median_ms == 0.2


def test_a_dead_host_is_not_measured_and_not_refused(path: Path) -> None:
    context = a_context(path)
    network(context).dead = ("database-3",)
    found = emulate.before(context)
    assert found.verdict == "not measured"
    assert any("could not be reached, no route to host" in sentence for sentence in found.deviations)
    emulate.refuse(found)


def test_netem_is_preferred_where_the_hosts_have_it(path: Path) -> None:
    context = a_context(path)
    network(context).netem = True
    assert emulate.choose_emulator(context, "auto") == "netem"
    assert emulate.choose_emulator(context, "nfqueue") == "nfqueue"


def test_rules_of_others_are_neither_replaced_nor_cleared(path: Path) -> None:
    context = a_context(path, CONSTRAINTS)
    network(context).netem = True
    network(context).qdiscs = ({"dev": "eno1", "kind": "htb", "handle": "1:", "root": True},)
    with pytest.raises(NetworkError, match=r"eno1 already has rules that enos_crdb did not make \(htb 1:\)"):
        emulate.apply_file(context)
    assert {action for action in actions(context) if action} == {"survey"}
    assert saved(context) is None


def test_a_netem_that_delays_nothing_is_refused_and_cleared(path: Path) -> None:
    context = a_context(path, CONSTRAINTS)
    network(context).netem = True
    with pytest.raises(NetworkError, match=r"(?s)tc shows 0 \(none\).*were accepted and are not there"):
        emulate.apply_file(context)
    assert list(dict.fromkeys(actions(context)))[-2:] == ["apply", "clear"]
    assert saved(context) is None


def test_what_is_not_to_be_had_is_said(path: Path) -> None:
    context = a_context(path)
    with pytest.raises(NetworkError, match=r"(?s)has no netem \(unknown\).*choose emulator 'auto'"):
        emulate.choose_emulator(context, "netem")
    elsewhere = replace(context, provider=FakeProvider(configuration=context.configuration))
    with pytest.raises(NetworkError, match="take hosts whose kernel has it"):
        emulate.choose_emulator(elsewhere, "auto")
    with pytest.raises(NetworkError, match="only local hosts can"):
        emulate.choose_emulator(elsewhere, "nfqueue")


def on_one_network(context: Context) -> None:
    found = context.deployment.state.resources
    assert found is not None
    hosts = tuple(replace(host, addresses=dict.fromkeys(host.addresses, host.address)) for host in found.hosts)
    context.deployment.save(resources=replace(found, hosts=hosts))


def test_where_both_networks_are_one_the_database_s_is_measured(path: Path) -> None:
    context = a_context(path, CONSTRAINTS)
    on_one_network(context)
    emulate.apply_file(context)
    assert {row["network"] for row in saved(context)["baseline"]} == {"database"}
    assert emulate.before(context).verdict == "ok"


def test_where_both_networks_are_one_control_cannot_be_told_apart(path: Path) -> None:
    context = a_context(path, CONSTRAINTS.replace("delay_ms", "network: control, delay_ms"))
    on_one_network(context)
    with pytest.raises(NetworkError, match="Write `network: database`"):
        emulate.apply_file(context)
    assert saved(context) is None


def test_another_network_replaces_the_one_in_force(path: Path) -> None:
    context = a_context(path, CONSTRAINTS)
    emulate.apply_file(context)
    emulate.set_network(context, Emulation(constraints=[Constraint(between=["rally", "keystone"], delay_ms=3)]))
    assert {link.delay_ms for link in provider(context).links} == {3}
    assert emulate.emulation_in_force(context).constraints[0].between == ["rally", "keystone"]
    assert emulate.restore(context).constraints[0].delay_ms == 3
    emulate.clear(context)
    assert emulate.emulation_in_force(context).constraints[0].delay_ms == 10, "the file's"


def test_a_deployment_of_an_older_enos_crdb_is_read(path: Path) -> None:
    context = a_context(path)
    file = context.deployment.directory / "deployment.json"
    document = json.loads(file.read_text())
    del document["emulation"], document["configuration"]["emulation"]
    file.write_text(json.dumps(document))
    assert saved(context) is None
    assert config.check(document["configuration"], source="x").emulation == Emulation()
