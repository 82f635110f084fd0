"""OAR's jobs: found by name, waited for, ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from enoslib.infra.enos_g5k import g5k_api_utils

from enos_crdb.config.g5k import TIMEZONE
from enos_crdb.errors import ProviderError
from enos_crdb.model import Lease
from enos_crdb.providers.g5k.credentials import client

Notify = Callable[[str], None]

ALIVE = ("waiting", "launching", "running")
"""States of jobs that have nodes, or will."""
OVER = ("error", "terminated", "toerror", "finishing")
END_S = 180
"""How long OAR may take to end a job that is to be ended."""


def label(job: Any) -> str:
    return f"job {job.uid} at {job.site}"


def identities(jobs: Iterable[Any]) -> tuple[tuple[str, int], ...]:
    """(site, number) of each."""
    return tuple(sorted((str(job.site), int(job.uid)) for job in jobs))


def named(name: str, sites: Iterable[str]) -> list[Any]:
    """Own jobs of that name that have nodes or will have."""
    api, user = client(), g5k_api_utils.get_api_username()
    found = []
    for site in sorted(set(sites)):
        if site not in api.excluded_sites:
            found += api.sites[site].jobs.list(name=name, state=",".join(ALIVE), user=user)
    return found


def numbered(identities: Iterable[tuple[str, int]]) -> list[Any]:
    """The jobs of those sites and numbers."""
    api = client()
    return [api.sites[site].jobs[str(number)] for site, number in identities]


def wait_until_running(jobs: Sequence[Any], notify: Notify) -> None:
    """Return when all run. Raises `ProviderError` when one cannot any more.

    EnOSlib's own wait is silent for minutes, and does not end for a job that was ended.
    """
    pause_s = 0
    while True:
        for job in jobs:
            job.refresh()
            if job.state in OVER:
                raise ProviderError(_ended(job))
        waiting = [job for job in jobs if job.state != "running"]
        if not waiting:
            return
        for job in waiting:
            notify(f"{label(job)} is {job.state}; {_schedule(job)}")
        pause_s = min(pause_s + 2, 10)
        sleep(pause_s)


def sleep(seconds: float) -> None:
    """Wait with EnOSlib's clock of the API: who shortens its waits shortens ours."""
    g5k_api_utils.time.sleep(seconds)


def _schedule(job: Any) -> str:
    at = getattr(job, "scheduled_at", None)
    return f"scheduled for {moment(at)}" if at else "OAR has no date for it yet"


def moment(at: float) -> str:
    """A moment for people, with how far away it is."""
    minutes = round((at - time.time()) / 60)
    distance = f"in {minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"in {minutes} min"
    date = datetime.fromtimestamp(at, TIMEZONE).strftime("%Y-%m-%d %H:%M")
    return f"{date} ({distance})" if minutes > 0 else f"{date} (now)"


def _ended(job: Any) -> str:
    events = getattr(job, "events", None) or []
    told = "; ".join(" ".join(str(event.get("description") or event.get("type")).split()) for event in events)
    return (
        f"{label(job).capitalize()} ended before its nodes could be used (state '{job.state}').\n"
        f"{f'OAR says: {told}. ' if told else ''}Usually it was deleted, its time was over, or a node broke while it "
        f"was prepared. `enos_crdb destroy`, then deploy again."
    )


def end(jobs: Sequence[Any], notify: Notify) -> None:
    """Delete them and wait until OAR took the nodes back. Raises `ProviderError`."""
    for job in jobs:
        notify(f"ending {label(job)}")
        g5k_api_utils.job_delete(job)
    waited_s = 0
    left = list(jobs)
    while left:
        for job in left:
            job.refresh()
        left = [job for job in left if job.state in ALIVE]
        if left and waited_s >= END_S:
            raise ProviderError(
                f"{', '.join(map(label, left))} still there {END_S} s after OAR was asked to delete.\n"
                "OAR is slow, or the site has a problem (https://www.grid5000.fr/status).\n"
                "Try `enos_crdb destroy` again."
            )
        if left:
            if waited_s % 10 == 0:
                notify(f"waiting for OAR to end {', '.join(map(label, left))}")
            sleep(2)
            waited_s += 2


def lease(jobs: Sequence[Any]) -> Lease:
    """Until when all of them run."""
    ends = [(getattr(job, "started_at", 0) or getattr(job, "scheduled_at", 0) or 0) + job.walltime for job in jobs]
    return Lease(ends_at=float(min(ends)), jobs=tuple(f"{site}:{number}" for site, number in identities(jobs)))
