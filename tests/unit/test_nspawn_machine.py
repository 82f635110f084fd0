"""What the machine must have, cgroups, layers: the parts that need no root."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from enos_crdb.command import Completed, SubprocessRunner
from enos_crdb.errors import PrerequisiteError, ProviderError
from enos_crdb.providers.nspawn import cgroup, image, layers, prerequisites
from enos_crdb.providers.nspawn.cgroup import HierarchyCgroups, UnifiedCgroups, scope_prefix
from enos_crdb.providers.nspawn.fleet import write_private
from enos_crdb.providers.nspawn.image import image_name
from enos_crdb.providers.nspawn.layers import Cache
from enos_crdb.providers.nspawn.prerequisites import (
    ALTERNATIVES,
    Lack,
    lacking_capabilities,
    message,
    missing_keyring,
)
from enos_crdb.providers.nspawn.suite import Source
from enos_crdb.testing import RecordingRunner, ended


class TestPrerequisites:
    PACKAGE = Lack(what="debootstrap", package="debootstrap", why="makes the base image")
    ROOT = Lack(what="root", package=None, why="only root may")
    NEVER = Lack(what="CAP_SYS_ADMIN", package=None, why="root of a container")

    def test_without_root_it_says_what_to_run(self) -> None:
        text = message([self.PACKAGE, self.ROOT], root=False)
        assert "sudo apt-get install -y --no-install-recommends debootstrap" in text
        assert "Run enos_crdb as root" in text
        assert ALTERNATIVES in text

    def test_where_nothing_helps_it_says_so(self) -> None:
        text = message([self.NEVER], root=True)
        assert "CAP_SYS_ADMIN: root of a container" in text
        assert "Nothing that can be installed" in text
        assert "provider vagrant" in text
        assert "(static)" in text
        assert "apt-get" not in text

    @pytest.mark.parametrize(
        ("suite", "system", "package"),
        [
            ("bookworm", "ubuntu", "debian-archive-keyring"),
            ("noble", "ubuntu", "ubuntu-keyring"),
            ("jammy", "debian", None),
        ],
    )
    def test_the_keys_of_the_archive(self, tmp_path: Path, suite: str, system: str, package: str | None) -> None:
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/os-release").write_text(f"ID={system}\n")
        lack = missing_keyring(suite, tmp_path)
        assert lack is not None
        assert lack.package == package
        text = message([lack], root=True)
        assert ("apt-get install" in text) == (package is not None)
        assert ("dpkg -x" in text) == (package is None)
        assert "Nothing that can be installed" not in text
        keyrings = tmp_path / "usr/share/keyrings"
        keyrings.mkdir(parents=True)
        (keyrings / lack.what).touch()
        assert missing_keyring(suite, tmp_path) is None

    @pytest.mark.parametrize(
        ("emulator", "netem", "lacking"),
        [
            (None, False, set()),
            ("auto", True, set()),
            ("auto", False, {"iptables", "tc", "nsenter"}),
            ("nfqueue", True, {"iptables", "tc", "nsenter"}),
            ("netem", True, set()),
            ("netem", False, {"netem"}),
        ],
    )
    def test_what_emulates_is_asked_for_only_when_it_is_needed(
        self, emulator: str | None, netem: bool, lacking: set[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known = {"iptables", "tc", "nsenter", "netem"}
        monkeypatch.setattr("os.geteuid", lambda: 0)
        monkeypatch.setattr("shutil.which", lambda name: None if name in known else f"/bin/{name}")
        monkeypatch.setattr(prerequisites, "netem_refusal", lambda runner: None if netem else "unknown")
        monkeypatch.setattr(prerequisites, "_impossible", lambda runner: [])
        found = prerequisites.missing(SubprocessRunner(), suite="bookworm", emulator=emulator)
        assert {lack.what for lack in found} & known == lacking
        packages = {lack.what: lack.package for lack in found if lack.what in known}
        assert packages.get("iptables", "iptables") == "iptables"
        assert packages.get("netem") is None

    def test_capabilities_of_an_ordinary_docker_container(self) -> None:
        assert lacking_capabilities("Name:\tx\nCapEff:\t00000000a80425fb\n") == ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"]
        assert lacking_capabilities("CapEff:\t000001ffffffffff\n") == []

    def test_installation_as_root(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        answers = iter([[self.PACKAGE], []])
        monkeypatch.setattr(prerequisites, "RUN", tmp_path)
        monkeypatch.setattr(prerequisites, "missing", lambda runner, *, suite, emulator: next(answers))
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
        said: list[str] = []
        runner = RecordingRunner()
        prerequisites.install(runner, suite="bookworm", notify=said.append)
        assert said == ["installing Debian packages this machine lacks for local hosts: debootstrap"]
        assert runner.lines == ["apt-get install -y --no-install-recommends debootstrap"]

    @pytest.mark.parametrize("lacks", [[PACKAGE, ROOT], [NEVER], [PACKAGE, NEVER]], ids=["user", "never", "both"])
    def test_nothing_is_installed_in_vain(self, monkeypatch: pytest.MonkeyPatch, lacks: list[Lack]) -> None:
        monkeypatch.setattr(prerequisites, "missing", lambda runner, *, suite, emulator: lacks)
        monkeypatch.setattr(os, "geteuid", lambda: 0 if self.ROOT not in lacks else 1000)
        runner = RecordingRunner()
        with pytest.raises(PrerequisiteError, match="cannot run local hosts"):
            prerequisites.install(runner, suite="bookworm", notify=lambda text: None)
        assert runner.commands == []

    def test_lack_reads_as_a_sentence(self) -> None:
        assert str(self.PACKAGE) == "debootstrap is missing (Debian package debootstrap): it makes the base image"
        assert str(self.NEVER) == "CAP_SYS_ADMIN: root of a container"


class TestCgroups:
    def test_limits_of_a_scope(self) -> None:
        prefix = scope_prefix("ec1a2b-a", cpus=1.5, memory_mb=512)
        assert prefix[:2] == ["systemd-run", "--scope"]
        assert prefix[-1] == "--"
        for option in ("--unit=ec1a2b-a", "--property=Delegate=yes", "--property=CPUQuota=150%"):
            assert option in prefix
        assert "--property=MemoryMax=512M" in prefix
        assert not [word for word in scope_prefix("x", cpus=None, memory_mb=None) if "CPU" in word or "Mem" in word]

    def test_single_hierarchy(self, tmp_path: Path) -> None:
        groups = UnifiedCgroups(tmp_path)
        command, warnings = groups.launch("ec1a2b-a", ["true"], cpus=0.5, memory_mb=100)
        assert warnings == []
        assert (tmp_path / "ec1a2b-a/cpu.max").read_text() == "50000 100000"
        assert (tmp_path / "ec1a2b-a/memory.max").read_text() == "104857600"
        assert groups.names("ec1a2b-") == {"ec1a2b-a"}
        SubprocessRunner().run(command)
        assert (tmp_path / "ec1a2b-a/cgroup.procs").read_text().strip().isdigit()

    def test_one_hierarchy_per_controller(self, tmp_path: Path) -> None:
        for controller in ("cpu", "memory", "cpuset", "unified"):
            (tmp_path / controller).mkdir()
            (tmp_path / controller / "cgroup.procs").touch()
        groups = HierarchyCgroups(tmp_path)
        _, warnings = groups.launch("ec1a2b-a", ["true"], cpus=2, memory_mb=1)
        assert warnings == []
        assert (tmp_path / "cpu/ec1a2b-a/cpu.cfs_quota_us").read_text() == "200000"
        assert (tmp_path / "memory/ec1a2b-a/memory.limit_in_bytes").read_text() == "1048576"
        entered = {path.parent.name for path in groups.paths("ec1a2b-a")}
        assert entered == {"cpu", "memory", "unified"}, "a process cannot enter a new cpuset"

    def test_refused_limit_is_a_warning(self, tmp_path: Path) -> None:
        _, warnings = HierarchyCgroups(tmp_path).launch("ec1a2b-a", ["true"], cpus=1, memory_mb=None)
        assert warnings == ["this machine's cgroup refuses a cpu limit; ec1a2b-a runs without"]

    def test_process_outside_of_its_group_is_found_and_killed(self, tmp_path: Path) -> None:
        # As left by an engine that was killed between starting a container and its entering the group.
        groups, name = UnifiedCgroups(tmp_path), f"ec{os.getpid()}-a"
        command = ["sh", "-c", "echo ready; read line", "sh", f"--machine={name}"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            assert cgroup.processes(groups, name) == {process.pid}
            cgroup.kill(groups, name)
            assert process.wait(5) == -9


class TestLayers:
    def test_a_layer_belongs_to_an_image(self) -> None:
        cache = Cache(Path("/c"))
        assert cache.layer("bookworm-1", "k") != cache.layer("bookworm-2", "k")
        assert image_name("bookworm") == image_name("bookworm")
        assert image_name("bookworm") != image_name("trixie")

    def test_identity_is_not_part_of_a_layer(self, tmp_path: Path) -> None:
        upper = tmp_path / "upper"
        gone = [
            "etc/hostname",
            "etc/machine-id",
            "root/.ssh/id",
            "var/cache/apt/archives/a.deb",
            "tmp/x",
            "etc/pip.conf",
        ]
        kept = ["etc/postgresql/postgresql.conf", "opt/keystone/bin/python", "root/.bashrc", "var/lib/dpkg/status"]
        for name in [*gone, *kept, "var/log/postgresql/log"]:
            (upper / name).parent.mkdir(parents=True, exist_ok=True)
            (upper / name).write_text("content")
        layer = tmp_path / "layers/bookworm/key"
        layers.freeze(SubprocessRunner(), upper, layer)
        assert [name for name in gone if (layer / name).exists()] == []
        assert [(layer / name).read_text() for name in kept] == ["content"] * len(kept)
        assert (layer / "var/log/postgresql/log").read_text() == ""
        assert not upper.exists()

    def test_second_of_two_builders_gives_way(self, tmp_path: Path) -> None:
        layer = tmp_path / "layers/key"
        for content in ("first", "second"):
            upper = tmp_path / content
            (upper / "opt").mkdir(parents=True)
            (upper / "opt/who").write_text(content)
            layers.freeze(SubprocessRunner(), upper, layer)
        assert (layer / "opt/who").read_text() == "first"
        assert [path.name for path in layer.parent.iterdir()] == ["key"]

    def test_missing_layer(self, tmp_path: Path) -> None:
        with pytest.raises(ProviderError, match="layer gone"):
            layers.require(Cache(tmp_path), "bookworm-1", "gone")

    def test_packages_are_downloaded_once(self, tmp_path: Path) -> None:
        cache = Cache(tmp_path / "cache")
        archives = tmp_path / "upper/var/cache/apt/archives"
        archives.mkdir(parents=True)
        (archives / "a_1.deb").write_text("a")
        (archives / "lock").touch()
        assert layers.harvest_packages(cache, "bookworm", tmp_path / "upper") == 1
        layers.seed_packages(cache, "bookworm", tmp_path / "seed")
        assert [path.name for path in (tmp_path / "seed/var/cache/apt/archives").iterdir()] == ["a_1.deb"]
        assert (tmp_path / "seed/var/cache/apt/archives/a_1.deb").stat().st_nlink == 2

    @pytest.mark.parametrize("name", ["a,b", 'a"b', "a\\b", "a%b"])
    def test_paths_mount_cannot_express(self, name: str) -> None:
        with pytest.raises(PrerequisiteError, match="without commas"):
            layers.refuse_odd_path(Path("/srv") / name)


def test_state_is_private_and_replaced_at_once(tmp_path: Path) -> None:
    file = tmp_path / "new/state.json"
    for content in ("one", "two"):
        write_private(file, content)
    assert file.read_text() == "two"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]


@dataclass(kw_only=True)
class Debootstrap(RecordingRunner):
    """Plays debootstrap. ``begun`` is called when it begins; when it is ``broken``, it finds no mirror."""

    begun: Callable[[], None] = lambda: None
    broken: bool = False

    def answer(self, args: Sequence[str], input: str) -> Completed:
        if "debootstrap" in args:
            self.begun()
            target = Path(args[args.index("bookworm") + 1])
            for name in ("etc/apt", "etc/ssh", "etc/default", "etc/systemd/system", "usr/sbin", "tmp", "var"):
                (target / name).mkdir(parents=True)
            if self.broken:
                return ended(args, status=1, stderr="E: no such mirror")
        return super().answer(args, input)


class TestImage:
    SOURCES = (Source(uri="http://user:secret@mirror.example/debian", suite="bookworm", components=("main",)),)

    def test_two_runs_build_it_once(self, tmp_path: Path) -> None:
        building, waiting = threading.Event(), threading.Event()

        def meet() -> None:
            building.set()
            assert waiting.wait(20), "the other run did not wait"

        def hear(text: str) -> None:
            if text == "waiting for another run, which builds the base image of bookworm":
                waiting.set()

        def build(_: int) -> Path:
            return image.ensure(runner, Cache(tmp_path), suite="bookworm", sources=self.SOURCES, notify=hear)

        runner = Debootstrap(begun=meet)
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(build, 1)
            assert building.wait(20)
            second = pool.submit(build, 2)
        assert first.result() == second.result() == tmp_path / "images" / image_name("bookworm")
        assert len([line for line in runner.lines if " debootstrap " in line]) == 1

    def test_no_setting_of_the_machine_stays_in_it(self, tmp_path: Path) -> None:
        built = image.ensure(
            Debootstrap(), Cache(tmp_path), suite="bookworm", sources=self.SOURCES, notify=lambda text: None
        )
        for name in (
            "etc/apt/sources.list",
            "etc/apt/apt.conf.d/90enos_crdb",
            "etc/resolv.conf",
            "usr/sbin/policy-rc.d",
        ):
            assert not (built / name).exists()

    def test_failure_leaves_nothing_and_tells_no_password(self, tmp_path: Path) -> None:
        runner = Debootstrap(broken=True)
        with pytest.raises(ProviderError) as caught:
            image.ensure(runner, Cache(tmp_path), suite="bookworm", sources=self.SOURCES, notify=lambda text: None)
        assert "mirror.example/debian" in str(caught.value)
        assert "E: no such mirror" in str(caught.value)
        assert "nspawn.mirror" in str(caught.value)
        assert "secret" not in str(caught.value)
        assert [path.name for path in (tmp_path / "images").iterdir()] == [".bookworm.lock"]
