"""The state of the fake Grid'5000, and what can be done to it. `Server` makes HTTP of it."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.doubles.grid5000 import messages, oar
from tests.doubles.grid5000.hardware import Hardware, NoHardware
from tests.doubles.grid5000.jobs import Job
from tests.doubles.grid5000.reference import Json, Site, own_name, usual_sites


@dataclass(kw_only=True)
class Fault:
    """An answer that is wrong. It meets requests whose ``METHOD /path`` matches, `times` of them (-1: all).

    ``after_s`` is waited before the answer; ``drop`` closes the connection without one.
    """

    pattern: str
    status: int = 500
    body: str = "Internal Server Error"
    times: int = 1
    after_s: float = 0.0
    drop: bool = False


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request that came in; ``user`` is whom the credentials name."""

    method: str
    path: str
    query: dict[str, str]
    body: object
    user: str | None


class ApiError(Exception):
    """An answer that is no success; its text is the body."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(body)
        self.status = status
        self.body = body


@dataclass(kw_only=True)
class Deployment:
    """A run of kadeploy."""

    uid: str
    site: str
    user: str
    nodes: list[str]
    environment: str
    version: str | None
    key: str
    vlan: str | None
    created_at: float
    looks_left: int
    status: str = "processing"
    result: Json | None = None

    def json(self) -> Json:
        shown = {
            "uid": self.uid,
            "site_uid": self.site,
            "user_uid": self.user,
            "environment": self.environment,
            "nodes": self.nodes,
            "status": self.status,
            "created_at": int(self.created_at),
            "version": self.version,
            "vlan": self.vlan,
            "result": self.result,
        }
        return {name: value for name, value in shown.items() if value is not None}


@dataclass(kw_only=True)
class Platform:
    """All sites together.

    Knobs, free to change at any time:

    - ``users``: name -> password; ``projects``: names a job may give (empty: any);
    - ``path``: states a job goes through before it runs, one per look at it (``("waiting", "launching")``); one with
      ``"error"`` never runs; ``stuck`` jobs stay waiting without a date;
    - ``hurry``: reservations begin at once instead of at their date; ``head_start_s``: jobs began so long ago when
      they begin, so that little of their walltime is left;
    - ``refusals``: words with which OAR refuses the next submissions, one each; ``max_walltime_s`` refuses longer jobs;
    - ``faults``: HTTP answers that are wrong;
    - ``kadeploy_ko``: node -> how many more times its deployment fails (-1: always); ``kadeploy_error``: so many
      deployments end as a whole in ``error``; ``kadeploy_looks``: looks at a deployment until it is over;
    - ``vlan_failures``: nodes whose interface cannot be put into a VLAN;
    - ``environments``: names of environments kadeploy knows.
    """

    sites: tuple[Site, ...] = field(default_factory=usual_sites)
    hardware: Hardware = field(default_factory=NoHardware)
    users: dict[str, str] = field(default_factory=lambda: {"jdoe": "correct-horse"})
    projects: set[str] = field(default_factory=set)
    path: tuple[str, ...] = ()
    stuck: bool = False
    hurry: bool = False
    head_start_s: float = 0.0
    refusals: list[str] = field(default_factory=list)
    max_walltime_s: int = 7 * 24 * 3600
    faults: list[Fault] = field(default_factory=list)
    kadeploy_ko: Counter[str] = field(default_factory=Counter)
    kadeploy_error: int = 0
    kadeploy_looks: int = 1
    vlan_failures: set[str] = field(default_factory=set)
    environments: set[str] = field(default_factory=lambda: {"debian11-min", "debian12-min", "debian12-nfs"})

    jobs: dict[int, Job] = field(default_factory=dict)
    deployments: dict[str, Deployment] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    vlans: dict[str, str] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    clock: Callable[[], float] = time.time

    # What a test asks and does

    def called(self, method: str, pattern: str = "") -> list[Call]:
        """Requests so far of a method whose path matches."""
        return [call for call in self.calls if call.method == method and re.search(pattern, call.path)]

    def submissions(self) -> list[Json]:
        """Bodies of the jobs that were submitted, refused ones included."""
        return [call.body for call in self.called("POST", "/jobs$") if isinstance(call.body, dict)]

    def held(self) -> list[Job]:
        """Jobs that have or will have nodes."""
        with self.lock:
            self.advance()
            return [job for job in self.jobs.values() if job.held]

    def occupy(self, nodes: Sequence[str], *, start: float, walltime_s: int, queue: str = "default") -> Job:
        """A job of somebody else."""
        with self.lock:
            site = self.site(nodes[0].split(".")[1])
            body: Json = {"resources": "", "command": "sleep", "name": "theirs", "types": [], "queue": queue}
            job = oar.write_down(self, site, "somebody", body, walltime_s=walltime_s)
            job.nodes, job.starts_at, job.advance = list(nodes), start, True
            return job

    def age(self, job: Job, seconds: float) -> None:
        """Let a running job have begun `seconds` earlier, so that its walltime ends earlier."""
        with self.lock:
            assert job.starts_at is not None
            job.starts_at -= seconds
            self.advance()

    def kill(self, job: Job) -> None:
        """End a job as an administrator does."""
        with self.lock:
            oar.end(self, job, "FRAG_JOB_REQUEST", "Killed by an administrator")

    def free_all(self) -> None:
        """End all jobs and forget knobs, calls and faults; the sites stay."""
        with self.lock:
            for job in [job for job in self.jobs.values() if job.held]:
                oar.end(self, job, "FRAG_JOB_REQUEST", "End of a test")
            fresh = Platform(sites=self.sites)
            kept = ("sites", "hardware", "users", "lock", "clock", "jobs", "deployments")
            for name in fresh.__dataclass_fields__:
                if name not in kept:
                    setattr(self, name, getattr(fresh, name))

    # What the API does

    def site(self, uid: str) -> Site:
        for site in self.sites:
            if site.uid == uid:
                return site
        raise ApiError(404, "Not Found")

    def job(self, site: str, uid: str) -> Job:
        job = self.jobs.get(int(uid)) if uid.isdigit() else None
        if job is None or job.site != site:
            raise ApiError(404, messages.NO_JOB.format(uid))
        return job

    def advance(self) -> None:
        """Bring every job to where time has brought it."""
        for job in list(self.jobs.values()):
            oar.advance(self, job)

    def list_jobs(self, site: str, query: dict[str, str]) -> list[Json]:
        self.advance()
        states = [state.strip() for state in query.get("state", "").split(",") if state.strip()]
        found = [
            job
            for job in sorted(self.jobs.values(), key=lambda job: -job.uid)
            if job.site == site
            and query.get("name") in (None, "", job.name)
            and query.get("user") in (None, "", job.user)
            and query.get("queue") in (None, job.queue)
            and (not states or job.state in states)
        ]
        return [job.json(resources=query.get("resources", "no") != "no") for job in found]

    def show_job(self, site: str, uid: str) -> Json:
        job = self.job(site, uid)
        oar.look(self, job)
        return job.json(resources=True)

    def delete_job(self, site: str, uid: str, user: str) -> None:
        job = self.job(site, uid)
        if job.user != user:
            raise ApiError(403, messages.FORBIDDEN)
        self.advance()
        if job.killing or not job.held:
            url = f"http://oar.{site}/oarapi-priv/jobs/{uid}.json"
            raise ApiError(400, messages.from_oar(messages.ALREADY_KILLED.format(uid), url=url))
        job.killing = True

    def deploy(self, site: str, body: Json, user: str) -> Deployment:
        nodes = [own_name(str(node)) for node in body.get("nodes") or []]
        if not nodes:
            raise ApiError(400, messages.NO_NODES)
        if str(body.get("environment")) not in self.environments:
            raise ApiError(400, messages.NO_ENVIRONMENT.format(body.get("environment")))
        mine = {node for job in self.held() if job.user == user and "deploy" in job.types for node in job.nodes}
        if not set(nodes) <= mine:
            raise ApiError(400, messages.NO_RIGHTS)
        deployment = Deployment(
            uid=f"D-{len(self.deployments) + 1:08x}",
            site=site,
            user=user,
            nodes=nodes,
            environment=str(body["environment"]),
            version=str(body["version"]) if "version" in body else None,
            key=str(body.get("key", "")),
            vlan=str(body["vlan"]) if "vlan" in body else None,
            created_at=self.clock(),
            looks_left=self.kadeploy_looks,
        )
        self.deployments[deployment.uid] = deployment
        return deployment

    def show_deployment(self, site: str, uid: str) -> Deployment:
        deployment = self.deployments.get(uid)
        if deployment is None or deployment.site != site:
            raise ApiError(404, f"Couldn't find Grid5000::Deployment with ID={uid}")
        if deployment.status == "processing":
            deployment.looks_left -= 1
            if deployment.looks_left <= 0:
                self._finish(deployment)
        return deployment

    def _finish(self, deployment: Deployment) -> None:
        if self.kadeploy_error:
            self.kadeploy_error -= 1
            deployment.status = "error"
            return
        failed = [node for node in deployment.nodes if self.kadeploy_ko[node]]
        for node in failed:
            self.kadeploy_ko[node] -= 1 if self.kadeploy_ko[node] > 0 else 0
        well = [node for node in deployment.nodes if node not in failed]
        if well:
            self.hardware.deployed(well, deployment.environment, deployment.key)
        deployment.result = {
            node: {"macro": None, "micro": None, "state": "KO" if node in failed else "OK"} for node in deployment.nodes
        }
        deployment.status = "terminated"

    def attach(self, site: Site, vlan: str, interfaces: Sequence[str]) -> Json:
        """Put interfaces (``node-eth1.site.grid5000.fr``) into a VLAN; what became of each."""
        known = {adapter["network_address"] for adapter in _adapters(site)}
        answer: Json = {}
        for name in interfaces:
            node = re.sub(r"-eth\d+\.", ".", name)
            if name not in known or node in self.vlan_failures:
                answer[name] = {"status": "failure", "message": "Unknown node"}
            elif self.vlans.get(name) == vlan:
                answer[name] = {"status": "unchanged", "message": "Node already in vlan"}
            else:
                self.vlans[name] = vlan
                interface = re.search(r"-(eth\d+)\.", name)
                self.hardware.attached([node], interface[1] if interface else "eth0", vlan)
                answer[name] = {"status": "success", "message": "Successfully added to vlan"}
        return answer


def _adapters(site: Site) -> list[Json]:
    nodes = [cluster.node(number, site.uid) for cluster in site.clusters for number in range(1, cluster.nodes + 1)]
    return [adapter for node in nodes for adapter in node["network_adapters"] if "network_address" in adapter]
