"""The hosts of one deployment on this machine: planned, brought up, taken down from the state file alone."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from pathlib import Path

from enos_crdb.command import Runner
from enos_crdb.errors import PrerequisiteError, ProviderError, StateError
from enos_crdb.providers import connections
from enos_crdb.providers.nspawn import cgroup, container, emulation, image, inotify, layers, network, settings
from enos_crdb.providers.nspawn.cgroup import Cgroups
from enos_crdb.providers.nspawn.configuration import HostRequest
from enos_crdb.providers.nspawn.layers import Cache
from enos_crdb.providers.nspawn.plan import (
    NETWORKS,
    FleetPlan,
    HostPlan,
    choose_cidrs,
    from_json,
    hosts_file,
    plan_hosts,
    to_json,
)
from enos_crdb.providers.nspawn.suite import Source

Notify = Callable[[str], None]


class Fleet:
    """Hosts whose state is in ``directory/nspawn.json``, written before anything of them exists."""

    def __init__(
        self,
        directory: Path,
        *,
        cache: Cache,
        runner: Runner,
        notify: Notify,
        read_only_binds: Mapping[Path, str],
        control: Path,
    ) -> None:
        self.directory = directory
        self._cache = cache
        self._runner = runner
        self._notify = notify
        self._binds = read_only_binds
        self._control = control
        self._cgroups: Cgroups = cgroup.detect(runner)

    # State

    @property
    def state_file(self) -> Path:
        return self.directory / "nspawn.json"

    def load(self) -> FleetPlan | None:
        """What was planned; ``None`` when there is nothing. Raises `StateError`."""
        try:
            content = json.loads(self.state_file.read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise StateError(f"{self.state_file} is not JSON: {error}.") from error
        return from_json(content)

    def plan(
        self,
        requests: Sequence[HostRequest],
        *,
        suite: str,
        cidrs: Mapping[str, str],
        trees: Path | None = None,
    ) -> FleetPlan:
        """Choose id and subnets, and write them down. ``trees`` is where file trees go, by default ours."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        place = trees or self.directory / "hosts"
        tmpfs = self._needs_tmpfs(place)
        for source in self._binds:
            source.mkdir(parents=True, exist_ok=True)
        with network.locked(network.RUN / "lock"):
            used = network.used_subnets(self._runner)
            chosen = choose_cidrs(cidrs, used, len(requests))
            deployment = FleetPlan(
                id=network.new_id(),
                suite=suite,
                image=image.image_name(suite),
                trees=place,
                tmpfs=tmpfs,
                cidrs=chosen,
                hosts=plan_hosts(requests, chosen),
            )
            write_private(self.state_file, json.dumps(to_json(deployment), indent=2) + "\n")
            network.claim(deployment)
        return deployment

    def _needs_tmpfs(self, place: Path) -> bool:
        layers.refuse_odd_path(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        if layers.holds_overlay(self._runner, place.parent):
            return False
        self._notify(
            f"warning: the file system of {place} cannot hold the hosts' files (is it an overlay itself, or NFS?); "
            "they are kept in memory, which makes disks faster than they are"
        )
        return True

    # Up

    def up(self, deployment: FleetPlan, *, sources: Sequence[Source], volatile: bool = False) -> None:
        """Boot what does not run, all at once, and wait until every host answers by ssh.

        ``volatile``: nothing of the hosts must survive a crash of this machine, so writes need not reach its disk.
        Raises `ProviderError`.
        """
        asleep = [host for host in deployment.hosts if not container.running(self._cgroups, deployment, host)]
        if not asleep:
            return
        started = time.monotonic()
        self._notify(f"booting {_count(asleep)}")
        inotify.make_room(self._notify)
        if len(asleep) == len(deployment.hosts):
            self._prepare(deployment, sources)
        network.ensure(self._runner, deployment, asleep)
        for table in network.obstacles(self._runner, deployment):
            self._notify(
                f"warning: the firewall table '{table}' drops forwarded packets; hosts may not reach the world"
            )
        cancelled = threading.Event()
        with ThreadPoolExecutor(max_workers=min(len(asleep), 16)) as pool:
            futures = [pool.submit(self._boot, deployment, host, volatile, cancelled.is_set) for host in asleep]
            try:
                for future in futures:
                    future.result()
            except BaseException:  # Ctrl-C, too: the other hosts are not waited for
                cancelled.set()
                raise
        self._notify(f"{_count(asleep)} up in {time.monotonic() - started:.1f} s")

    def _prepare(self, deployment: FleetPlan, sources: Sequence[Source]) -> None:
        """What all hosts share; made anew when none of them runs, as this machine's settings may have changed."""
        self._refuse_collision(deployment)
        network.claim(deployment)
        self._control.mkdir(mode=0o700, exist_ok=True)
        if deployment.tmpfs and not os.path.ismount(deployment.trees):
            deployment.trees.mkdir(parents=True, exist_ok=True)
            self._runner.run(["mount", "-t", "tmpfs", "-o", "mode=0700,size=80%", "tmpfs", str(deployment.trees)])
        for host in deployment.hosts:
            container.unmount(self._runner, container.tree(deployment, host))
        self._make_keys()
        self._write_settings(deployment, sources)
        packages = self._shared(deployment, "packages")
        shutil.rmtree(packages, ignore_errors=True)
        layers.seed_packages(self._cache, deployment.suite, packages)

    def _refuse_collision(self, deployment: FleetPlan) -> None:
        ours = [IPv4Network(cidr) for cidr in deployment.cidrs.values()]
        for cidr in network.used_subnets(self._runner, but=deployment.id):
            other = IPv4Network(cidr, strict=False)
            if other.prefixlen > 0 and any(other.overlaps(net) for net in ours):
                raise ProviderError(
                    f"The subnets of this deployment ({', '.join(map(str, ours))}) are now used by this machine for "
                    f"something else ({other}).\nEnd that, or destroy this deployment and deploy again."
                )

    def _shared(self, deployment: FleetPlan, name: str) -> Path:
        # No host has such a name.
        return deployment.trees / f".{name}"

    def _write_settings(self, deployment: FleetPlan, sources: Sequence[Source]) -> None:
        keys = self.directory / "ssh"
        direct = [*deployment.cidrs.values(), *(host.name for host in deployment.hosts)]
        files = settings.inherited(
            self._runner, sources=sources, gateway=deployment.gateway, direct=direct, notify=self._notify
        )
        files += settings.ssh_files(
            authorized_key=(keys / "id_ed25519.pub").read_text(),
            host_key=(keys / "host_ed25519").read_text(),
            host_key_public=(keys / "host_ed25519.pub").read_text(),
        )
        files.append(settings.HostFile(path="etc/hosts", content=hosts_file(deployment)))
        target = self._shared(deployment, "settings")
        shutil.rmtree(target, ignore_errors=True)
        settings.write_tree(target, files)
        public = " ".join((keys / "host_ed25519.pub").read_text().split()[:2])
        known = "".join(f"{host.address} {public}\n" for host in deployment.hosts)
        write_private(keys / "known_hosts", known)

    def _make_keys(self) -> None:
        keys = self.directory / "ssh"
        keys.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("id_ed25519", "host_ed25519"):
            if not (keys / f"{name}.pub").exists():
                (keys / name).unlink(missing_ok=True)
                self._runner.run(
                    ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "enos_crdb", "-f", str(keys / name)]
                )

    def _boot(self, deployment: FleetPlan, host: HostPlan, volatile: bool, cancelled: Callable[[], bool]) -> None:
        prepared = [] if host.layer is None else [layers.require(self._cache, deployment.image, host.layer)]
        base = self._cache.image(deployment.image)
        if not base.is_dir():
            raise ProviderError(f"The base image {base} is gone. Destroy this deployment and deploy again.")
        shared = [self._shared(deployment, name) for name in ("settings", "packages")]
        container.boot(
            self._runner,
            self._cgroups,
            deployment,
            host,
            lower=[*shared, *prepared, base],
            console=self.console(host.name),
            read_only_binds=self._binds,
            volatile=volatile,
            notify=self._notify,
        )
        container.wait_for_ssh(
            self._runner,
            self._cgroups,
            deployment,
            host,
            ssh=self.ssh_command(host),
            console=self.console(host.name),
            cancelled=cancelled,
        )

    def console(self, name: str) -> Path:
        return self.directory / "hosts" / name / "console.log"

    @property
    def keyfile(self) -> Path:
        return self.directory / "ssh/id_ed25519"

    def ssh_options(self) -> list[str]:
        """Options with which ssh trusts our hosts and nobody else."""
        # ssh splits values at blanks.
        known_hosts = f'"{self.directory}/ssh/known_hosts"'
        return [
            *("-o", f"UserKnownHostsFile={known_hosts}"),
            *("-o", "GlobalKnownHostsFile=/dev/null"),
            *("-o", "StrictHostKeyChecking=yes"),
            *("-o", "IdentitiesOnly=yes"),
        ]

    def ssh_command(self, host: HostPlan) -> list[str]:
        """`ssh` to the host as root, without questions and without the user's configuration."""
        limits = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "LogLevel=ERROR"]
        return ["ssh", "-F", "/dev/null", "-i", str(self.keyfile), *self.ssh_options(), *limits, f"root@{host.address}"]

    # One host

    def start(self, deployment: FleetPlan, name: str) -> None:
        """Boot a stopped host on the tree it had. Does nothing when it runs."""
        host = deployment.host(name)
        if not container.running(self._cgroups, deployment, host):
            network.ensure(self._runner, deployment, [host])
            self._boot(deployment, host, False, lambda: False)

    def stop(self, deployment: FleetPlan, names: Sequence[str]) -> None:
        """Shut hosts down in order, all at once."""
        hosts = [deployment.host(name) for name in names]
        with ThreadPoolExecutor(max_workers=max(len(hosts), 1)) as pool:
            for host, orderly in zip(hosts, pool.map(lambda one: self._stop(deployment, one), hosts), strict=True):
                if not orderly:
                    self._notify(f"warning: {host.name} did not shut down in time and was killed")

    def _stop(self, deployment: FleetPlan, host: HostPlan) -> bool:
        orderly = container.stop(self._cgroups, deployment, host)
        # The network namespace stays, and would go on answering pings in the name of a host that is off.
        network.cut(self._runner, deployment, host, NETWORKS)
        return orderly

    def kill(self, deployment: FleetPlan, name: str) -> None:
        host = deployment.host(name)
        # First: a host without power sends no goodbye to its peers, as the end of its processes would.
        network.cut(self._runner, deployment, host, NETWORKS)
        container.kill(self._cgroups, deployment, host)

    def running(self, deployment: FleetPlan, name: str) -> bool:
        return container.running(self._cgroups, deployment, deployment.host(name))

    # Down

    def down(self) -> None:
        """Remove every trace of the deployment, whatever state it is in; does nothing when there is none."""
        deployment = self.load()
        if deployment is None:
            return
        if os.geteuid() != 0:
            raise PrerequisiteError("Local hosts can only be removed by root. Run the same command with sudo.")
        connections.close(self._runner, self._control)
        self.kill_all(deployment)
        emulation.end_delayers(deployment)  # they would keep the hosts' networks alive
        with network.locked(network.RUN / "lock"):
            network.remove(self._runner, deployment)
        if deployment.trees.exists():
            self._unmount_below(deployment.trees)
            shutil.rmtree(deployment.trees)
        for directory in (self.directory / "hosts", self.directory / "ssh", self._control):
            shutil.rmtree(directory, ignore_errors=True)
        self.state_file.unlink(missing_ok=True)

    def kill_all(self, deployment: FleetPlan) -> None:
        """Kill every container of the deployment, also those of hosts the plan does not know."""
        machines = {deployment.machine(host) for host in deployment.hosts}
        for machine in machines | self._cgroups.names(f"{deployment.prefix}-"):
            cgroup.kill(self._cgroups, machine)
            container.forget(self._cgroups, machine)
        for host in deployment.hosts:
            container.unmount(self._runner, container.tree(deployment, host))

    def freeze(self, deployment: FleetPlan, keys: Sequence[str]) -> None:
        """Make stopped hosts the layers `keys`, in the order of the hosts."""
        self.harvest(deployment)
        for key, host in zip(keys, deployment.hosts, strict=True):
            files = container.tree(deployment, host)
            container.unmount(self._runner, files)
            layers.freeze(self._runner, files.upper, self._cache.layer(deployment.image, key))

    def harvest(self, deployment: FleetPlan) -> None:
        """Keep the packages the hosts downloaded."""
        for host in deployment.hosts:
            layers.harvest_packages(self._cache, deployment.suite, container.tree(deployment, host).upper)

    def _unmount_below(self, place: Path) -> None:
        points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        # The kernel writes blanks in octal.
        below = [point.replace("\\040", " ") for point in points]
        for point in sorted((p for p in below if Path(p).is_relative_to(place)), reverse=True):
            self._runner.run(["umount", "--lazy", point])


def write_private(file: Path, content: str) -> None:
    """Replace `file` at once, readable by its owner only."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    arriving = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(arriving, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(descriptor)
    arriving.replace(file)


def _count(hosts: Sequence[HostPlan]) -> str:
    return f"{len(hosts)} local host{'' if len(hosts) == 1 else 's'}"
