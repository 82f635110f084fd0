"""EnOSlib sleeps 5 s and more before each look at a job; tests are in a hurry.

Only the module that talks to the API is shortened, by the name ``time`` in it: its waits are the API's, and nothing
else of EnOSlib, Ansible or ssh is touched. In this process: `in_a_hurry`. In another: `DIRECTORY` on its PYTHONPATH.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.doubles.grid5000.short_waits import sitecustomize

DIRECTORY = Path(sitecustomize.__file__).parent
"""Python's `site` imports ``sitecustomize`` from here when a process starts."""


@contextmanager
def in_a_hurry() -> Iterator[list[float]]:
    """Shorten the waits for the API in this process; gives what was asked for, in seconds."""
    from enoslib.infra.enos_g5k import g5k_api_utils

    real = g5k_api_utils.time
    waits: list[float] = []
    g5k_api_utils.time = sitecustomize.ShortTime(waits)
    forget()
    try:
        yield waits
    finally:
        g5k_api_utils.time = real
        forget()


def forget() -> None:
    """Drop what EnOSlib keeps of an API for the life of a process."""
    from enoslib.infra.enos_g5k import g5k_api_utils

    g5k_api_utils._api_client = None
    for name in vars(g5k_api_utils).values():
        if hasattr(name, "cache_clear"):
            name.cache_clear()
