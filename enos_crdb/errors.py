"""Errors a user sees. One class, one exit code; the front catches `EnosCrdbError` once.

A message says what failed, what it usually means, and what to change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class EnosCrdbError(Exception):
    """Root of every error raised on purpose."""

    exit_code: ClassVar[int] = 1
    meaning: ClassVar[str] = "a failure that has no code of its own"


class ConfigurationError(EnosCrdbError):
    """The deployment file (or an option that overrides it) is wrong; nothing was touched."""

    exit_code = 2
    meaning = "the configuration or the command line is wrong; nothing was touched"


class PrerequisiteError(EnosCrdbError):
    """This machine lacks something that the chosen provider needs."""

    exit_code = 3
    meaning = "something that the provider needs is missing on this machine"


class ProviderError(EnosCrdbError):
    """Hosts could not be had, reached or released."""

    exit_code = 4
    meaning = "hosts could not be obtained, reached or released"


class DeploymentError(EnosCrdbError):
    """Installing or configuring software on the hosts failed."""

    exit_code = 5
    meaning = "installing or configuring software on the hosts failed"


class BenchError(EnosCrdbError):
    """Rally could not run a scenario, or a scenario missed its service level."""

    exit_code = 6
    meaning = "a Rally scenario could not run or missed its SLA; the results are kept"


class StateError(EnosCrdbError):
    """The deployment's directory is missing, torn, in use, or not in the state a command needs."""

    exit_code = 7
    meaning = "the deployment or run does not exist, or its directory cannot be used"


class RefusedError(StateError):
    """A run was measured, and its numbers are not given."""


class NetworkError(EnosCrdbError):
    """The network is not what the experiment asks for, so nothing was measured, or what was is marked."""

    exit_code = 8
    meaning = "the emulated network is not what the file asks for, and `emulation.mismatch` is `refuse`"


class CampaignError(EnosCrdbError):
    """Combinations of a campaign failed, or it ended before all were run; `--resume` goes on."""

    exit_code = 9
    meaning = "combinations of a campaign failed or were not reached; the results are kept and `--resume` continues"


class Interrupted(EnosCrdbError):
    """Ctrl-C or SIGTERM; `deploy` continues from here and `destroy` cleans up."""

    exit_code = 130
    meaning = "interrupted; `deploy` continues, `destroy` cleans up"


class CommandError(EnosCrdbError):
    """A process on this machine ended with a status nobody expected."""

    def __init__(self, args: Sequence[str], returncode: int, stdout: str, stderr: str) -> None:
        self.command = tuple(args)
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr
        last = "\n".join((stderr or stdout).strip().splitlines()[-12:])
        super().__init__(f"`{' '.join(args)}` ended with status {returncode}.\n{last}".rstrip())
