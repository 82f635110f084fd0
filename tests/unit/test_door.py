"""The door to hosts, with the agent that hosts get; this machine plays them, reached without ssh."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

import pytest

from enos_crdb import command, door, events, ssh
from enos_crdb.ansible import GATEWAY_SESSIONS
from enos_crdb.door import Answer, Call, SshDoor
from enos_crdb.model import Event, Host
from tests.unit.role_files import PROGRAMS

LOCAL = {"ansible_connection": "local"}


def host(name: str = "one", **variables: str) -> Host:
    return Host(name=name, roles=(), address="127.0.0.1", addresses={}, variables={**LOCAL, **variables})


@pytest.fixture(autouse=True)
def python_and_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This Python, and a directory of this test's for what hosts are brought."""
    agent = (PROGRAMS / "agent.py").read_text().replace('"/run/enos_crdb/programs"', json.dumps(str(tmp_path / "kept")))
    monkeypatch.setattr(door, "PYTHON", sys.executable)
    monkeypatch.setattr(door, "programs", lambda: {"agent.py": agent, "greet.py": "print('[1]')"})


@pytest.fixture
def way(tmp_path: Path) -> Iterator[SshDoor]:
    made = SshDoor(logs=tmp_path, secrets=lambda: ("s3cr3t-word",))
    yield made
    made.close()


def one(way: SshDoor, *argv: str, **options: object) -> Answer:
    (answer,) = way.run("doing", [Call(host=host(), argv=argv, **options)])  # type: ignore[arg-type]
    return answer


def test_answers_are_in_the_order_of_the_calls(way: SshDoor) -> None:
    calls = [Call(host=host(name), argv=("echo", name, word)) for word in ("1", "2") for name in ("one", "two")]
    answers = way.run("doing", calls)
    assert [answer.stdout for answer in answers] == ["one 1\n", "two 1\n", "one 2\n", "two 2\n"]
    assert all(answer.ok for answer in answers)
    assert way.run("nothing", []) == []


def test_hosts_are_told_side_by_side(way: SshDoor, tmp_path: Path) -> None:
    """Each waits for the other: one after the other, they would wait in vain."""
    wait = "touch {0}; while [ ! -e {1} ]; do sleep 0.01; done"
    a, b = tmp_path / "a", tmp_path / "b"
    calls = [
        Call(host=host("one"), argv=("sh", "-c", wait.format(a, b)), timeout_s=20),
        Call(host=host("two"), argv=("sh", "-c", wait.format(b, a)), timeout_s=20),
    ]
    assert [answer.status for answer in way.run("meeting", calls)] == [0, 0]


def test_a_request_is_read_from_stdin_whatever_its_size(way: SshDoor) -> None:
    request = {"password": "s3cr3t-word", "more": ["x" * 1000] * 500}
    assert json.loads(one(way, "cat", request=request).stdout) == request
    assert one(way, "true", request=request).ok, "one that does not read it is no failure"
    assert one(way, "cat").stdout == ""


def test_what_a_program_prints_last_is_its_value(way: SshDoor, tmp_path: Path) -> None:
    assert one(way, sys.executable, str(tmp_path / "kept" / "greet.py")).value == [1]
    assert one(way, "sh", "-c", "echo a word first; echo '{\"a\": 1}'").value == {"a": 1}
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700
    with pytest.raises(ValueError, match="Expecting value"):
        _ = one(way, "echo", "no document").value


@pytest.mark.parametrize(
    ("argv", "status", "why"),
    [
        (("sh", "-c", "echo first; echo the reason >&2; exit 3"), 3, "the reason"),
        (("sh", "-c", "echo only this; exit 4"), 4, "only this"),
        (("false",), 1, "exit status 1, without a word"),
        (("no-such-program",), 127, "no-such-program: No such file or directory"),
    ],
)
def test_a_command_that_fails_says_why(way: SshDoor, argv: tuple[str, ...], status: int, why: str) -> None:
    answer = one(way, *argv)
    assert (answer.status, answer.why, answer.ok, answer.reached) == (status, why, False, True)


def test_a_command_is_ended_at_its_time_limit(way: SshDoor) -> None:
    answer = one(way, "sh", "-c", "echo begun; sleep 60", timeout_s=0.2)
    assert (answer.status, answer.stdout, answer.why) == (124, "begun\n", "ended after 0.2 s")
    assert one(way, "true").ok


def test_a_file_is_fetched_when_the_command_succeeded(way: SshDoor, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "there").write_bytes(content)
    assert one(way, "true", file=str(tmp_path / "there"), to=tmp_path / "here").ok
    assert (tmp_path / "here").read_bytes() == content
    assert one(way, "false", file=str(tmp_path / "there"), to=tmp_path / "other").status == 1
    (tmp_path / "empty").touch()
    assert one(way, "true", file=str(tmp_path / "empty"), to=tmp_path / "none").ok
    answer = one(way, "true", file=str(tmp_path / "absent"), to=tmp_path / "other")
    assert "absent cannot be read: No such file or directory" in answer.why
    assert {path.name for path in tmp_path.iterdir() if path.is_file() and "log" not in path.name} == {
        *("there", "here", "empty", "none")
    }


def test_what_a_lost_connection_cut_is_asked_again_once(way: SshDoor, tmp_path: Path) -> None:
    once = f"test -e {tmp_path}/cut || {{ touch {tmp_path}/cut; kill -9 $PPID; sleep 9; }}; echo done"
    assert one(way, "true").ok
    assert one(way, "sh", "-c", once).stdout == "done\n"
    answer = one(way, "sh", "-c", "kill -9 $PPID; sleep 9")
    assert (answer.status, answer.reached, answer.why) == (None, False, "the connection was lost")
    assert one(way, "true").ok, "the next one finds the host again"


def test_no_half_of_a_file_is_left(way: SshDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent promises more than it sends, and ends."""
    torn = "import os; os.read(0, 99999); print('{\"ready\": true}', flush=True); os.read(0, 99999); "
    torn += 'print(\'{"status": 0, "stdout": "", "stderr": "", "size": 9}\\nfour\', flush=True)'
    monkeypatch.setattr(door, "programs", lambda: {"agent.py": torn})
    answer = one(way, "true", file="/etc/hostname", to=tmp_path / "here")
    assert not answer.reached
    assert not list(tmp_path.glob("here*"))


def refusing(words: str) -> Callable[[Sequence[str]], door.Pipe]:
    return lambda argv: command.converse(["sh", "-c", f"echo '{words}' >&2; exit 255"])


def test_a_host_that_lets_nobody_in_is_not_reached_and_says_why(tmp_path: Path) -> None:
    way = SshDoor(logs=tmp_path, connect=refusing("root@10.0.0.1: Permission denied (publickey)."))
    calls = [Call(host=host(), argv=("true",)), Call(host=host(), argv=("false",))]
    for answer in way.run("doing", calls):
        assert (answer.status, answer.why) == (None, "root@10.0.0.1: Permission denied (publickey).")
    assert not way._sessions
    nothing = SshDoor(logs=tmp_path, connect=lambda argv: command.converse(["no-such-ssh"]))
    assert "no-such-ssh: no such program" in one(nothing, "true").why


def test_a_host_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "OPENING_S", 0.1)
    monkeypatch.setattr(door, "LOOK_S", 0.05)
    silent = SshDoor(logs=tmp_path, connect=lambda argv: command.converse(["sleep", "60"]))
    assert one(silent, "true").why == "it does not answer"


def test_ctrl_c_ends_what_is_under_way_on_the_host_and_no_more(way: SshDoor, tmp_path: Path) -> None:
    def press(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, press)
    started = tmp_path / "started"
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            one(way, "sh", "-c", f"echo $$ > {started}; exec sleep 60")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert one(way, "sh", "-c", f"while kill -0 $(cat {started}); do sleep 0.01; done 2>/dev/null", timeout_s=20).ok


def test_the_agent_ends_with_its_connection(tmp_path: Path) -> None:
    process = command.converse([sys.executable, str(PROGRAMS / "agent.py")])
    assert process.stdin
    assert process.stdout
    pid = tmp_path / "pid"
    request = {"argv": ["sh", "-c", f"echo $$ > {pid}; echo; exec sleep 60"], "timeout_s": 60}
    process.stdin.write(json.dumps(request).encode() + b"\n")
    while not (pid.exists() and pid.read_text()):
        os.sched_yield()
    process.stdin.close()
    assert process.wait() == 0
    gone = Path("/proc", pid.read_text().strip(), "cmdline")
    assert not gone.exists() or not gone.read_bytes(), "killed, and perhaps not waited for yet"


def test_no_more_connections_begin_at_once_than_a_gateway_takes(tmp_path: Path) -> None:
    begun: list[int] = []

    def connect(argv: Sequence[str]) -> door.Pipe:
        begun.append(sum(not session.open for session in many._sessions.values()) + 1)
        return command.converse(argv)

    many = SshDoor(logs=tmp_path, connect=connect)
    calls = [Call(host=host(f"host-{n}", gateway="access"), argv=("true",)) for n in range(GATEWAY_SESSIONS + 4)]
    assert all(answer.ok for answer in many.run("doing", calls))
    assert max(begun) == GATEWAY_SESSIONS
    many.close()


def test_a_log_tells_each_call_without_its_secrets(way: SshDoor, tmp_path: Path) -> None:
    one(way, "echo", "all is well")
    one(way, "sh", "-c", "echo the password is s3cr3t-word >&2; exit 1")
    (log,) = tmp_path.glob("*-door.log")
    assert log.stat().st_mode & 0o777 == 0o600
    assert re.search(r"one +[\d.]+ s  doing: echo all is well -> 0\n", log.read_text())
    assert "the password is ********" in log.read_text()
    assert "s3cr3t" not in log.read_text()


def test_people_are_told_what_is_done(way: SshDoor) -> None:
    told: list[Event] = []
    with events.listening(told.append):
        one(way, "true")
        one(way, "false")
    assert [(event.kind, event.text, event.host) for event in told] == [
        ("task", "doing", None),
        ("ok", "doing", "one"),
        ("task", "doing", None),
    ]


def test_a_connection_that_stays_notices_a_host_that_is_gone() -> None:
    far = Host(name="far", roles=(), address="192.0.2.1", addresses={}, user="researcher")
    line = ssh.command(far, ["true"], keep_alive=True)
    assert {"ServerAliveInterval=5", "ServerAliveCountMax=3", "BatchMode=yes"} <= set(line)
    assert line[-3:] == ["sudo", "--", "true"]
    assert "BatchMode=yes" not in ssh.command(far, ["true"])


def test_every_program_that_a_run_starts_is_brought() -> None:
    there = {path.name for path in PROGRAMS.glob("*.py")}
    assert {"agent.py", "collect.py", "crossing.py", "rally_client.py", "round_trips.py", "sampler.py"} <= there
    assert door.program("collect", "x")[1:] == (f"{door.PROGRAMS}/collect.py", "x")
    assert f'PROGRAMS = "{door.PROGRAMS}"' in (PROGRAMS / "agent.py").read_text()
