"""A signal that arrives where Python cannot raise still ends the command."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys
from enos_crdb.cli import interruption

interruption.install()

class Dying:
    def __del__(self):
        signal.raise_signal(signal.{signal})

def at_fork():
    signal.raise_signal(signal.{signal})

try:
    if "{where}" == "fork":
        os.register_at_fork(after_in_parent=at_fork)
        if os.fork() == 0:
            os._exit(0)
    else:
        Dying()
    signal.pause()
except KeyboardInterrupt:
    sys.exit(7)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("where", ["fork", "finaliser"])
def test_a_signal_in_a_callback_that_cannot_raise_is_asked_again(name: str, where: str) -> None:
    program = PROGRAM.format(signal=name, where=where)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (7, "")


def test_other_exceptions_that_cannot_be_raised_are_reported_as_before() -> None:
    program = (
        "from enos_crdb.cli import interruption\ninterruption.install()\n"
        "class Dying:\n    def __del__(self):\n        raise ValueError('seen')\nDying()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0
    assert "ValueError: seen" in done.stderr
