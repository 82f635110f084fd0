"""Grid'5000 from reservation to results, on a fake one (tests/doubles/grid5000) whose nodes are our containers.

EnOSlib and python-grid5000 are unmodified; in all tests but one their waits for the API are short.
Tests of what happens before there are nodes have none.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from enos_crdb.phases.context import cache_directory
from tests.doubles.grid5000 import Account, Cluster, Fault, Platform, Server, Site, messages
from tests.doubles.grid5000.nodes import Nodes, link
from tests.integration.engine import Engine
from tests.integration.machines import layers_of, skip_without_hosts

PARADOXE = [f"paradoxe-{number}.rennes.grid5000.fr" for number in (1, 2, 3)]
ECOTYPE = "ecotype-1.nantes.grid5000.fr"
TWO_SITES = (
    Site(uid="rennes", clusters=(Cluster(uid="paradoxe", nodes=3),)),
    Site(uid="nantes", index=6, clusters=(Cluster(uid="ecotype", nodes=1),)),
)
SOFTWARE: dict[str, Any] = {
    "database": {"backend": "postgresql"},
    "openstack": {"release": "2026.1", "keystone": {"workers": 2, "cache": "memcached", "password_hash_rounds": 4}},
}
SMALL_RUN_FIRST = 1
SCENARIO = "keystone/authenticate-user-and-validate-token"


@dataclass(frozen=True)
class User(Engine):
    """enos_crdb as somebody runs it who has a Grid'5000 account."""

    account: Account
    ssh_config: Path
    patient: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        account = self.account.environment(ssh_config=self.ssh_config, patient=self.patient)
        return {**super().environment, "ENOS_CRDB_CACHE": str(cache_directory()), **account, **self.variables}

    def on(self, host: str, command: str, *, status: int = 0) -> str:
        """Through enos_crdb itself: the way to the nodes is in this user's environment, not in the tests' own."""
        return self.run("ssh", host, "sh", "-c", command, status=status, timeout_s=180).output


@dataclass(frozen=True)
class Grid:
    """The fake Grid'5000 with its nodes."""

    directory: Path
    platform: Platform
    nodes: Nodes
    account: Account

    def user(self, results: Path, *, outside: bool = False, patient: bool = False) -> User:
        """``outside``: the nodes' names mean nothing to this machine; only the access host's does."""
        file = self.nodes.ssh_config(self.directory / f"ssh_config{'-outside' * outside}", outside=outside)
        return User(results, self.account, file, patient, self._own_ssh() if outside else {})

    def _own_ssh(self) -> dict[str, str]:
        """The ssh to the access host that EnOSlib starts inside another reads ``~/.ssh/config`` of the user who runs
        the tests: this one reads the configuration of the test, without touching that file."""
        program = self.directory / "bin/ssh"
        if not program.exists():
            program.parent.mkdir()
            program.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F "$ENOS_CRDB_SSH_CONFIG" "$@"\n')
            program.chmod(0o755)
        return {"PATH": f"{program.parent}:{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def grid() -> Iterator[Grid]:
    """Containers that have the software of these tests on their disk, which is the slow part of a deployment."""
    skip_without_hosts()
    directory = Path(tempfile.mkdtemp(prefix="ec-g5k-", dir="/var/tmp"))
    platform = Platform(sites=TWO_SITES)
    server, *others = PARADOXE
    image = {key: value for key, value in content().items() if key != "g5k"}
    file = directory / "image.yaml"
    file.write_text(yaml.safe_dump({"name": "image", **image, "provider": "nspawn"}))
    installed = layers_of(str(file), directory)
    layer_of = {server: installed["database-1"], **dict.fromkeys([*others, ECOTYPE], installed["rally-1"])}
    nodes = Nodes(directory / "nodes", cache_directory(), layer_of)
    try:
        with Server(platform) as api:
            account = Account(home=directory / "home", url=api.url).create()
            nodes.boot()
            nodes.prepare(account)
            link(platform, nodes)
            yield Grid(directory, platform, nodes, account)
    finally:
        nodes.destroy()
    shutil.rmtree(directory)


@pytest.fixture
def platform(grid: Grid) -> Iterator[Platform]:
    """The one with nodes."""
    yield grid.platform
    grid.platform.free_all()


@pytest.fixture
def user(grid: Grid, platform: Platform, tmp_path: Path) -> User:
    """His nodes are containers."""
    return grid.user(tmp_path / "results")


@pytest.fixture
def bare() -> Platform:
    """One without anything behind the names."""
    return Platform(sites=TWO_SITES)


@pytest.fixture
def applicant(bare: Platform, tmp_path: Path) -> Iterator[User]:
    """A user of `bare`."""
    file = tmp_path / "ssh_config"
    file.write_text("Host *\n  BatchMode yes\n")
    with Server(bare) as server:
        yield User(tmp_path / "results", Account(home=tmp_path / "home", url=server.url).create(), file)


def content(*, rally: int = 1, **g5k: Any) -> dict[str, Any]:
    """An experiment: a database with Keystone, and `rally` hosts of which one is enough."""
    return {
        "provider": "g5k",
        "g5k": {"site": "rennes", "cluster": "paradoxe", "jump": False, **g5k},
        "machines": [
            {"roles": ["database", "keystone"], "count": 1},
            {"roles": ["rally"], "count": rally, **({"min": 1} if rally > 1 else {})},
        ],
        **SOFTWARE,
        "bench": {"scenarios": [SCENARIO], "times": 4, "concurrency": 2},
    }


def experiment(directory: Path, **asked: Any) -> str:
    """The same as a file."""
    file = directory / "study.yaml"
    file.write_text(yaml.safe_dump({"name": "study", **content(**asked)}))
    return str(file)


def flat(text: str) -> str:
    return " ".join(text.split())


def bench(user: User, *more: str, status: int = 0) -> str:
    return user.run("bench", "keystone", *more, status=status).output


def no_password_in(directory: Path, account: Account, least: int = 11) -> None:
    """In none of at least so many files."""
    looked_at = 0
    for path in directory.rglob("*"):
        if path.is_file():
            looked_at += 1
            assert account.password.encode() not in path.read_bytes(), path
    assert looked_at >= least


@pytest.mark.nspawn
def test_nodes_as_grid5000_gives_them(grid: Grid, user: User, tmp_path: Path) -> None:
    platform = grid.platform
    file = experiment(tmp_path)
    told = flat(user.run("check", "--env", file).output)
    assert "paradoxe at rennes: 3 of 3 nodes are free for the next 2 h, 2 are asked for" in told
    assert platform.submissions() == []

    platform.path = ("waiting", "launching")
    # Up to where the nodes are known: what is installed on them then is the same as on any machines.
    patient = grid.user(user.results, patient=True)
    deployed = patient.run("deploy", "--env", file, "--phase", "hosts").output
    assert "is launching" in deployed
    (job,) = platform.held()
    assert job.types == ["origin=enoslib_g5k"]
    assert platform.deployments == {}
    hosts = user.state["resources"]["hosts"]
    assert {host["name"]: host["address"] for host in hosts} == {"database-1": PARADOXE[0], "rally-1": PARADOXE[1]}
    assert hosts[0]["addresses"]["control"] == grid.nodes.address("paradoxe-1")
    told = user.run("info").output
    assert f"rennes:{job.uid}" in told
    assert "1:5" in told, "of two hours, some minutes are gone"

    no_password_in(user.results, grid.account, least=3)
    user.run("deploy", "--env", file, "--phase", "hosts")
    assert [one.uid for one in platform.held()] == [job.uid], "the same job"

    elsewhere = grid.user(tmp_path / "elsewhere")
    elsewhere.run("destroy", "--env", file)
    assert platform.held() == []
    told = flat(user.run("deploy", "--env", file, status=4).output)
    assert "The reservation is over" in told
    user.run("destroy")
    assert len(platform.submissions()) == 1


@pytest.mark.deep
@pytest.mark.nspawn
def test_an_environment_of_ones_own_and_a_vlan(grid: Grid, platform: Platform, tmp_path: Path) -> None:
    """kadeploy fails once on a node, and always on another, which is not needed; all of it through the access host."""
    user = grid.user(tmp_path / "results", outside=True)
    platform.kadeploy_ko.update({PARADOXE[0]: 1, PARADOXE[2]: -1})
    settings: dict[str, Any] = {"env_name": "debian12-min", "networks": {"database": "kavlan"}, "walltime": "01:00:00"}
    file = experiment(tmp_path, rally=2, jump=True, **settings)
    told = flat(user.run("deploy", "--env", file).output)
    assert f"kadeploy could not install {PARADOXE[2]}; going on without it" in told

    (job,) = platform.held()
    assert set(job.types) == {"deploy", "origin=enoslib_g5k"}
    resources = user.state["resources"]
    assert [host["name"] for host in resources["hosts"]] == ["database-1", "rally-1"]
    addresses = resources["hosts"][0]["addresses"]
    assert addresses["database"] == grid.nodes.address("paradoxe-1", "database")
    listening = user.on("database-1", "ss -Hltn sport = :5432")
    assert addresses["database"] in listening
    assert f"{addresses['control']}:5432" not in listening
    came_from = grid.nodes.run(PARADOXE[0], "journalctl -u ssh --no-pager | grep 'Accepted publickey for root'")
    assert f"from {grid.nodes.address('access')}" in came_from

    deployments = len(platform.deployments)
    user.forget_logs()
    user.run("deploy", "--env", file)
    assert user.changed() == {}
    assert len(platform.deployments) == deployments, "nodes that are installed are not installed again"
    bench(user)
    user.run("collect")
    samples = pd.read_csv(user.run_directory() / "samples.csv")
    assert set(samples.outcome) == {"ok"}
    assert len(samples[samples.metric == "iteration"]) == 4
    no_password_in(user.results, grid.account)
    the_end_of_the_walltime_is_seen(platform, user, file)


def the_end_of_the_walltime_is_seen(platform: Platform, user: User, file: str) -> None:
    (job,) = platform.held()
    assert "ends in" not in bench(user, "--times", "2")
    platform.age(job, 3600 - 600)
    user.run("deploy", "--env", file, "--phase", "hosts")
    assert re.search(r"0:0\d hours left", user.run("info").output)
    assert "the reservation of the hosts ends in" in flat(bench(user, "--times", "2"))

    platform.age(job, 600)
    assert platform.held() == []
    told = flat(user.run("deploy", "--env", file, status=4).output)
    assert "The reservation is over" in told
    time_passes(user.directory / "deployment.json", 600)
    assert "ended at" in flat(user.run("info").output)
    runs = set((user.directory / "runs").iterdir())
    assert "is over since" in flat(bench(user, status=7))
    assert set((user.directory / "runs").iterdir()) == runs, "no run was begun"
    user.run("destroy")
    user.run("report")


def time_passes(state: Path, seconds: float) -> None:
    """Make the end of the reservation that is written down so much earlier."""
    known = json.loads(state.read_text())
    known["lease"]["ends_at"] -= seconds
    state.write_text(json.dumps(known))


@pytest.mark.deep
@pytest.mark.nspawn
def test_a_campaign_ends_before_the_reservation_does(user: User, platform: Platform, tmp_path: Path) -> None:
    """The second run would take hours; half an hour is left."""
    file = tmp_path / "lease.yaml"
    factors = {"times": {"path": "bench.times", "levels": [4, 300_000]}}
    plan = {"experiment": "lease", "seed": SMALL_RUN_FIRST, "configuration": content(), "factors": factors}
    file.write_text(yaml.safe_dump({**plan, "repetitions": {"deployments": 1, "runs": 1}}))
    platform.head_start_s = 2 * 3600 - 1800
    told = flat(user.run("campaign", str(file), status=9).output)
    assert "1 runs are good, 0 failed, 1 are left" in told
    assert "the hosts are reserved for another" in told
    assert "--resume` goes on" in told

    platform.head_start_s, platform.stuck = 0, True
    resuming = user.interrupt(["campaign", str(file), "--resume"], at="is waiting", by=signal.SIGINT)
    assert resuming.status == 130, resuming.output
    assert "other ones will be reserved" in flat(resuming.output)
    assert len(platform.submissions()) == 2
    user.run("campaign", str(file), "--destroy")
    assert platform.held() == []


def test_interrupted_while_the_job_waits(applicant: User, bare: Platform, tmp_path: Path) -> None:
    bare.stuck = True
    file = experiment(tmp_path)
    ended = applicant.interrupt(["deploy", "--env", file, "--phase", "hosts"], at="is waiting", by=signal.SIGINT)
    assert ended.status == 130, ended.output
    (job,) = bare.held()

    changed = experiment(tmp_path, rally=2)
    refused = flat(applicant.run("deploy", "--env", changed, status=7).output)
    assert "destroy" in refused
    elsewhere = replace(applicant, results=tmp_path / "elsewhere")
    elsewhere.run("destroy", "--env", changed)
    assert [one.uid for one in bare.held()] == [job.uid], "another request has another job"

    applicant.run("destroy")
    assert bare.held() == []
    applicant.run("destroy")


@pytest.mark.deep
@pytest.mark.nspawn
def test_two_sites(user: User, platform: Platform, tmp_path: Path) -> None:
    platform.hurry = True
    asked = {"name": "study"} | content(places={"atlantic": {"site": "nantes", "cluster": "ecotype"}})
    asked["machines"][1]["site"] = "atlantic"
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(asked))
    user.run("deploy", "--env", str(file), "--phase", "hosts")
    assert sorted(job.site for job in platform.held()) == ["nantes", "rennes"]
    hosts = {host["name"]: (host["address"], host["site"]) for host in user.state["resources"]["hosts"]}
    assert hosts["rally-1"] == (ECOTYPE, "atlantic")
    assert hosts["database-1"][0] == PARADOXE[0]
    assert len(json.loads((user.directory / "deployment.json").read_text())["lease"]["jobs"]) == 2
    user.run("destroy")
    assert platform.held() == []


@pytest.mark.deep
@pytest.mark.nspawn
def test_a_job_made_by_hand(grid: Grid, user: User, platform: Platform, tmp_path: Path) -> None:
    import grid5000

    api = grid5000.Grid5000.from_yaml(str(grid.account.credentials))
    wanted = {"name": "by hand", "command": "sleep 1d", "types": [], "resources": "nodes=3,walltime=1:0:0"}
    job = api.sites["rennes"].jobs.create(wanted)
    file = experiment(tmp_path, reuse={"rennes": job.uid})
    user.run("deploy", "--env", file, "--phase", "hosts")
    assert len(platform.submissions()) == 1
    assert f"rennes:{job.uid}" in user.run("info").output
    user.run("destroy")
    assert [one.uid for one in platform.held()] == [job.uid], "what was made by hand is ended by hand"


REFUSALS = (
    (messages.COULD_RUN.format("2030-01-02 03:04:05"), 4, "2030-01-02 03:04:05"),
    (messages.NOT_ENOUGH, 4, "fewer"),
    (messages.UNKNOWN_TYPE.format("nigth"), 2, "g5k.job_type"),
)
"""The others are tried in tests/unit/test_g5k_provider.py."""


def test_refusals_become_sentences(applicant: User, bare: Platform, tmp_path: Path) -> None:
    file = experiment(tmp_path)
    for words, status, remedy in REFUSALS:
        bare.refusals.append(words)
        told = flat(applicant.run("deploy", "--env", file, "--phase", "hosts", status=status).output)
        assert remedy in told, told
        assert "Traceback" not in told
        assert "Grid'5000 refused the reservation of 2 nodes" in told
    assert bare.held() == []


FAULTS: tuple[tuple[Fault, int, str], ...] = (
    (Fault(pattern="GET /sites", status=401, body=messages.UNAUTHORIZED, times=-1), 4, "password"),
    (Fault(pattern="POST .*/jobs", drop=True), 4, "reached"),
)


def test_faults_of_the_api_become_sentences(applicant: User, bare: Platform, tmp_path: Path) -> None:
    file = experiment(tmp_path)
    for fault, status, remedy in FAULTS:
        bare.faults = [fault]
        told = flat(applicant.run("deploy", "--env", file, "--phase", "hosts", status=status).output)
        assert remedy in told, told
        assert "Traceback" not in told
    bare.faults = []
    bare.path = ("waiting", "error")
    told = flat(applicant.run("deploy", "--env", file, "--phase", "hosts", status=4).output)
    assert "OAR suspects nodes" in told


@pytest.mark.deep
def test_kadeploy_that_fails_everywhere(applicant: User, bare: Platform, tmp_path: Path) -> None:
    bare.kadeploy_ko.update(dict.fromkeys(PARADOXE, -1))
    file = experiment(tmp_path, env_name="debian12-min")
    told = flat(applicant.run("deploy", "--env", file, "--phase", "hosts", status=4).output)
    assert f"kadeploy failed three times on {PARADOXE[0]}" in told
    applicant.run("destroy")
    assert bare.held() == []


@pytest.mark.deep
def test_what_is_lacking_is_told_beforehand(applicant: User, bare: Platform, tmp_path: Path) -> None:
    file = experiment(tmp_path)
    try:
        applicant.account.write_credentials(password=None)
        assert "lacks `password`" in flat(applicant.run("check", "--env", file, status=3).output)
        applicant.account.write_credentials(password="wrong")
        assert "does not accept your login" in flat(applicant.run("check", "--env", file, status=3).output)
    finally:
        applicant.account.write_credentials()
    typo = experiment(tmp_path, cluster="paradox")
    assert "Did you mean 'paradoxe'?" in flat(applicant.run("check", "--env", typo, status=3).output)
