"""What local hosts inherit from this machine: package sources, proxies, certificates, name servers, pip.

Nothing of it is baked into the cached image: settings change, may hold credentials, and are read at run time.
They become the top layer below every host of a deployment.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from enos_crdb.command import Runner
from enos_crdb.providers.nspawn.suite import Source, format_sources
from enos_crdb.providers.nspawn.urls import is_local, reachable

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy")
_PIP_KEYS = ("index-url", "extra-index-url", "trusted-host", "proxy", "default-timeout", "timeout", "retries")


@dataclass(frozen=True, kw_only=True)
class HostFile:
    """A file of the hosts; ``path`` without the leading slash. ``link`` makes it a symbolic link."""

    path: str
    content: str = ""
    mode: int = 0o644
    link: str | None = None


def apt_settings(dump: str, environment: Mapping[str, str], gateway: str) -> str:
    """Configuration of apt in the hosts, from `apt-config dump` of this machine: how things are fetched.

    Hooks, cache policies and indexes of this machine's other packages stay here.
    """
    lines = [
        'Acquire::Languages "none";',
        # Layers are built from downloads of earlier ones: packages are kept until a layer is frozen.
        'Binary::apt::APT::Keep-Downloaded-Packages "true";',
        'APT::Periodic::Enable "0";',
        'Dpkg::Options { "--force-confdef"; "--force-confold"; };',
    ]
    pattern = re.compile(r'^(Acquire::[A-Za-z0-9:.\-_/\[\]]+) "([^"]*)";$')
    foreign = ("Acquire::IndexTargets", "Acquire::CompressionTypes", "Acquire::Changelogs", "Acquire::cdrom")
    for line in dump.splitlines():
        matched = pattern.match(line.strip())
        if not matched or matched[1].startswith((*foreign, "Acquire::Languages")) or not matched[2]:
            continue
        name, value = matched[1], matched[2]
        if is_local(value) and name.lower().endswith(("cainfo", "cacert")):
            value = BUNDLE
        elif is_local(value):
            continue
        lines.append(f'{name} "{reachable(value, gateway)}";')
    for scheme in ("http", "https"):
        proxy = environment.get(f"{scheme}_proxy")
        if proxy and f"Acquire::{scheme}::Proxy " not in "\n".join(lines):
            lines.append(f'Acquire::{scheme}::Proxy "{reachable(proxy, gateway)}";')
    return "\n".join(lines) + "\n"


def pip_values(files: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """pip's settings by name, from the contents of its configuration files (the later wins) and the environment.

    Read here because asking pip takes longer than booting a host.
    """
    found: dict[str, str] = {}
    for content in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(content)
        except configparser.Error:  # pip itself will tell the user, when it is used
            continue
        # What holds for one command (`install`) holds for hosts: they do nothing else.
        for section in ("global", "install"):
            if parser.has_section(section):
                found.update({key.replace("_", "-"): value for key, value in parser.items(section)})
    for name, value in environment.items():
        if name.startswith("PIP_") and value:
            found[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return found


def pip_settings(values: Mapping[str, str], gateway: str) -> dict[str, list[str]]:
    """Those of pip's settings that make sense in a host, each a list of words."""
    found = {}
    for name in _PIP_KEYS:
        words = [word for word in values.get(name, "").split() if not is_local(word)]
        if words:
            found[name] = [reachable(word, gateway) if "//" in word else word for word in words]
    return found


def pip_configuration(settings: Mapping[str, list[str]]) -> str:
    """``/etc/pip.conf``."""
    lines = ["[global]", f"cert = {BUNDLE}", "disable-pip-version-check = true"]
    lines += [f"{name} = {' '.join(values)}" for name, values in settings.items()]
    return "\n".join(lines) + "\n"


def uv_configuration(settings: Mapping[str, list[str]]) -> str:
    """``/etc/uv/uv.toml``: uv does not read pip's settings."""
    lines = ["native-tls = true"]
    if "index-url" in settings:
        lines.append(f'index-url = "{settings["index-url"][0]}"')
    if "extra-index-url" in settings:
        urls = ", ".join(f'"{url}"' for url in settings["extra-index-url"])
        lines.append(f"extra-index-url = [{urls}]")
    return "\n".join(lines) + "\n"


def environment_file(
    environment: Mapping[str, str], *, gateway: str, direct: Iterable[str], own_certificates: bool
) -> str:
    """``/etc/environment``: proxies as hosts reach them; `direct` is what needs none."""
    lines = []
    proxies = {name: value for name in _PROXIES if (value := environment.get(name) or environment.get(name.upper()))}
    for name, value in proxies.items():
        lines += [f'{word}="{reachable(value, gateway)}"' for word in (name, name.upper())]
    if proxies:
        given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
        without = ",".join(dict.fromkeys([*filter(None, given.split(",")), "localhost", "127.0.0.1", *direct]))
        lines += [f'{word}="{without}"' for word in ("no_proxy", "NO_PROXY")]
    if own_certificates:
        # Python packages bring certificates of their own, which lack this machine's.
        lines += [f'{word}="{BUNDLE}"' for word in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")]
    return "".join(f"{line}\n" for line in lines)


def resolver(files: Iterable[str]) -> str | None:
    """Content of ``/etc/resolv.conf``: the first of `files` whose name servers a host can reach."""
    for content in files:
        kept = []
        for line in content.splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver" and not words[1].startswith(("127.", "::1")):
                kept.append(f"nameserver {words[1]}")
            elif words[:1] in (["search"], ["options"]):
                kept.append(" ".join(words))
        if any(line.startswith("nameserver") for line in kept):
            return "\n".join(kept) + "\n"
    return None


def ssh_files(*, authorized_key: str, host_key: str, host_key_public: str) -> list[HostFile]:
    """One host key for all hosts of a deployment: it proves that what answers is one of ours."""
    configuration = (
        "HostKey /etc/ssh/ssh_host_ed25519_key\n"
        "PermitRootLogin prohibit-password\n"
        "PasswordAuthentication no\n"
        "UseDNS no\n"
        # Ansible, log collection and a user at the same time.
        "MaxSessions 100\nMaxStartups 100:30:200\n"
    )
    return [
        HostFile(path="root/.ssh/authorized_keys", content=authorized_key, mode=0o600),
        HostFile(path="etc/ssh/ssh_host_ed25519_key", content=host_key, mode=0o600),
        HostFile(path="etc/ssh/ssh_host_ed25519_key.pub", content=host_key_public),
        HostFile(path="etc/ssh/sshd_config.d/00-enos_crdb.conf", content=configuration),
    ]


def apt_files(runner: Runner, *, sources: Iterable[Source], gateway: str) -> list[HostFile]:
    """Where packages come from and how they are fetched."""
    dump = runner.run(["apt-config", "dump"], check=False).stdout if shutil.which("apt-config") else ""
    return [
        HostFile(path="etc/apt/sources.list", content=format_sources(sources, gateway)),
        HostFile(path="etc/apt/apt.conf.d/90enos_crdb", content=apt_settings(dump, os.environ, gateway)),
        *_apt_credentials(),
    ]


def inherited(
    runner: Runner,
    *,
    sources: Iterable[Source],
    gateway: str,
    direct: Iterable[str],
    notify: Callable[[str], None],
) -> list[HostFile]:
    """What this machine says about fetching packages and finding names, as files of the hosts."""
    certificates = local_certificates(Path("/"))
    pip = pip_settings(pip_values(_pip_files(), os.environ), gateway)
    names = resolver(_resolv_conf_candidates())
    if names is None:
        notify("warning: this machine's name server listens on its loopback only; hosts cannot resolve names")
    files = [
        *certificates,
        *apt_files(runner, sources=sources, gateway=gateway),
        HostFile(path="etc/pip.conf", content=pip_configuration(pip)),
        HostFile(path="etc/uv/uv.toml", content=uv_configuration(pip)),
        HostFile(path="etc/resolv.conf", content=names or ""),
    ]
    proxies = environment_file(os.environ, gateway=gateway, direct=direct, own_certificates=bool(certificates))
    return [*files, HostFile(path="etc/environment", content=proxies)] if proxies else files


def local_certificates(root: Path) -> list[HostFile]:
    """Authorities the administrator of this machine added, with the bundle and the links OpenSSL looks for."""
    added = root / "usr/local/share/ca-certificates"
    bundle = root / BUNDLE.lstrip("/")
    paths = sorted(added.rglob("*.crt")) if added.is_dir() else []
    if not paths or not bundle.exists():
        return []
    files = [HostFile(path=str(path.relative_to(root)), content=path.read_text()) for path in paths]
    files.append(HostFile(path=BUNDLE.lstrip("/"), content=bundle.read_text()))
    targets = {path.resolve() for path in paths}
    for link in sorted((root / "etc/ssl/certs").iterdir()):
        if link.is_symlink() and link.resolve() in targets:
            files.append(HostFile(path=str(link.relative_to(root)), link=os.readlink(link)))
    return files


def write_tree(tree: Path, files: Iterable[HostFile]) -> None:
    """Make `tree` of `files`, with the directories' modes of a Debian system."""
    tree.mkdir(parents=True)
    write_files(tree, files)
    for directory, _, _ in os.walk(tree):
        os.chmod(directory, 0o755)
        # systemd brings a system up to date when /usr looks new, and hosts see this one's date.
        os.utime(directory, (0, 0))
    for private in ("root", "root/.ssh"):
        if (tree / private).is_dir():
            os.chmod(tree / private, 0o700)


def write_files(tree: Path, files: Iterable[HostFile]) -> None:
    """Write `files` below `tree`, never through a link that is there."""
    for file in files:
        path = tree / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if file.link is not None:
            path.symlink_to(file.link)
            continue
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(file.content)
            os.fchmod(descriptor, file.mode)


def _pip_files() -> list[str]:
    """Contents of pip's configuration files, from the machine's to this environment's."""
    home = Path.home()
    paths = [
        *(Path(base) / "pip/pip.conf" for base in os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")),
        Path("/etc/pip.conf"),
        home / ".pip/pip.conf",
        Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf",
        Path(sys.prefix) / "pip.conf",
        Path(os.environ.get("PIP_CONFIG_FILE") or os.devnull),
    ]
    return [path.read_text(errors="replace") for path in paths if path.is_file()]


def _resolv_conf_candidates() -> list[str]:
    # With systemd-resolved the first one names a loopback address, the others the real servers.
    paths = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf")
    return [path.read_text(errors="replace") for path in map(Path, paths) if path.exists()]


def _apt_credentials() -> list[HostFile]:
    files = [Path("/etc/apt/auth.conf"), *sorted(Path("/etc/apt/auth.conf.d").glob("*.conf"))]
    return [
        HostFile(path=str(file).lstrip("/"), content=file.read_text(), mode=0o600) for file in files if file.is_file()
    ]
