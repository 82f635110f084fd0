"""Deployments that tests share: one for each backend and layout, and each test leaves it as it found it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.integration.engine import ArgvWatch, Engine, mark_of, traces

LOOK = r"""
systemctl list-units --type=service --state=running,failed --plain --no-legend | awk '{print "unit", $1, $4}'
ss -Hltn | awk '{print "listens", $4}'
ps -eo user=,comm= | sort -u | sed 's/^/process /'
find /etc /root /srv /usr/local /home -xdev -type f ! -path '*/__pycache__/*' ! -path '*/.cache/*' -exec md5sum {} + \
  | sed 's/^/file /'
find /tmp /var/tmp /opt -xdev -maxdepth 2 ! -path '*/systemd-private-*' ! -name '.ansible*' | sed 's/^/place /'
iptables-save 2>/dev/null | grep ^-A | sed 's/^/rule /'
true
"""
"""What a test may not leave changed on a host: services, ports, users' programs, files, packet rules."""
PASSING = ("process root ", "process messagebus ", "process systemd")
"""Programs that come and go by themselves."""
KEPT = {".lock", "deployment.json", "secrets.json", "logs", "runs"}
"""All that a destroyed deployment leaves in its directory."""


@dataclass(frozen=True, kw_only=True)
class Shared(Engine):
    """A deployment that more than one test uses, and how it was made."""

    file: str
    watched: ArgvWatch
    """What was looked for in the arguments of all processes while it was made."""
    mark: str = ""
    hosts: tuple[str, ...] = field(default=())

    def deploy(self) -> str:
        """Deploy it again."""
        return self.run("deploy", "--env", self.file).output

    def footprint(self) -> dict[str, set[str]]:
        """What each host has that a test may not leave changed."""
        return {
            host: {line for line in self.on(host, LOOK).splitlines() if not line.startswith(PASSING)}
            for host in self.hosts
        }


Begin = Callable[[Engine], None]


@contextmanager
def shared(session: pytest.Session, file: str, *, begin: Begin | None = None) -> Iterator[Shared]:
    """Deploy `file`; at the end a second deployment must change nothing, and destruction leave nothing but results.

    `begin` does before it what `deploy` is to continue. The results are kept when a test of `session` failed.
    """
    place = Path(tempfile.mkdtemp(prefix="enos_crdb-shared-", dir="/var/tmp"))
    engine = Engine(place / "results")
    with ArgvWatch(engine) as watch:
        if begin:
            begin(engine)
        engine.run("deploy", "--env", file)
    directory, mark = engine.directory, mark_of(engine.directory)
    assert mark is not None
    hosts = tuple(host["name"] for host in engine.state["resources"]["hosts"])
    made = Shared(engine.results, file=file, watched=watch, mark=mark, hosts=hosts)
    try:
        yield made
        made.forget_logs()
        made.deploy()
        assert made.changed() == {}, "a second deployment changes nothing, whatever tests did meanwhile"
    finally:
        if not made.state["destroyed_at"]:
            made.run("destroy")
    assert traces(directory, mark) == []
    assert {path.name for path in directory.iterdir()} == KEPT
    made.run("destroy")
    if list(made.directory.glob("runs/*/samples.csv")):
        assert "iterations" in made.run("report").output, "results outlive the hosts"
    if not session.testsfailed:
        shutil.rmtree(place)


@contextmanager
def as_it_was(deployment: Shared) -> Iterator[Shared]:
    """The deployment for one test, which may leave nothing changed on its hosts."""
    before = deployment.footprint()
    yield deployment
    after = deployment.footprint()
    differences = {
        host: sorted(f"- {line}" for line in before[host] - after[host])
        + sorted(f"+ {line}" for line in after[host] - before[host])
        for host in deployment.hosts
    }
    assert not any(differences.values()), f"the test left the hosts changed: {differences}"
