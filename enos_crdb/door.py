"""The door to hosts while something is measured: commands on all of them side by side, in milliseconds.

Ansible deploys; a run does not wait for it. ``playbooks/programs/agent.py`` is sent to each host once per command of
ours and spoken to over one ssh connection, which stays open. Requests (secrets among them) go through stdin, never
through a list of arguments. Libraries were weighed: execo and EnOSlib start ssh anew for each command, asyncssh does
not read the user's ssh configuration as ssh does, and Mitogen follows one version of Ansible.
"""

from __future__ import annotations

import json
import os
import resource
import selectors
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Protocol

from enos_crdb import command, events, shipped, ssh
from enos_crdb.ansible import GATEWAY_SESSIONS
from enos_crdb.errors import CommandError
from enos_crdb.masking import masked_text
from enos_crdb.model import Event, Host

PYTHON = "/usr/bin/python3"
AGENT = "agent.py"
PROGRAMS = "/run/enos_crdb/programs"
"""Where `agent.py` keeps our programs on a host."""
BOOT = """import os
size = code = b""
while not size.endswith(b"\\n"): size += os.read(0, 1)
while len(code) < int(size): code += os.read(0, int(size) - len(code))
exec(code)"""
"""Reads the agent from stdin, and not a byte more: what follows are requests."""
OPENING_S = 30.0
"""How long a host may take to let us in."""
MARGIN_S = 15.0
"""Beyond a command's own time limit, which the host keeps: then the connection counts as lost."""
OPENING_AT_ONCE = 32
"""Connections that begin at the same time; each costs processor time on this machine."""
PARTING_S = 2.0
"""How long hosts are given to end what they run when the connection is closed."""
FILES_EACH = 3
"""Pipes of a connection."""
FILES_BESIDES = 200
LOOK_S = 0.5
"""How often hosts that are late are looked for."""
CHUNK = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Call:
    """A command for one host, as root; ``request`` is what it reads from its stdin, as JSON.

    ``file`` is a file of the host that is fetched to ``to`` when the command succeeded. A call may be done twice when
    the connection is lost, so it has to be safe to repeat.
    """

    host: Host
    argv: tuple[str, ...]
    request: Mapping[str, Any] | None = None
    timeout_s: float = 60.0
    file: str = ""
    to: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How a call ended. ``status`` is the command's (124: it was ended at its time limit); None when the host could
    not be reached, ``stderr`` then says why. ``seconds`` is wall-clock time seen from here.
    """

    host: str
    status: int | None
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return self.status == 0

    @property
    def reached(self) -> bool:
        return self.status is not None

    @property
    def value(self) -> Any:
        """What a program of ours printed, a JSON document in its last line. Raises `ValueError`."""
        return json.loads(self.stdout.strip().rpartition("\n")[2])

    @property
    def why(self) -> str:
        """The end of what it complained about; empty when it succeeded."""
        if self.ok:
            return ""
        said = (self.stderr.strip() or self.stdout.strip()).splitlines()
        return "\n".join(said[-12:]) or f"exit status {self.status}, without a word"


def program(name: str, *words: str, python: str = PYTHON) -> tuple[str, ...]:
    """Command that runs one of ``playbooks/programs`` on a host."""
    return (python, f"{PROGRAMS}/{name}.py", *words)


def programs() -> dict[str, str]:
    """Our programs for hosts, by file name."""
    directory = shipped.directory("playbooks") / "programs"
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(directory.glob("*.py"))}


class Door(Protocol):
    """Runs commands on hosts. Calls for one host are done in their order, hosts side by side."""

    def run(self, title: str, calls: Sequence[Call]) -> list[Answer]:
        """Run all `calls`; the answers are in their order. `title` says for people what is done.

        Never raises for a host or a command that fails: the answer says so.
        """

    def close(self) -> None:
        """End the connections."""


class Pipe(Protocol):
    """A process at the other end of three pipes, as `subprocess.Popen` is one."""

    stdin: IO[bytes] | None
    stdout: IO[bytes] | None
    stderr: IO[bytes] | None

    def kill(self) -> None: ...

    def poll(self) -> int | None: ...

    def wait(self) -> int: ...


class SshDoor:
    """`Door` over ssh; each call is written to a log, secrets masked."""

    def __init__(
        self,
        *,
        logs: Path,
        secrets: Callable[[], Sequence[str]] = tuple,
        connect: Callable[[Sequence[str]], Pipe] = command.converse,
    ) -> None:
        self._logs = logs
        self._secrets = secrets
        self._connect = connect
        self._sessions: dict[str, _Session] = {}
        self._log: IO[str] | None = None

    def run(self, title: str, calls: Sequence[Call]) -> list[Answer]:
        if not calls:
            return []
        _allow_files(FILES_EACH * len({call.host.name for call in calls} | self._sessions.keys()))
        events.publish(Event(kind="task", text=title))
        exchange = _Exchange(self._sessions, self._connect, calls)
        try:
            exchange.run()
        finally:
            exchange.drop_unfinished()  # after Ctrl-C, what they would answer is nobody's any more
        answers = [exchange.answers[index] for index in range(len(calls))]
        self._write(title, calls, answers)
        for answer in answers:
            kind = "ok" if answer.ok else "failed" if answer.reached else "unreachable"
            if answer.ok:
                events.publish(Event(kind=kind, text=title, host=answer.host))
        return answers

    def close(self) -> None:
        _part([self._sessions.pop(name) for name in list(self._sessions)])
        if self._log:
            self._log.close()
            self._log = None

    def _write(self, title: str, calls: Sequence[Call], answers: Sequence[Answer]) -> None:
        if self._log is None:
            path = self._logs / f"{datetime.now().strftime('%H%M%S.%f')[:10]}-door.log"
            self._log = path.open("a", encoding="utf-8")
            path.chmod(0o600)
        clock = datetime.now().isoformat(timespec="milliseconds")
        secrets = self._secrets()
        for call, answer in zip(calls, answers, strict=True):
            status = "unreachable" if answer.status is None else str(answer.status)
            line = f"{clock} {answer.host:15} {answer.seconds:7.3f} s  {title}: {' '.join(call.argv)[:200]} -> {status}"
            if not answer.ok:
                line += f"\n{answer.stdout}\n{answer.stderr}"
            self._log.write(masked_text(line, secrets) + "\n")
        self._log.flush()


class _Session:
    """An ssh connection and the agent behind it."""

    def __init__(self, pipe: Pipe, programs_: Mapping[str, str]) -> None:
        self.pipe = pipe
        assert pipe.stdin
        assert pipe.stdout
        assert pipe.stderr
        self.streams = {"in": pipe.stdin.fileno(), "out": pipe.stdout.fileno(), "err": pipe.stderr.fileno()}
        for number in self.streams.values():
            os.set_blocking(number, False)
        agent = programs_[AGENT].encode()
        others = {name: text for name, text in programs_.items() if name != AGENT}
        self.unsent = bytearray(f"{len(agent)}\n".encode() + agent + _line({"programs": others}))
        self.received = bytearray()
        self.complaints = bytearray()
        self.open = False
        self.expected = 0
        """Bytes of a file that are still to come."""

    def complain(self, chunk: bytes) -> None:
        self.complaints += chunk
        del self.complaints[:-4096]

    def ask(self, request: Mapping[str, Any]) -> None:
        self.unsent += _line(request)

    def part(self) -> None:
        """Let the agent end what it runs, and itself."""
        if self.pipe.stdin:
            self.pipe.stdin.close()

    def close(self) -> None:
        self.pipe.kill()
        self.pipe.wait()
        with suppress(BlockingIOError):  # something it started may hold the other end
            self.complain(os.read(self.streams["err"], CHUNK))
        for stream in (self.pipe.stdin, self.pipe.stdout, self.pipe.stderr):
            if stream:
                with suppress(BrokenPipeError):  # what was not sent yet
                    stream.close()

    def last_words(self) -> str:
        """Why ssh gave up, as it said."""
        lines = [line.strip() for line in self.complaints.decode(errors="replace").splitlines() if line.strip()]
        return " ".join(lines[-3:])[-500:] or "the connection was lost"


def _allow_files(count: int) -> None:
    """Let this process have `count` files open besides what it has, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(count + FILES_BESIDES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _part(sessions: Sequence[_Session]) -> None:
    """End connections that are alive, all of them within `PARTING_S`."""
    for session in sessions:
        session.part()
    deadline = time.monotonic() + PARTING_S
    for session in sessions:
        while session.pipe.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        session.close()


def _line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode() + b"\n"


@dataclass
class _Work:
    """The calls for one host that are not answered yet, and the first of them under way."""

    host: Host
    left: deque[int]
    began: float = 0.0
    deadline: float = 0.0
    attempts: int = 0
    answer: dict[str, Any] | None = None
    target: IO[bytes] | None = None


class _Exchange:
    """All calls of one `Door.run`, from their first byte to their last."""

    def __init__(
        self, sessions: dict[str, _Session], connect: Callable[[Sequence[str]], Pipe], calls: Sequence[Call]
    ) -> None:
        self._sessions = sessions
        self._connect = connect
        self._calls = calls
        self.answers: dict[int, Answer] = {}
        self._work: dict[str, _Work] = {}
        for index, call in enumerate(calls):
            self._work.setdefault(call.host.name, _Work(host=call.host, left=deque())).left.append(index)
        self._waiting = deque(work for work in self._work.values() if work.host.name not in sessions)
        self._opening: set[str] = set()
        jump = any("gateway" in work.host.variables for work in self._work.values())
        self._most = GATEWAY_SESSIONS if jump else OPENING_AT_ONCE
        self._programs = programs() if self._waiting else {}
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        with self._selector:
            for name, work in self._work.items():
                if name in self._sessions:
                    self._register(name)
                    self._next(work)
            look_at = time.monotonic() + LOOK_S
            while len(self.answers) < len(self._calls):
                self._open_more()
                for key, _ in self._selector.select(max(0.0, look_at - time.monotonic())):
                    name, stream = key.data
                    if name in self._sessions and key.fd == self._sessions[name].streams[stream]:
                        self._move(name, stream)
                if time.monotonic() > look_at:
                    self._give_up_late_ones()
                    look_at = time.monotonic() + LOOK_S

    def drop_unfinished(self) -> None:
        for work in self._work.values():
            self._no_half_file(work)
        _part([self._sessions.pop(name) for name, work in self._work.items() if work.left and name in self._sessions])

    # --- connections ---

    def _open_more(self) -> None:
        while self._waiting and len(self._opening) < self._most:
            work = self._waiting.popleft()
            name = work.host.name
            work.began, work.deadline = time.monotonic(), time.monotonic() + OPENING_S
            try:
                pipe = self._connect(ssh.command(work.host, [PYTHON, "-u", "-c", BOOT], keep_alive=True))
            except CommandError as error:
                self._unreachable(work, str(error))
                continue
            self._sessions[name] = _Session(pipe, self._programs or programs())
            self._opening.add(name)
            self._register(name)

    def _register(self, name: str) -> None:
        session = self._sessions[name]
        self._selector.register(session.streams["out"], selectors.EVENT_READ, (name, "out"))
        self._selector.register(session.streams["err"], selectors.EVENT_READ, (name, "err"))
        if session.unsent:
            self._selector.register(session.streams["in"], selectors.EVENT_WRITE, (name, "in"))

    def _forget(self, name: str) -> _Session:
        session = self._sessions.pop(name)
        for number in session.streams.values():
            if number in self._selector.get_map():
                self._selector.unregister(number)
        session.close()
        self._opening.discard(name)
        self._no_half_file(self._work[name])
        return session

    def _no_half_file(self, work: _Work) -> None:
        if work.target:
            work.target.close()
            Path(work.target.name).unlink(missing_ok=True)
            work.target = None

    # --- bytes ---

    def _move(self, name: str, stream: str) -> None:
        session = self._sessions[name]
        if stream == "in":
            try:
                del session.unsent[: os.write(session.streams["in"], session.unsent[:CHUNK])]
            except BlockingIOError:
                return
            except BrokenPipeError:  # the end of its stdout, which comes, tells the rest
                session.unsent.clear()
            if not session.unsent:
                self._selector.unregister(session.streams["in"])
            return
        try:
            chunk = os.read(session.streams[stream], CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            if stream == "err":
                self._selector.unregister(session.streams["err"])
            else:
                self._lost(name)
            return
        if stream == "err":
            session.complain(chunk)
            return
        session.received += chunk
        self._read(name)

    def _read(self, name: str) -> None:
        session, work = self._sessions[name], self._work[name]
        while session.received:
            if session.expected:
                part = bytes(session.received[: session.expected])
                del session.received[: len(part)]
                session.expected -= len(part)
                assert work.target
                work.target.write(part)
                if not session.expected:
                    self._answered(work)
                continue
            line, newline, rest = bytes(session.received).partition(b"\n")
            if not newline:
                return
            session.received[:] = rest
            self._said(name, json.loads(line))

    def _said(self, name: str, said: dict[str, Any]) -> None:
        session, work = self._sessions[name], self._work[name]
        if not session.open:
            session.open = True
            self._opening.discard(name)
            self._next(work)
            return
        work.answer = said
        call = self._calls[work.left[0]]
        if "size" in said:
            assert call.to
            work.target = call.to.with_name(f"{call.to.name}.part").open("wb")
            session.expected = said["size"]
        if not session.expected:
            self._answered(work)

    # --- calls ---

    def _next(self, work: _Work) -> None:
        """Send the next call of a host, if it has one."""
        name = work.host.name
        if not work.left or not self._sessions[name].open:
            return
        call = self._calls[work.left[0]]
        session = self._sessions[name]
        idle = not session.unsent
        session.ask(
            {"argv": call.argv, "timeout_s": call.timeout_s}
            | ({} if call.request is None else {"input": json.dumps(call.request)})
            | ({"file": call.file} if call.file else {})
        )
        if idle:
            self._selector.register(session.streams["in"], selectors.EVENT_WRITE, (name, "in"))
        work.began = time.monotonic()
        work.deadline = work.began + call.timeout_s + MARGIN_S

    def _answered(self, work: _Work) -> None:
        call = self._calls[work.left[0]]
        if work.target and call.to:
            work.target.close()
            Path(work.target.name).replace(call.to)
            work.target = None
        said = work.answer or {}
        self._finish(work, Answer(
            host=work.host.name, status=said["status"], stdout=said["stdout"], stderr=said["stderr"],
            seconds=time.monotonic() - work.began,
        ))  # fmt: skip
        work.attempts = 0
        self._next(work)

    def _finish(self, work: _Work, answer: Answer) -> None:
        self.answers[work.left.popleft()] = answer
        work.answer = None

    def _lost(self, name: str) -> None:
        """The connection ended. What was under way is asked again, once, over a new one."""
        work, session = self._work[name], self._forget(name)
        if session.open and work.attempts == 0:
            work.attempts += 1
            self._waiting.append(work)
        else:
            self._unreachable(work, session.last_words())

    def _unreachable(self, work: _Work, why: str) -> None:
        seconds = time.monotonic() - work.began
        while work.left:
            self._finish(work, Answer(host=work.host.name, status=None, stderr=why, seconds=seconds))

    def _give_up_late_ones(self) -> None:
        for name, work in self._work.items():
            if work.left and name in self._sessions and time.monotonic() > work.deadline:
                session = self._forget(name)
                self._unreachable(work, session.last_words() if session.complaints else "it does not answer")


def per_host(answers: Iterable[Answer]) -> dict[str, Answer]:
    """The answers by host, of calls that were one per host."""
    return {answer.host: answer for answer in answers}
