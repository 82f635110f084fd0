"""Ctrl-C and the signals that mean the same, none of them lost."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
"""Signals that end a command as Ctrl-C does; the alarm is this module's own."""
AGAIN_S = 0.05


def install() -> None:
    """Have `KeyboardInterrupt` raised in this process for SIGINT, SIGTERM and SIGHUP, even where Python drops it.

    Python runs a signal's handler between any two instructions of the main thread. When these belong to a
    callback that cannot raise (``__del__``, a weak reference's, ``os.register_at_fork``'s: `logging` has such
    ones, and Ansible forks at every Ansible task), the interpreter prints "Exception ignored in" and goes on:
    the user's Ctrl-C would have done nothing. The alarm asks again, when the callback is over.
    """
    engine = os.getpid()
    report = sys.unraisablehook

    def terminate(number: int, frame: FrameType | None) -> None:
        if os.getpid() != engine:
            os._exit(128 + number)  # a worker that Ansible forked, and now ends: without a word
        raise KeyboardInterrupt

    def dropped(unraisable: sys.UnraisableHookArgs) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            report(unraisable)
        elif os.getpid() == engine:
            signal.setitimer(signal.ITIMER_REAL, AGAIN_S)

    for number in ENDING:
        signal.signal(number, terminate)
    sys.unraisablehook = dropped
