"""OAR: which jobs are taken, when they begin, and how they end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.doubles.grid5000 import messages
from tests.doubles.grid5000.jobs import Job
from tests.doubles.grid5000.reference import Json, Site
from tests.doubles.grid5000.wishes import Refused, Wish, choose, choose_vlans, parse

if TYPE_CHECKING:
    from tests.doubles.grid5000.platform import Platform

TYPES = ("deploy", "exotic", "besteffort", "day", "night", "allow_classic_ssh", "container", "inner", "cosystem")
QUEUES = ("default", "production", "testing", "besteffort", "admin")
FIRST_JOB = 1_234_501


def submit(platform: Platform, site: Site, user: str, body: Json) -> Job:
    """Take a job, or raise `Refused` with what `oarsub` says."""
    if platform.refusals:
        raise Refused(platform.refusals.pop(0))
    _check(platform, user, body)
    wish = parse(str(body["resources"]))
    if wish.walltime_s > platform.max_walltime_s:
        raise Refused(messages.WALLTIME.format(platform.max_walltime_s // 3600))
    if choose(wish, site, lambda _: True) is None or choose_vlans(wish, site, []) is None:
        raise Refused(messages.NOT_ENOUGH)
    platform.advance()
    wanted = body.get("reservation")
    start = _advance_start(platform, site, wish, str(wanted)) if wanted else _first_start(platform, site, wish)
    nodes, vlans = _free(platform, site, wish, start) or ([], [])
    job = write_down(platform, site, user, body, walltime_s=wish.walltime_s)
    job.nodes, job.vlans, job.starts_at = nodes, vlans, start
    job.subnets = [f"10.158.{4 * index}.0/22" for index in range(wish.subnets)]
    job.advance = bool(wanted)
    job.path = list(platform.path)
    if platform.stuck:
        job.starts_at, job.message = None, "cannot find enough resources for the job yet"
    return job


def write_down(platform: Platform, site: Site, user: str, body: Json, *, walltime_s: int) -> Job:
    """A new job without a plan."""
    job = Job(
        uid=FIRST_JOB + len(platform.jobs),
        site=site.uid,
        user=user,
        name=str(body.get("name", "")),
        types=[str(kind) for kind in body.get("types") or []],
        queue=str(body.get("queue", "default")),
        project=str(body.get("project", "default")),
        command=str(body["command"]),
        resources=str(body["resources"]),
        walltime_s=walltime_s,
        submitted_at=platform.clock(),
        starts_at=None,
        advance=False,
        nodes=[],
        vlans=[],
    )
    platform.jobs[job.uid] = job
    return job


def _check(platform: Platform, user: str, body: Json) -> None:
    queue, project = str(body.get("queue", "default")), body.get("project")
    if queue not in QUEUES:
        raise Refused(messages.NO_QUEUE.format(queue))
    if project and platform.projects and project not in platform.projects:
        raise Refused(messages.NOT_A_MEMBER.format(user=user, project=project))
    for kind in body.get("types") or []:
        if "=" not in kind and kind not in TYPES:
            raise Refused(messages.UNKNOWN_TYPE.format(kind))


def _advance_start(platform: Platform, site: Site, wish: Wish, wanted: str) -> float:
    start = messages.from_oar_date(wanted)
    now = platform.clock()
    if start + wish.walltime_s <= now:
        raise Refused(messages.TOO_OLD)
    start = max(start, now)
    if _free(platform, site, wish, start) is None:
        possible = messages.oar_date(_first_start(platform, site, wish, start))
        raise Refused(messages.COULD_RUN.format(possible))
    return start


def _first_start(platform: Platform, site: Site, wish: Wish, after: float | None = None) -> float:
    begin = platform.clock() if after is None else after
    ends = sorted(job.ends_at for job in platform.jobs.values() if job.held and job.ends_at and job.ends_at > begin)
    for start in (begin, *ends):
        if _free(platform, site, wish, start) is not None:
            return start
    raise Refused(messages.CANNOT_RUN)


def _free(platform: Platform, site: Site, wish: Wish, start: float) -> tuple[list[str], list[str]] | None:
    """Nodes and VLANs for the wish that nobody has from `start` on, for its walltime."""
    rivals = [job for job in platform.jobs.values() if _overlaps(job, site, start, start + wish.walltime_s)]
    busy = {node for job in rivals if job.queue != "besteffort" for node in job.nodes}
    nodes = choose(wish, site, lambda fqdn: fqdn not in busy)
    vlans = choose_vlans(wish, site, [vlan for job in rivals for vlan in job.vlans])
    return None if nodes is None or vlans is None else (nodes, vlans)


def _overlaps(job: Job, site: Site, start: float, end: float) -> bool:
    if not job.held or job.site != site.uid or job.starts_at is None or job.ends_at is None:
        return False
    return job.starts_at < end and job.ends_at > start


def look(platform: Platform, job: Job) -> None:
    """Somebody asks for the job: it takes the next step of its path, or ends when it is being killed."""
    if job.killing and job.held:
        end(platform, job, "FRAG_JOB_REQUEST", f"User {job.user} requested to frag the job {job.uid}")
    elif job.path and job.held and _due(platform, job):
        job.state = job.path.pop(0)
        if job.state == "error":
            end(platform, job, "PING_CHECKER_NODE_SUSPECTED", "[bipbip] OAR suspects nodes of the job")
    else:
        advance(platform, job)


def _due(platform: Platform, job: Job) -> bool:
    return job.starts_at is not None and (platform.hurry or platform.clock() >= job.starts_at)


def advance(platform: Platform, job: Job) -> None:
    """Let a job begin or end if its time has come."""
    now = platform.clock()
    if job.state in ("waiting", "launching") and not job.path and _due(platform, job):
        job.starts_at = min(job.starts_at or now, now) - platform.head_start_s
        job.state, job.message = "running", f"R={len(job.nodes)},W={job.walltime_s // 3600}:0:0,N={job.name}"
        if not _theirs(platform, job):
            platform.hardware.granted(job.nodes, job.user)
    if job.held and job.ends_at is not None and now >= job.ends_at and job.state != "waiting":
        end(platform, job, "WALLTIME", f"[sarko] Job [{job.uid}] from 0 with {job.walltime_s}")


def end(platform: Platform, job: Job, event: str, description: str) -> None:
    """A job is over, before its time or at its end; both are the state ``error``."""
    begun = job.state == "running"
    job.state, job.killing, job.stopped_at = "error", False, platform.clock()
    job.note(event, description, platform.clock())
    for node in job.nodes:
        for interface in [name for name in platform.vlans if name.startswith(f"{node.split('.')[0]}-")]:
            platform.vlans.pop(interface)
    if begun and not _theirs(platform, job):
        platform.hardware.withdrawn(job.nodes)


def _theirs(platform: Platform, job: Job) -> bool:
    return job.user not in platform.users


def status(platform: Platform, site: Site, nodes: Sequence[str], *, alive: Sequence[str]) -> Json:
    """State and reservations of nodes, as the API tells them."""
    platform.advance()
    found: Json = {}
    for fqdn in nodes:
        jobs = [job for job in platform.jobs.values() if job.held and fqdn in job.nodes]
        running = [job for job in jobs if job.state == "running"]
        soft = "busy" if running else "free"
        if running and all(job.queue == "besteffort" for job in running):
            soft = "busy_besteffort"
        if fqdn not in alive:
            soft = "unknown"
        found[fqdn] = {
            "hard": "alive" if fqdn in alive else "dead",
            "soft": soft,
            "comment": "OK",
            "free_slots": 20 if soft == "free" else 0,
            "freeable_slots": 0,
            "busy_slots": 20 if soft == "busy" else 0,
            "reservations": [job.reservation() for job in jobs],
        }
    return found
