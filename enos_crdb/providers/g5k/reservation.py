"""EnOSlib's provider, where it would wait without a word or an end, or install nodes that are in use."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from enoslib import G5k
from enoslib.api import STATUS_OK, run
from enoslib.errors import NegativeWalltime
from enoslib.infra.enos_g5k.provider import G5kBase
from enoslib.infra.providers import Providers

from enos_crdb.config.g5k import TIMEZONE
from enos_crdb.errors import ConfigurationError, ProviderError
from enos_crdb.providers.g5k.jobs import Notify, identities, label, sleep, wait_until_running
from enos_crdb.providers.g5k.memory import Memory

COMMON_SLOT_WINDOW_S = 24 * 3600
"""How far ahead a time is looked for that suits several sites."""

SSH_TRIES, SSH_PAUSE_S = 12, 10
"""How often nodes are tried before they count as dead: two minutes at least, five at most. EnOSlib tries for 50."""


SHOWN = 5
"""Of more nodes than that, the others are counted."""


class OneSite(G5kBase):  # type: ignore[misc]  # EnOSlib has no types
    """The part of a reservation that is at one site."""

    def offset_walltime(self, offset: int) -> None:
        """Give up `offset` (negative) seconds. EnOSlib's own fails from 24 hours on."""
        hours, minutes, seconds = map(int, self.provider_conf.walltime.split(":"))
        left = hours * 3600 + minutes * 60 + seconds + offset
        if left <= 0:
            raise NegativeWalltime
        self.provider_conf.walltime = f"{left // 3600:02d}:{left % 3600 // 60:02d}:{left % 60:02d}"


class Without:
    """A driver of EnOSlib that does not hand out the nodes which the reservation lost."""

    def __init__(self, driver: Any, reservation: Reservation) -> None:
        self._driver, self._reservation = driver, reservation

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    def resources(self) -> tuple[list[str], Any]:
        nodes, networks = self._driver.resources()
        return [node for node in nodes if node not in self._reservation.memory.lost], networks


class Reservation(G5k):  # type: ignore[misc]  # EnOSlib has no types
    """One go at having the hosts. ``memory`` holds afterwards which jobs they are of."""

    def __init__(self, conf: Any, memory: Memory, notify: Notify) -> None:
        super().__init__(conf)
        self.memory = memory
        self._notify = notify
        self.driver: Any = Without(self.driver, self)

    @property
    def deploys(self) -> bool:
        """Whether the nodes get a system of their own."""
        return "deploy" in self.provider_conf.job_type

    @property
    def missing(self) -> list[str]:
        """Nodes that EnOSlib did not hand out: a repeated installation gives back the repeated nodes only."""
        handed = {host.fqdn for host in self.sshable_hosts}
        return [host.fqdn for host in self.hosts if host.fqdn not in handed]

    @property
    def broken(self) -> list[str]:
        """Nodes that kadeploy could not install, in three attempts."""
        return [host.fqdn for host in self.undeployed]

    def nodes(self, role: str) -> list[str]:
        """Nodes of a role that are not broken."""
        return [host.fqdn for host in self.hosts if role in host.roles and host.fqdn not in self.broken]

    def reserve(self, need_redeployment: bool = False) -> None:
        """Find the jobs of that name or submit them; at several sites, for a time that suits all."""
        conf = self.provider_conf
        sites = sorted(set(conf.sites))
        if len(sites) > 1 and not conf.oargrid_jobids:
            start = None
            if conf.reservation:
                date = datetime.strptime(conf.reservation, "%Y-%m-%d %H:%M:%S").replace(tzinfo=TIMEZONE)
                start = int(date.timestamp())
            parts = Providers([OneSite(conf.restrict_to(site)) for site in sites])
            parts.async_init(start_time=start, time_window=0 if start else COMMON_SLOT_WINDOW_S)
        G5kBase.reserve(self)

    def wait(self) -> None:
        jobs: Sequence[Any] = self.driver.jobs
        self.memory = self.memory.of(identities(jobs))
        wait_until_running(jobs, self._notify)
        if self.provider_conf.oargrid_jobids:
            self._check_types(jobs)
        self._notify(f"{sum(len(job.assigned_nodes) for job in jobs)} nodes are ours; asking the API what they are")

    def _check_types(self, jobs: Sequence[Any]) -> None:
        """A job made by hand is of the right kind, or `ConfigurationError`."""
        for job in jobs:
            if ("deploy" in job.types) != self.deploys:
                is_it, remedy = (
                    ("is not of type 'deploy', which kadeploy needs", "Leave g5k.env_name out")
                    if self.deploys
                    else ("is of type 'deploy', which has no system to log in", "Give g5k.env_name")
                )
                raise ConfigurationError(f"g5k.reuse: {label(job)} {is_it}.\n{remedy}, or reuse another job.")

    def _verify_environment_consistency(self) -> bool:
        """EnOSlib installs all nodes anew when one does not answer: not those that are in use."""
        if self.memory.settled:
            return True
        self._notify(f"asking {len(self.sshable_hosts)} nodes what they run (new ones do not answer yet)")
        return bool(super()._verify_environment_consistency())

    def grant_root_access(self) -> None:
        """Become root, unless that was done: EnOSlib adds the same keys each time."""
        hosts = [host.to_enoslib() for host in self.sshable_hosts]
        if self.memory.settled and len(_answering(hosts)) == len(hosts):
            return
        self._notify(f"becoming root on {len(self.sshable_hosts)} nodes (sudo-g5k)")
        super().grant_root_access()

    def wait_nodes(self) -> None:
        """Return when all answer by ssh. Raises `ProviderError` with those that do not."""
        silent = [host.to_enoslib() for host in self.sshable_hosts]
        for turn in range(SSH_TRIES):
            answering = _answering(silent)
            silent = [host for host in silent if host.address not in answering]
            if not silent:
                return
            others = f" and {len(silent) - SHOWN} more" if len(silent) > SHOWN else ""
            self._notify(f"no ssh yet on {', '.join(host.address for host in silent[:SHOWN])}{others}")
            if turn + 1 < SSH_TRIES:
                sleep(SSH_PAUSE_S)
        raise ProviderError(
            f"Nodes do not answer by ssh: {', '.join(host.address for host in silent)}.\n"
            "They may be broken, or ssh is not set up for Grid'5000 (docs/how-to/grid5000.md). The job is kept: "
            "`enos_crdb deploy` tries again, `enos_crdb destroy` ends it."
        )

    def address_second_cards(self) -> None:
        """Have the nodes ask for an address in the VLAN, where they have none yet."""
        hosts = [
            host.to_enoslib(extra={"cmd": "; ".join(ask_for_address(nic) for nic in _second_cards(host))})
            for host in self.sshable_hosts
            if host.secondary_networks
        ]
        if hosts:
            self._notify("asking for addresses in the VLAN")
            run("{{ cmd }}", hosts, raw=True, gather_facts=False, task_name="Ask for an address in the VLAN")


def _answering(hosts: Sequence[Any]) -> set[str]:
    if not hosts:
        return set()
    results = run("hostname", hosts, raw=True, gather_facts=False, on_error_continue=True, task_name="Look for ssh")
    return {str(result.host) for result in results if result.status == STATUS_OK}


def _second_cards(host: Any) -> list[str]:
    return [name for _, name in host.secondary_nics]


def ask_for_address(nic: str) -> str:
    """Shell: an IPv4 address for `nic` by DHCP, with what the system has for that; status 1 without one."""
    has = f"ip -4 -o address show dev {nic} | grep -q inet"
    ask = (
        f"if command -v dhclient >/dev/null; then dhclient {nic}; "
        f"elif command -v dhcpcd >/dev/null; then dhcpcd -4 -w {nic}; else udhcpc -n -q -i {nic}; fi"
    )
    return f"{has} || {{ ip link set {nic} up; {ask}; {has} || {{ echo {nic} got no address by DHCP; exit 1; }}; }}"
