"""Containers of this machine as the nodes of the fake Grid'5000, and as its access host.

What a node keeps of a real one: it is called as there; nobody may log in without a job; then the user may, with
``sudo-g5k``; root may after kadeploy only, which leaves ``/etc/grid5000/release``; the second network card is down
and has no address until ``dhclient`` is run on it; the end of a job wipes the disk. What is fake: ``dhclient`` is a
script that sets the address its container has anyway (there is no DHCP here), ``sudo-g5k`` is sudo, every VLAN is
the one database network of the containers, and nodes boot from one image whatever environment is deployed.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

from enos_crdb.command import SubprocessRunner
from enos_crdb.model import Resources
from enos_crdb.providers.nspawn.configuration import Configuration, HostRequest
from enos_crdb.providers.nspawn.provider import Nspawn
from tests.doubles.grid5000.account import Account
from tests.doubles.grid5000.platform import Platform
from tests.doubles.grid5000.reference import Site, own_name

ACCESS = "access"
"""The container that plays access.grid5000.fr."""

_PREPARE = r"""
set -eu
useradd --create-home --shell /bin/bash {user}
echo '{user} ALL=(root) NOPASSWD: ALL' > /etc/sudoers.d/{user}
cat > /usr/local/bin/sudo-g5k <<'EOF'
#!/bin/sh
exec sudo "$@"
EOF
cat > /usr/sbin/dhclient <<'EOF'
#!/bin/sh
# Stands in for a DHCP client: the address is known beforehand.
lease=/run/fake-grid5000/$1
[ -f "$lease" ] || {{ echo "No DHCPOFFERS received on $1." >&2; exit 2; }}
ip address replace "$(cat "$lease")" dev "$1"
EOF
chmod 755 /usr/local/bin/sudo-g5k /usr/sbin/dhclient
cat >> /etc/hosts <<'EOF'
{hosts}
EOF
"""

_OPEN = r"""
set -eu
install -d -m 700 -o {user} -g {user} /home/{user}/.ssh
echo '{key}' | tee /home/{user}/.ssh/id_rsa.pub > /home/{user}/.ssh/authorized_keys
chown {user}:{user} /home/{user}/.ssh/*
"""

_DEPLOYED = r"""
set -eu
mkdir -p /etc/grid5000
echo '{environment}-2024031216' > /etc/grid5000/release
cat >> /root/.ssh/authorized_keys <<'EOF'
{key}
EOF
"""


class Nodes:
    """`Hardware` of containers.

    ``layers`` maps the FQDN of each node to what it boots from besides the base image: software that would take long
    to install.
    """

    def __init__(self, directory: Path, cache: Path, layers: Mapping[str, str | None]) -> None:
        self._directory = directory
        self.names = list(layers)
        configuration = Configuration()
        configuration.machines = [
            HostRequest(name=_short(fqdn), roles=("node",), layer=layer) for fqdn, layer in layers.items()
        ] + [HostRequest(name=ACCESS, roles=("access",))]
        self._nspawn = Nspawn(configuration, state_dir=directory, cache_dir=cache, runner=SubprocessRunner())
        self._resources = Resources(hosts=(), networks=())
        self._account: Account | None = None
        self._pool = ThreadPoolExecutor(max_workers=4)
        self._coming: dict[str, Future[None]] = {}

    # What the test does

    def boot(self) -> None:
        """Start all containers."""
        self._resources = self._nspawn.acquire()

    def destroy(self) -> None:
        """Leave nothing."""
        self._settle(self.names)
        self._pool.shutdown()
        self._nspawn.destroy()

    def platform_sites(self, sites: Iterable[Site]) -> tuple[Site, ...]:
        """The sites with the networks the containers really have; every VLAN is their database network."""
        networks = {network.name: network.cidr for network in self._resources.networks}
        control, database = (_with_gateway(networks[name]) for name in ("control", "database"))
        return tuple(
            replace(site, networks={"default": control, **{str(vlan): database for vlan in range(1, 10)}})
            for site in sites
        )

    def prepare(self, account: Account) -> None:
        """Make the containers a Grid'5000 on which `account` has no job."""
        self._account = account
        self._each([*map(_short, self.names), ACCESS], self._prepare)
        self._on(ACCESS, _OPEN.format(user=account.username, key=self._public()))

    def ssh_config(self, file: Path, *, outside: bool = False) -> Path:
        """Write an ssh configuration that finds nodes by name; from ``outside`` only the access host."""
        blocks = [f"Host access.grid5000.fr\n  HostName {self.address(ACCESS)}"]
        if not outside:
            blocks += [f"Host {fqdn} {_in_vlans(fqdn)}\n  HostName {self.address(_short(fqdn))}" for fqdn in self.names]
        assert self._account is not None
        blocks.append(
            f"Host *\n  IdentityFile {self._account.key}\n  IdentitiesOnly yes\n  StrictHostKeyChecking no\n"
            "  UserKnownHostsFile /dev/null\n  LogLevel ERROR"
        )
        file.write_text("\n".join(blocks) + "\n")
        return file

    def address(self, name: str, network: str = "control") -> str:
        """A container's address."""
        return next(host.addresses[network] for host in self._resources.hosts if host.name == name)

    def run(self, fqdn: str, command: str) -> str:
        """Run a shell command on a node as root, behind Grid'5000's back."""
        self._settle([fqdn])
        return self._on(_short(fqdn), command)

    # Hardware

    def granted(self, nodes: Sequence[str], user: str) -> None:
        self._settle(nodes)
        self._each(map(_short, nodes), lambda name: self._on(name, _OPEN.format(user=user, key=self._public())))

    def deployed(self, nodes: Sequence[str], environment: str, key: str) -> None:
        self._settle(nodes)
        script = _DEPLOYED.format(environment=environment, key=key.strip())
        self._each(map(_short, nodes), lambda name: self._on(name, script))

    def attached(self, nodes: Sequence[str], interface: str, vlan: str) -> None:
        for name in map(_short, nodes):
            self._on(name, f"mkdir -p /run/fake-grid5000; echo {self._second(name)} > /run/fake-grid5000/{interface}")

    def withdrawn(self, nodes: Sequence[str]) -> None:
        """Wipe the nodes; they are back some seconds later, which the next job waits for."""
        self._settle(nodes)
        for fqdn in nodes:
            self._coming[fqdn] = self._pool.submit(self._reinstall, _short(fqdn))

    # Parts

    def _reinstall(self, name: str) -> None:
        self._nspawn.kill_host(name)
        root = self._directory / "hosts" / name / "root"
        subprocess.run(["umount", str(root)], check=True)
        shutil.rmtree(self._directory / "hosts" / name / "upper")
        self._nspawn.start_host(name)
        self._prepare(name)

    def _prepare(self, name: str) -> None:
        assert self._account is not None
        table = "\n".join(f"{self.address(_short(fqdn))} {fqdn} {_in_vlans(fqdn)}" for fqdn in self.names)
        self._on(name, _PREPARE.format(user=self._account.username, hosts=table))
        if name != ACCESS:
            self._on(name, "ip address flush dev eth1; ip link set eth1 down")

    def _second(self, name: str) -> str:
        length = next(IPv4Network(net.cidr).prefixlen for net in self._resources.networks if net.name == "database")
        return f"{self.address(name, 'database')}/{length}"

    def _public(self) -> str:
        assert self._account is not None
        return self._account.key.with_suffix(".pub").read_text().strip()

    def _settle(self, nodes: Iterable[str]) -> None:
        for fqdn in nodes:
            if coming := self._coming.pop(fqdn, None):
                coming.result()

    def _each(self, names: Iterable[str], act: Callable[[str], object]) -> None:
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(act, names))

    def _on(self, name: str, script: str) -> str:
        done = subprocess.run(
            [*self._nspawn.ssh_command(name), "bash -s"], input=script, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{name}: {done.stderr}{done.stdout}"
        return done.stdout


def link(platform: Platform, nodes: Nodes) -> None:
    """Put the containers behind the names of the platform."""
    platform.sites = nodes.platform_sites(platform.sites)
    platform.hardware = nodes


def _short(fqdn: str) -> str:
    return own_name(fqdn).partition(".")[0]


def _in_vlans(fqdn: str) -> str:
    """Names of a node in the VLANs (``x-1-kavlan-4.site.grid5000.fr``)."""
    name, _, domain = fqdn.partition(".")
    return " ".join(f"{name}-kavlan-{vlan}.{domain}" for vlan in range(1, 10))


def _with_gateway(cidr: str) -> tuple[str, str]:
    return cidr, str(IPv4Network(cidr)[1])
