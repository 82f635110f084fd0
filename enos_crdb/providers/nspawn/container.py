"""One local host: its file tree, its boot, its end."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from enos_crdb.command import Runner, start_detached
from enos_crdb.errors import CommandError, ProviderError
from enos_crdb.providers.nspawn import cgroup
from enos_crdb.providers.nspawn.cgroup import Cgroups
from enos_crdb.providers.nspawn.plan import (
    NSPAWN_ENVIRONMENT,
    FleetPlan,
    HostPlan,
    nspawn_arguments,
    overlay_options,
)


@dataclass(frozen=True, kw_only=True)
class Tree:
    """Where a host's files are: ``upper`` is what it wrote, ``root`` what it sees."""

    directory: Path

    @property
    def upper(self) -> Path:
        return self.directory / "upper"

    @property
    def work(self) -> Path:
        return self.directory / "work"

    @property
    def root(self) -> Path:
        return self.directory / "root"


def tree(deployment: FleetPlan, host: HostPlan) -> Tree:
    return Tree(directory=deployment.trees / host.name)


def boot(
    runner: Runner,
    cgroups: Cgroups,
    deployment: FleetPlan,
    host: HostPlan,
    *,
    lower: Sequence[Path],
    console: Path,
    read_only_binds: Mapping[Path, str],
    volatile: bool,
    notify: Callable[[str], None],
) -> None:
    """Start the host on its own tree over `lower` (top first); returns before it answers."""
    files = tree(deployment, host)
    _mount(runner, files, lower, volatile=volatile)
    _identify(deployment, host, files.root)
    machine = deployment.machine(host)
    nspawn = nspawn_arguments(deployment, host, root=files.root, read_only_binds=read_only_binds)
    command, warnings = cgroups.launch(machine, nspawn, cpus=host.cpus, memory_mb=host.memory_mb)
    for warning in warnings:
        notify(f"warning: {warning}")
    console.parent.mkdir(parents=True, exist_ok=True)
    start_detached(command, log=console, env=NSPAWN_ENVIRONMENT)


def _mount(runner: Runner, files: Tree, lower: Sequence[Path], *, volatile: bool) -> None:
    unmount(runner, files)
    for directory in (files.upper, files.work, files.root):
        directory.mkdir(parents=True, exist_ok=True)
    os.chmod(files.upper, 0o755)
    options = overlay_options(lower=lower, upper=files.upper, work=files.work, volatile=volatile)
    runner.run(["mount", "-t", "overlay", "overlay", "-o", options, str(files.root)])


def _identify(deployment: FleetPlan, host: HostPlan, root: Path) -> None:
    (root / "etc/hostname").write_text(f"{host.name}\n")
    # The same at every boot, so that the journal of a restarted host stays in one place.
    digest = hashlib.sha256(f"{deployment.id}/{host.name}".encode()).hexdigest()[:32]
    (root / "etc/machine-id").write_text(f"{digest}\n")


def unmount(runner: Runner, files: Tree, *, timeout_s: float = 5.0) -> None:
    """Take the host's tree down; lazily when something (an indexer, a shell) still looks at it."""
    deadline = time.monotonic() + timeout_s
    if os.path.ismount(files.root):
        seen = os.stat(files.root)
        # nspawn's, which a killed one leaves there.
        Path(f"/run/systemd/nspawn/locks/inode-{seen.st_dev}:{seen.st_ino}").unlink(missing_ok=True)
    while os.path.ismount(files.root):
        lazy = ["--lazy"] if time.monotonic() > deadline else []
        if runner.run(["umount", *lazy, str(files.root)], check=False).returncode != 0:
            time.sleep(0.05)


def running(cgroups: Cgroups, deployment: FleetPlan, host: HostPlan) -> bool:
    return bool(cgroup.processes(cgroups, deployment.machine(host)))


def stop(cgroups: Cgroups, deployment: FleetPlan, host: HostPlan, *, timeout_s: float = 90.0) -> bool:
    """Shut the host down in order; after `timeout_s` it is killed, which the result says with False."""
    machine = deployment.machine(host)
    deadline = time.monotonic() + timeout_s
    cgroup.terminate(cgroups, machine)
    while cgroup.processes(cgroups, machine):
        if time.monotonic() > deadline:
            kill(cgroups, deployment, host)
            return False
        time.sleep(0.05)
    forget(cgroups, machine)
    return True


def kill(cgroups: Cgroups, deployment: FleetPlan, host: HostPlan) -> None:
    """Pull the host's plug."""
    machine = deployment.machine(host)
    cgroup.kill(cgroups, machine)
    forget(cgroups, machine)


def forget(cgroups: Cgroups, machine: str) -> None:
    """Remove what an ended container leaves behind."""
    cgroups.remove(machine)
    # nspawn removes these itself unless it is killed.
    for kind in ("propagate", "unix-export"):
        shutil.rmtree(Path("/run/systemd/nspawn") / kind / machine, ignore_errors=True)


def wait_for_ssh(
    runner: Runner,
    cgroups: Cgroups,
    deployment: FleetPlan,
    host: HostPlan,
    *,
    ssh: Sequence[str],
    console: Path,
    cancelled: Callable[[], bool],
    timeout_s: float = 60.0,
) -> None:
    """Return when the host answers by ssh with its own name. Raises `ProviderError` with its console's end."""
    deadline = time.monotonic() + timeout_s
    seen_dead = 0
    while not _has_banner(host.address):
        if cancelled():
            return
        # A process that turns into another program has no command line for an instant: ask again.
        seen_dead = 0 if running(cgroups, deployment, host) else seen_dead + 1
        if seen_dead == 3:
            raise ProviderError(
                f"The local host {host.name} ended while it booted. The end of its console "
                f"({console}):\n{_tail(console)}"
            )
        if time.monotonic() > deadline:
            raise ProviderError(
                f"The local host {host.name} ({host.address}) does not answer by ssh after {timeout_s:.0f} s.\n"
                f"Usually this machine is overloaded, or a firewall drops what enters {deployment.bridge('control')}. "
                f"The end of its console ({console}):\n{_tail(console)}"
            )
        time.sleep(0.05)
    _verify(runner, host, ssh)


def _verify(runner: Runner, host: HostPlan, ssh: Sequence[str]) -> None:
    try:
        name = runner.run([*ssh, "cat", "/etc/hostname"], timeout_s=30).stdout.strip()
    except CommandError as error:
        raise ProviderError(
            f"What answers at {host.address} is not the local host {host.name}, or refuses our key: another "
            f"deployment or network of this machine may use the address.\n{error.stderr.strip()}\n"
            "Destroy this deployment and deploy again: free subnets are chosen anew."
        ) from error
    if name != host.name:
        raise ProviderError(f"{host.address} should be the local host {host.name}, but says it is {name!r}.")


def _has_banner(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=1.0) as connection:
            connection.settimeout(5.0)
            return connection.recv(4) == b"SSH-"
    except OSError:  # it does not listen yet
        return False


def _tail(console: Path) -> str:
    if not console.exists():
        return "(nothing)"
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", console.read_text(errors="replace"))
    return "\n".join([line for line in text.splitlines() if line.strip()][-15:]) or "(nothing)"
