"""The door to processes."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from enos_crdb import command
from enos_crdb.command import SubprocessRunner
from enos_crdb.errors import CommandError


@pytest.fixture
def runner() -> SubprocessRunner:
    return SubprocessRunner()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


class Gate:
    """Where a process waits until the test opens; an alarm ends one that waits in vain."""

    def __init__(self, file: Path) -> None:
        self._stream = file.open("w")
        fcntl.flock(self._stream, fcntl.LOCK_EX)
        self.passing = f"import fcntl, signal; signal.alarm(20); fcntl.flock(open({str(file)!r}), fcntl.LOCK_EX)"

    def open(self) -> None:
        self._stream.close()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(tmp_path / "gate")
    yield made
    made.open()


def test_what_a_process_printed_comes_back(runner: SubprocessRunner) -> None:
    done = runner.run(python("import sys; print('out'); print('err', file=sys.stderr)"))
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 0)
    assert done.seconds > 0


def test_input_reaches_the_process(runner: SubprocessRunner) -> None:
    assert runner.run(["cat"], input="s3cret").stdout == "s3cret"


def test_without_input_standard_input_is_empty(runner: SubprocessRunner) -> None:
    assert runner.run(["cat"], timeout_s=10).stdout == ""


def test_nothing_goes_through_a_shell(runner: SubprocessRunner) -> None:
    assert runner.run(["echo", "$HOME; ls"]).stdout == "$HOME; ls\n"


def test_the_environment_is_added_to_ours(runner: SubprocessRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "ours")
    code = "import os; print(os.environ['KEPT'], os.environ['ADDED'])"
    assert runner.run(python(code), env={"ADDED": "theirs"}).stdout == "ours theirs\n"


def test_the_working_directory_is_honoured(runner: SubprocessRunner, tmp_path: Path) -> None:
    assert runner.run(["pwd", "-P"], cwd=tmp_path).stdout.strip() == str(tmp_path.resolve())


def test_a_bad_status_raises_with_everything(runner: SubprocessRunner) -> None:
    with pytest.raises(CommandError) as caught:
        runner.run(python("import sys; print('why'); sys.exit(7)"))
    assert (caught.value.returncode, caught.value.stdout) == (7, "why\n")


def test_an_expected_bad_status_is_returned(runner: SubprocessRunner) -> None:
    assert runner.run(["false"], check=False).returncode == 1


def test_a_program_that_does_not_exist_has_the_status_of_a_shell(runner: SubprocessRunner) -> None:
    with pytest.raises(CommandError, match=r"no-such-program: no such program") as caught:
        runner.run(["no-such-program"])
    assert caught.value.returncode == 127


def test_a_directory_that_does_not_exist_is_named(runner: SubprocessRunner, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="absent"):
        runner.run(["true"], cwd=tmp_path / "absent")


def test_a_file_that_cannot_be_executed_is_a_command_error(runner: SubprocessRunner, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(CommandError, match="cannot be executed") as caught:
        runner.run([str(script)])
    assert caught.value.returncode == 126


def test_a_process_that_takes_too_long_is_killed(runner: SubprocessRunner, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "nobody-writes")
    with pytest.raises(CommandError, match=r"killed after 0\.02 s") as caught:
        runner.run(["cat", str(tmp_path / "nobody-writes")], timeout_s=0.02)
    assert caught.value.returncode == 124


def test_bytes_that_are_not_utf8_do_not_stop_us(runner: SubprocessRunner) -> None:
    assert (
        runner.run(python(r"import sys; sys.stdout.buffer.write(b'caf\xe9')")).stdout == "caf\N{REPLACEMENT CHARACTER}"
    )


def test_an_interactive_command_gives_back_its_status() -> None:
    assert command.replace_process(python("import sys; sys.exit(3)")) == 3


def test_an_interactive_command_that_does_not_exist_is_a_command_error() -> None:
    with pytest.raises(CommandError, match="no such program"):
        command.replace_process(["no-such-program"])


def test_a_detached_process_writes_its_log_and_is_not_waited_for(gate: Gate, tmp_path: Path) -> None:
    log = tmp_path / "log"
    pid = command.start_detached(python(f"import os; print(os.getsid(0), flush=True); {gate.passing}"), log=log)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it was waited for, until its alarm"
    gate.open()
    assert os.waitpid(pid, 0) == (pid, 0)
    assert int(log.read_text()) == pid, "the process is not the leader of a session of its own"


def test_lines_come_while_the_process_runs(gate: Gate) -> None:
    lines: list[str] = []

    def hear(line: str) -> None:
        lines.append(line)
        gate.open()

    code = f"import sys; print('one', flush=True); {gate.passing}; print('two', file=sys.stderr); sys.exit(3)"
    done = command.follow(python(code), on_line=hear)
    assert lines == ["one", "two"]
    assert (done.stdout, done.returncode) == ("one\ntwo\n", 3)


def test_a_followed_process_gets_its_input_and_need_not_read_it() -> None:
    assert command.follow(["cat"], input="asked", on_line=lambda _: None).stdout == "asked"
    assert command.follow(["true"], input="x" * 1_000_000, on_line=lambda _: None).returncode == 0


ORDERLY = """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
print('ready', flush=True)
signal.sigwait({signal.SIGINT})
print('x' * 200_000)  # more than a pipe holds
open(sys.argv[1], 'w').write('in order')
sys.exit(1)
"""


def test_an_interrupted_engine_asks_the_followed_process_to_end_and_waits(tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        command.follow([*python(ORDERLY), str(tmp_path / "mark")], on_line=interrupt)
    assert (tmp_path / "mark").read_text() == "in order"


def test_a_followed_process_that_does_not_end_when_asked_is_killed() -> None:
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    deaf = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); print('', flush=True); signal.pause()"
    with pytest.raises(KeyboardInterrupt):
        command.follow(python(deaf), on_line=interrupt, patience_s=0.02)


def test_a_program_that_cannot_be_followed_is_told() -> None:
    with pytest.raises(CommandError) as caught:
        command.follow(["no-such-program"], on_line=lambda _: None)
    assert caught.value.returncode == 127
