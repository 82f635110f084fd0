"""What is kept between deployments besides images: prepared layers and downloaded packages."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from enos_crdb.command import Runner
from enos_crdb.errors import PrerequisiteError, ProviderError

# What makes a host that host, or is of no use to another one.
_NOT_IN_LAYER = """
etc/hostname etc/machine-id etc/hosts etc/resolv.conf etc/environment etc/pip.conf etc/uv
etc/apt/sources.list etc/apt/apt.conf.d/90enos_crdb etc/apt/auth.conf etc/apt/auth.conf.d
etc/ssh/ssh_host_ed25519_key etc/ssh/ssh_host_ed25519_key.pub etc/ssh/sshd_config.d/00-enos_crdb.conf
root/.ssh root/.ansible root/.bash_history root/.cache
var/lib/dbus/machine-id var/lib/systemd/random-seed var/lib/private/systemd var/cache/apt
tmp var/tmp run dev proc sys
"""


@dataclass(frozen=True)
class Cache:
    """What is kept between deployments, below ``directory``: ``images``, ``layers``, ``apt``."""

    directory: Path

    def image(self, name: str) -> Path:
        return self.directory / "images" / name

    def layer(self, image: str, key: str) -> Path:
        # A layer is a difference to its image, and wrong on any other.
        return self.directory / "layers" / image / key

    def packages(self, suite: str) -> Path:
        return self.directory / "apt" / suite


def holds_overlay(runner: Runner, directory: Path) -> bool:
    """Can a file system be stacked with its upper layer in `directory`? (Not on another overlay, or NFS.)"""
    probe = directory / f".probe-{os.getpid()}"
    for name in ("lower", "upper", "work", "merged"):
        (probe / name).mkdir(parents=True)
    options = "lowerdir=lower,upperdir=upper,workdir=work"
    try:
        done = runner.run(["mount", "-t", "overlay", "overlay", "-o", options, "merged"], cwd=probe, check=False)
        if done.returncode == 0:
            runner.run(["umount", str(probe / "merged")])
        return done.returncode == 0
    finally:
        shutil.rmtree(probe, ignore_errors=True)


def seed_packages(cache: Cache, suite: str, tree: Path) -> None:
    """Make `tree` a layer in which apt finds what earlier hosts downloaded (hard links: no copy).

    A snapshot, because a directory must not change below a mounted overlay.
    """
    archives = tree / "var/cache/apt/archives"
    archives.mkdir(parents=True, exist_ok=True)
    for package in cache.packages(suite).glob("*.deb"):
        try:
            os.link(package, archives / package.name)
        except OSError:  # another file system, or an image of the same name
            shutil.copy2(package, archives / package.name)
    for directory, _, _ in os.walk(tree):
        os.chmod(directory, 0o755)


def harvest_packages(cache: Cache, suite: str, upper: Path) -> int:
    """Keep the packages a host downloaded; gives how many."""
    kept = 0
    target = cache.packages(suite)
    target.mkdir(parents=True, exist_ok=True)
    for package in (upper / "var/cache/apt/archives").glob("*.deb"):
        if package.is_file() and not (target / package.name).exists():
            arriving = target / f".{os.getpid()}-{package.name}"
            shutil.move(package, arriving)
            arriving.rename(target / package.name)
            kept += 1
    return kept


def freeze(runner: Runner, upper: Path, layer: Path) -> None:
    """Make the upper directory of a stopped host the layer `layer`, of the same file system.

    If another process was first, its layer stays.
    """
    for name in _NOT_IN_LAYER.split():
        path = upper / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for log in (upper / "var/log").rglob("*"):
        if log.is_file() and not log.is_symlink():
            # Truncated, not removed: daemons expect files with their owners.
            os.truncate(log, 0)
    shutil.rmtree(upper / "var/log/journal", ignore_errors=True)
    layer.parent.mkdir(parents=True, exist_ok=True)
    # The builder's writes need not have reached the disk, and a layer must be whole even after a power cut.
    runner.run(["sync", "--file-system", str(upper)])
    try:
        upper.rename(layer)
    except OSError:
        if not layer.is_dir():
            raise


def require(cache: Cache, image: str, key: str) -> Path:
    """Directory of a layer. Raises `ProviderError` when it is not there."""
    layer = cache.layer(image, key)
    if not layer.is_dir():
        raise ProviderError(
            f"The layer {key} of {image} is not in {cache.directory} (removed since the hosts were planned?).\n"
            "Destroy this deployment and deploy again: the layer is built anew."
        )
    return layer


def refuse_odd_path(directory: Path) -> None:
    """Raise `PrerequisiteError` for a path that mount options or ssh's options cannot express."""
    odd = [character for character in ',"\\%\n' if character in str(directory)]
    if odd:
        raise PrerequisiteError(
            f"{directory} contains {odd[0]!r}, which options of mount and ssh cannot express.\n"
            "Use a directory without commas, quotes, backslashes and percent signs."
        )
