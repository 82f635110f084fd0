"""EnOSlib provider of local hosts: systemd-nspawn containers of this machine."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from enoslib.infra.provider import Provider
from enoslib.objects import DefaultNetwork, Networks, Roles
from enoslib.objects import Host as EnoslibHost

from enos_crdb import model
from enos_crdb.command import Runner
from enos_crdb.config.emulation import Link
from enos_crdb.errors import PrerequisiteError, ProviderError
from enos_crdb.providers.nspawn import emulation, image, layers, network, prerequisites
from enos_crdb.providers.nspawn.configuration import Configuration, HostRequest
from enos_crdb.providers.nspawn.fleet import Fleet
from enos_crdb.providers.nspawn.layers import Cache
from enos_crdb.providers.nspawn.network import locked
from enos_crdb.providers.nspawn.plan import NETWORKS, FleetPlan, HostPlan, refuse_difference
from enos_crdb.providers.nspawn.prerequisites import Lack
from enos_crdb.providers.nspawn.suite import Source, choose_suite, own_sources, parse_os_release, suite_sources


class NspawnNetwork(DefaultNetwork):  # type: ignore[misc]  # EnOSlib has no types
    """A network of local hosts; EnOSlib compares networks by class."""


def _silent(text: str) -> None:
    pass


class Nspawn(Provider):  # type: ignore[misc]  # EnOSlib has no types
    """Local hosts of one deployment.

    ``state_dir`` belongs to the deployment and holds its hosts' files; ``cache_dir`` is shared by the deployments
    of this machine. ``notify`` gets a line for a user now and then. ``read_only_binds`` maps directories of this
    machine to where hosts see them. ``emulator`` is what shall emulate a network (``auto``, ``netem``, ``nfqueue``).
    """

    def __init__(
        self,
        conf: Configuration,
        *,
        state_dir: Path,
        cache_dir: Path,
        runner: Runner,
        notify: Callable[[str], None] = _silent,
        read_only_binds: Mapping[Path, str] | None = None,
        emulator: str | None = None,
    ) -> None:
        super().__init__(conf, name="nspawn")
        self._conf = conf
        self._runner = runner
        self._notify = notify
        self._emulator = emulator
        self._binds = dict(read_only_binds or {})
        self._state_dir = state_dir.resolve()
        self._cache = Cache(cache_dir.resolve())
        self._fleet = self._fleet_in(self._state_dir)

    def _fleet_in(self, directory: Path) -> Fleet:
        return Fleet(
            directory,
            cache=self._cache,
            runner=self._runner,
            notify=self._notify,
            read_only_binds=self._binds,
            control=self.control_path_dir,
        )

    @property
    def suite(self) -> str:
        """Debian or Ubuntu suite of the hosts."""
        file = Path("/etc/os-release")
        release = parse_os_release(file.read_text()) if file.exists() else {}
        return choose_suite(self._conf.suite, release)

    def _sources(self) -> list[Source]:
        return suite_sources(self.suite, self._conf.mirror, own_sources(Path("/etc/apt")))

    # This machine

    def missing(self) -> list[Lack]:
        """What this machine lacks for local hosts."""
        return prerequisites.missing(self._runner, suite=self.suite, emulator=self._emulator)

    def prepare(self) -> None:
        """Install what this machine lacks and build the base image if it is not cached.

        Raises `PrerequisiteError`, `ProviderError`.
        """
        prerequisites.install(self._runner, suite=self.suite, notify=self._notify, emulator=self._emulator)
        layers.refuse_odd_path(self._cache.directory)
        image.ensure(self._runner, self._cache, suite=self.suite, sources=self._sources(), notify=self._notify)

    # Layers

    def layer_exists(self, key: str) -> bool:
        """Is there a layer `key` to boot from, made on the base image hosts get now?"""
        return self._cache.layer(image.image_name(self.suite), key).is_dir()

    @contextmanager
    def building(self, keys: Mapping[str, tuple[str, ...]]) -> Iterator[dict[str, model.Host]]:
        """Boot a throw-away host per missing layer, to be provisioned in the with-block; then freeze them.

        `keys` maps a layer's key to the roles of its builder. Nothing is kept of a block that raises, but what
        was downloaded.
        """
        if all(map(self.layer_exists, keys)):
            yield {}
            return
        self.prepare()
        trees = self._layer_workshop()
        with ExitStack() as held:
            # In one order everywhere, so that no two processes wait for each other.
            for key in sorted(keys):
                held.enter_context(self._building_alone(key))
            wanted = {key: roles for key, roles in keys.items() if not self.layer_exists(key)}
            yield held.enter_context(self._builders(wanted, trees)) if wanted else {}

    def _building_alone(self, key: str) -> AbstractContextManager[None]:
        """Of two processes that want the same layer, the second waits and finds it."""
        waiting = f"waiting for another run, which installs the layer {key}"
        return locked(self._cache.directory / "layers" / f".{key}.lock", waiting=lambda: self._notify(waiting))

    @contextmanager
    def _builders(self, wanted: Mapping[str, tuple[str, ...]], trees: Path) -> Iterator[dict[str, model.Host]]:
        fleet = self._fleet_in(self._state_dir / "builders")
        fleet.down()
        requests = [HostRequest(name=f"builder-{n}", roles=roles) for n, roles in enumerate(wanted.values(), 1)]
        deployment = fleet.plan(requests, suite=self.suite, cidrs={}, trees=trees)
        try:
            fleet.up(deployment, sources=self._sources(), volatile=True)
            hosts = zip(wanted, deployment.hosts, strict=True)
            yield {key: self._host(fleet, host) for key, host in hosts}
            fleet.stop(deployment, [host.name for host in deployment.hosts])
            fleet.freeze(deployment, list(wanted))
        finally:
            fleet.harvest(deployment)
            fleet.down()

    def _layer_workshop(self) -> Path:
        """Where builders have their files: in the cache, into which they are renamed."""
        place = self._cache.directory / "layers"
        place.mkdir(parents=True, exist_ok=True)
        if not layers.holds_overlay(self._runner, place):
            raise PrerequisiteError(
                f"The file system of {place} cannot keep layers (is it an overlay itself, or NFS?).\n"
                "Put the cache on a local disk with ENOS_CRDB_CACHE=DIR, or do without layers: nspawn.layers: false."
            )
        return place / f".building-{secrets.token_hex(4)}"

    # EnOSlib's contract

    def init(self, force_deploy: bool = False, start_time: int | None = None, **kwargs: Any) -> tuple[Roles, Networks]:
        """Boot what does not run. Called again, it gives the same names and addresses."""
        if force_deploy:
            self.destroy()
        deployment = self._up()
        roles, networks = Roles(), Networks()
        for plan in deployment.hosts:
            host = self._host(self._fleet, plan)
            # One object for all its roles: EnOSlib tells hosts apart by what they carry.
            shared = EnoslibHost(
                host.address, alias=host.name, user=host.user, keyfile=host.keyfile, extra=dict(host.variables)
            )
            roles.add_one(shared, list(host.roles))
        for net in self._networks(deployment):
            networks.add_one(NspawnNetwork(net.cidr, gateway=net.gateway), [net.name])
        return roles, networks

    def _up(self) -> FleetPlan:
        self.prepare()
        deployment = self._fleet.load()
        if deployment is None:
            deployment = self._fleet.plan(self._conf.machines, suite=self.suite, cidrs=self._conf.cidrs)
        refuse_difference(deployment, self._conf)
        self._fleet.up(deployment, sources=self._sources())
        return deployment

    def acquire(self) -> model.Resources:
        """`init`, in our own values: hosts in the order of the configuration."""
        deployment = self._up()
        return model.Resources(
            hosts=tuple(self._host(self._fleet, host) for host in deployment.hosts),
            networks=self._networks(deployment),
        )

    def destroy(self, wait: bool = False, **kwargs: Any) -> None:
        """Leave nothing of the deployment, from its state file alone; also half-way, also twice."""
        builders = self._state_dir / "builders"
        self._fleet_in(builders).down()
        if builders.exists():
            builders.rmdir()
        self._fleet.down()

    def async_init(self, **kwargs: Any) -> None:
        self.init(**kwargs)

    def is_created(self) -> bool:
        return self._fleet.load() is not None

    def offset_walltime(self, offset: int) -> None:
        """Local hosts are ours as long as we want."""

    def test_slot(self, start_time: int, end_time: int) -> bool:
        return True

    def set_reservation(self, timestamp: int) -> None:
        """There is nothing to reserve."""

    # One host

    def stop_host(self, name: str) -> None:
        """Shut a host down in order; afterwards it is silent on its networks."""
        self._fleet.stop(self._deployment(), [name])

    def kill_host(self, name: str) -> None:
        """Pull a host's plugs: its networks fall silent, then each of its processes gets SIGKILL."""
        self._fleet.kill(self._deployment(), name)

    def start_host(self, name: str) -> None:
        """Boot a stopped host, with the files and the addresses it had, connected to both networks."""
        self._fleet.start(self._deployment(), name)

    def running(self, name: str) -> bool:
        return self._fleet.running(self._deployment(), name)

    def cut_host(self, name: str, network_name: str = "database") -> None:
        """Lose all packets of the host on a network; its interface stays up, as behind a dead switch."""
        deployment = self._deployment()
        network.cut(self._runner, deployment, deployment.host(name), [_known(network_name)])

    def heal_host(self, name: str, network_name: str = "database") -> None:
        """Undo `cut_host`."""
        deployment = self._deployment()
        network.heal(self._runner, deployment, deployment.host(name), [_known(network_name)])

    def emulate(self, links: Sequence[Link]) -> None:
        """Delay, lose and slow down packets between hosts as `links` say, and no others. Raises `NetworkError`."""
        deployment = self._deployment()
        if not links:
            emulation.clear(self._runner, deployment)
            return
        prerequisites.install(self._runner, suite=self.suite, notify=self._notify, emulator="nfqueue")
        emulation.install(self._runner, deployment, links, logs=self._state_dir / "hosts")

    def emulation_faults(self, links: Sequence[Link]) -> list[str]:
        """What is not in force of `links`, a sentence each."""
        return emulation.faults(self._runner, self._deployment(), links)

    def ssh_command(self, name: str) -> list[str]:
        """Command line that reaches the host; a remote command may follow."""
        return self._fleet.ssh_command(self._deployment().host(name))

    def namespace(self, name: str) -> str:
        """Name of the host's network namespace, for `ip netns exec`."""
        deployment = self._deployment()
        return deployment.machine(deployment.host(name))

    @property
    def control_path_dir(self) -> Path:
        """Where Ansible's ssh control sockets must go, so that `destroy` ends the connections."""
        return network.control_directory(self._state_dir)

    def _deployment(self) -> FleetPlan:
        deployment = self._fleet.load()
        if deployment is None:
            raise ProviderError(f"There are no local hosts in {self._state_dir}. Deploy first.")
        return deployment

    def _host(self, fleet: Fleet, host: HostPlan) -> model.Host:
        return model.Host(
            name=host.name,
            roles=host.roles,
            address=host.address,
            addresses=dict(host.addresses),
            site=host.site,
            keyfile=str(fleet.keyfile),
            variables={
                "ansible_python_interpreter": "/usr/bin/python3",
                "ansible_ssh_common_args": shlex.join(fleet.ssh_options()),
            },
        )

    def _networks(self, deployment: FleetPlan) -> tuple[model.Network, ...]:
        gateways = {"control": deployment.gateway}
        return tuple(
            model.Network(name=name, cidr=deployment.cidrs[name], gateway=gateways.get(name)) for name in NETWORKS
        )


def _known(network_name: str) -> str:
    if network_name not in NETWORKS:
        raise ProviderError(f"Local hosts have no network '{network_name}', only {' and '.join(NETWORKS)}.")
    return network_name
