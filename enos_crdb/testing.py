"""Doubles we ship, so that a test (ours or yours) needs no hosts. What they show is never a measurement."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from enos_crdb.ansible import PlaybookResult, TaskFailure, describe
from enos_crdb.command import Completed
from enos_crdb.config import Configuration
from enos_crdb.door import Answer, Call
from enos_crdb.errors import CommandError, DeploymentError
from enos_crdb.model import Host, Lease, Network, Resources, Sample, System
from enos_crdb.providers import plan_hosts

SYSTEM = System(distribution="debian", version="12", codename="bookworm", python="3.11", machine="x86_64")
"""What hosts run that do not exist."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """One playbook as it was asked for."""

    playbook: str
    hosts: tuple[str, ...]
    variables: Mapping[str, Any]
    host_variables: Mapping[str, Mapping[str, Any]]


@dataclass(kw_only=True)
class RecordingAnsible:
    """An `Ansible` that runs nothing and remembers everything.

    ``failures``: playbook -> what fails there. ``outputs``: playbook -> what its ``[output]`` tasks return,
    by host. ``effect`` is called for each playbook (to write a file that a host would have sent).
    """

    failures: Mapping[str, tuple[TaskFailure, ...]] = field(default_factory=dict)
    outputs: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    effect: Callable[[Played], None] = lambda played: None
    played: list[Played] = field(default_factory=list)

    def run(
        self,
        playbook: str,
        hosts: Sequence[Host],
        *,
        variables: Mapping[str, Any] | None = None,
        host_variables: Mapping[str, Mapping[str, Any]] | None = None,
        tolerate: bool = False,
    ) -> PlaybookResult:
        names = tuple(host.name for host in hosts)
        played = Played(playbook=playbook, hosts=names, variables=variables or {}, host_variables=host_variables or {})
        self.played.append(played)
        self.effect(played)
        result = PlaybookResult(
            playbook=playbook,
            seconds=0.0,
            changed=dict.fromkeys(names, 0),
            failures=self.failures.get(playbook, ()),
            log=Path("recorded.log"),
            outputs=self.outputs.get(playbook, {}),
        )
        if result.failures and not tolerate:
            raise DeploymentError(describe(result))
        return result

    @property
    def playbooks(self) -> list[str]:
        """Names of the playbooks, in order."""
        return [played.playbook for played in self.played]


@dataclass(kw_only=True)
class RecordingDoor:
    """A `Door` that runs nothing and remembers everything.

    ``dead`` hosts cannot be reached. ``failures``: step (`step_of`) -> what it complains about, or one such sentence
    per host. ``values``: step -> what it prints; those that are not named print what a run needs to go on. ``effect``
    is called for each call (to write a file that a host would have sent).
    """

    dead: Collection[str] = ()
    failures: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    effect: Callable[[Call], None] = lambda call: None
    calls: list[Call] = field(default_factory=list)
    closed: int = 0

    def run(self, title: str, calls: Sequence[Call]) -> list[Answer]:
        return [self.answer(call) for call in calls]

    def answer(self, call: Call) -> Answer:
        """How this call ends."""
        self.calls.append(call)
        self.effect(call)
        name, step = call.host.name, step_of(call)
        if name in self.dead:
            return Answer(host=name, status=None, stderr="no route to host")
        if step in self.failures:
            return Answer(host=name, status=1, stderr=self.failures[step])
        return Answer(host=name, status=0, stdout=json.dumps(self.values.get(step, _usual(step, call))))

    def close(self) -> None:
        self.closed += 1

    @property
    def steps(self) -> list[str]:
        """What was asked, in order; what several hosts were asked at once counts once."""
        return [step for step, _ in itertools.groupby(map(step_of, self.calls))]


def step_of(call: Call) -> str:
    """What a call does, in a word or two: ``rally_client start``, ``sampler stop``, ``reset``, ``true``."""
    first, *words = call.argv
    if not words or not words[0].endswith(".py"):
        return "keystone_counters" if "keystone_crdb" in words else Path(first).name
    name = Path(words[0]).stem
    return f"{name} {words[1]}" if name in ("rally_client", "sampler", "probe") else name


def _usual(step: str, call: Call) -> Any:
    """What hosts print that are well."""
    if step == "crossing":
        return {"matrix": {}, "failures": []}
    if step == "rally_client start":
        return {"started": [], "ready_at": 0.0}
    if step == "round_trips" and call.request:
        said = {"rtt_ms": [0.2] * call.request["samples"], "lost": 0, "error": ""}
        return [{"dst": to["dst"], "network": to["network"], **said} for to in call.request["targets"]]
    return {}


@dataclass(kw_only=True)
class FakeProvider:
    """A `Provider` whose hosts do not exist; it counts what it is asked."""

    configuration: Configuration
    control_path_dir: Path = Path("/nonexistent")
    system: System | None = SYSTEM
    sees_binds: bool = True
    owns_hosts: bool = True
    lacking: tuple[str, ...] = ()
    calls: list[str] = field(default_factory=list)

    def problems(self) -> list[str]:
        return list(self.lacking)

    def prepare(self) -> None:
        self.calls.append("prepare")

    def acquire(self, layers: Mapping[str, str]) -> Resources:
        self.calls.append("acquire")
        return resources(self.configuration)

    def release(self) -> None:
        self.calls.append("release")


@dataclass(kw_only=True)
class FakeLeasedProvider(FakeProvider):
    """A `LeasedProvider` whose hosts, which do not exist, are ours for `seconds` from each reservation on."""

    seconds: float = 7200.0
    held: Lease | None = None

    def acquire(self, layers: Mapping[str, str]) -> Resources:
        if self.held is None or self.held.remaining_s(time.time()) <= 0:
            self.held = Lease(ends_at=time.time() + self.seconds, jobs=("rennes: 1234567",))
        return super().acquire(layers)

    def release(self) -> None:
        self.held = None
        super().release()

    def lease(self) -> Lease | None:
        return self.held


@dataclass(kw_only=True)
class RecordingRunner:
    """A `Runner` that starts nothing and remembers everything.

    ``answers``: first words of a command -> what it prints. One that does more (writes a file, ends badly) overrides
    `answer`.
    """

    answers: Mapping[str, str] = field(default_factory=dict)
    commands: list[tuple[str, ...]] = field(default_factory=list)

    def run(
        self,
        args: Sequence[str],
        *,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout_s: float | None = None,
        check: bool = True,
    ) -> Completed:
        self.commands.append(tuple(args))
        done = self.answer(args, input or "")
        if check and done.returncode != 0:
            raise CommandError(args, done.returncode, done.stdout, done.stderr)
        return done

    def answer(self, args: Sequence[str], input: str) -> Completed:
        """How this command ends that was given `input`."""
        line = " ".join(args)
        return ended(args, stdout=next((said for start, said in self.answers.items() if line.startswith(start)), ""))

    @property
    def lines(self) -> list[str]:
        """The commands as somebody would have typed them, in order."""
        return [" ".join(command) for command in self.commands]


def ended(args: Sequence[str], *, status: int = 0, stdout: str = "", stderr: str = "") -> Completed:
    """A process that never was."""
    return Completed(args=tuple(args), returncode=status, stdout=stdout, stderr=stderr, seconds=0.0)


def resources(configuration: Configuration) -> Resources:
    """Hosts as a provider would give them for `configuration`: 10.0.1.11, 10.0.1.12... and 10.0.2.11..."""
    hosts = []
    for number, planned in enumerate(plan_hosts(configuration), start=11):
        hosts.append(
            Host(
                name=planned.name,
                roles=tuple(planned.group.roles),
                address=f"10.0.1.{number}",
                addresses={"control": f"10.0.1.{number}", "database": f"10.0.2.{number}"},
                site=planned.site,
                system=SYSTEM,
            )
        )
    networks = (
        Network(name="control", cidr="10.0.1.0/24", gateway="10.0.1.1"),
        Network(name="database", cidr="10.0.2.0/24"),
    )
    return Resources(hosts=tuple(hosts), networks=networks)


def samples(
    scenario: str, durations_s: Sequence[float], *, failed: Sequence[int] = (), client: str = "rally-1"
) -> list[Sample]:
    """One ``iteration`` sample per duration, one second apart; those whose index is in `failed` failed."""
    return [
        Sample(
            run="run",
            scenario=scenario,
            client=client,
            iteration=index,
            metric="iteration",
            value=duration,
            unit="s",
            started_at=1_700_000_000.0 + index,
            outcome="failed" if index in failed else "ok",
            error="ConnectFailure: refused" if index in failed else "",
        )
        for index, duration in enumerate(durations_s)
    ]
