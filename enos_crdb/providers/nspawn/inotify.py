"""Room for many systemds on one kernel.

Every systemd and many of its services watch files with inotify. The kernel counts the watchers (instances) of a user
on the whole machine, the containers' root included, and stops at 128 on most machines: after some ten hosts the next
one boots with "Failed to create inotify object: Too many open files" and never answers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
ENOUGH = 4096
"""For some five hundred hosts; an instance that is not used costs nothing."""


def make_room(notify: Callable[[str], None]) -> None:
    """Raise the kernel's limit to `ENOUGH`, until the next reboot; say so, also when it cannot be done.

    It is not lowered again: other deployments of this machine may have come to need it.
    """
    try:
        before = int(INSTANCES.read_text())
    except FileNotFoundError:  # a kernel without inotify has no limit of it
        return
    if before >= ENOUGH:
        return
    try:
        INSTANCES.write_text(f"{ENOUGH}\n")
    except OSError as error:  # /proc/sys is read-only in many containers
        notify(
            f"warning: fs.inotify.max_user_instances is {before} and cannot be raised ({error.strerror}): more than "
            "some ten local hosts may not boot on this machine"
        )
        return
    notify(f"fs.inotify.max_user_instances raised from {before} to {ENOUGH}: every host's systemd needs some eight")
