"""One look at a machine through ssh: what it runs, its addresses, and whose deployment it serves."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address

from enos_crdb import ssh, survey
from enos_crdb.command import Completed, Runner
from enos_crdb.errors import CommandError, ProviderError
from enos_crdb.model import Host
from enos_crdb.survey import Survey

MARKER = "/etc/enos_crdb-deployment"
"""On a machine that serves a deployment: which one, in a line of JSON."""

CONNECT_S, ANSWER_S = 8, 30
"""How long a machine may take to accept a connection, and to answer all of it."""

_CONNECTED = """\
from=${SSH_CONNECTION:-$(tr '\\0' '\\n' < /proc/$PPID/environ | sed -n 's/^SSH_CONNECTION=//p')}
echo "connected $from"
"""  # sudo hides the variable from the script, not from root

_HELD = """\
[ -d /run/systemd/system ] || echo "lacks systemd"
for path in /var/lib/postgresql/*/main /var/lib/mysql/mysql /var/lib/cockroach /etc/keystone; do
  [ ! -e "$path" ] || echo "holds $path"
done
for unit in memcached haproxy; do
  [ "$(systemctl is-active $unit)" != active ] || echo "holds $unit.service"
done
"""

_REASONS = (
    (
        r"Could not resolve hostname",
        "its name is not known here: mistyped, or missing in DNS, /etc/hosts, ~/.ssh/config",
    ),
    (r"Connection refused", "nothing listens on its ssh port: is sshd running, is `port` right?"),
    (r"timed out|Operation timed out", "it does not answer: is it up, does a firewall drop the connection?"),
    (r"No route to host|Network is unreachable", "there is no way to it: is it up, are you on its network (VPN)?"),
    (
        r"Permission denied",
        "it does not accept the key: set static.user and static.keyfile, or add your public key to the "
        "user's ~/.ssh/authorized_keys",
    ),
    (r"Identity file .* not accessible", "the private key cannot be read: correct static.keyfile"),
    (
        r"sudo: .*(password|terminal|tty)",
        "the user may not use sudo without a password: allow it (`NOPASSWD:` in /etc/sudoers.d), or log in as root",
    ),
    (r"not in the sudoers file|not allowed to (run|execute)", "the user may not use sudo: allow it, or log in as root"),
    (r"sudo: (command )?not found|sudo: No such", "it has no sudo: install it, or log in as root"),
    (r"Connection (closed|reset)", "it ended the connection: does sshd allow this user (AllowUsers, MaxStartups)?"),
)
"""What ssh and sudo say, and what it means."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The deployment that a machine serves: ``directory`` on the machine ``machine``."""

    id: str
    name: str
    directory: str
    machine: str

    def describe(self) -> str:
        return f"'{self.name}' ({self.directory} on {self.machine})"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a look found.

    ``connected`` is the machine's own end of the connection. ``holds``: data, configuration and running services of the
    kind that a deployment would take over, and remove in the end.
    """

    survey: Survey
    connected: IPv4Address | None
    claim: Claim | None
    holds: tuple[str, ...] = ()


def look(runner: Runner, hosts: Sequence[Host]) -> tuple[dict[str, Seen], list[str]]:
    """What can be seen of `hosts`, all at once, and a sentence for each that cannot be used. Changes nothing."""
    seen: dict[str, Seen] = {}
    problems: list[str] = []
    for host, done in _everywhere(runner, hosts, _CONNECTED + survey.SCRIPT + _HELD + _read_marker()):
        try:
            seen[host.name] = _read(host, done)
        except ProviderError as error:
            problems.append(str(error))
    return seen, problems


def claim(runner: Runner, hosts: Sequence[Host], claim: Claim) -> dict[str, Claim]:
    """Write `claim` on the hosts that are free; who has each now, by name.

    Raises `ProviderError` for a host on which it cannot be written.
    """
    text = json.dumps(vars(claim))
    script = f"set -C\n{{ printf '%s\\n' {shlex.quote(text)} > {MARKER}; }} 2>/dev/null\n{_read_marker()}"
    owners: dict[str, Claim] = {}
    for host, done in _everywhere(runner, hosts, script):
        owner = _claim(done.stdout)
        if owner is None:
            raise ProviderError(f"{_called(host)}: {MARKER} cannot be written: {_last(done)}")
        owners[host.name] = owner
    return owners


def unclaim(runner: Runner, hosts: Sequence[Host], id: str) -> dict[str, str]:
    """Remove the claim of the deployment `id`; the hosts on which that failed, with the reason."""
    script = f"if grep -qs {shlex.quote(id)} {MARKER}; then rm -f {MARKER}; fi && echo done"
    return {
        host.name: _reason(host, done)
        for host, done in _everywhere(runner, hosts, script)
        if done.stdout.split()[-1:] != ["done"]
    }


def _everywhere(runner: Runner, hosts: Sequence[Host], script: str) -> list[tuple[Host, Completed]]:
    """Run `script` as root on all `hosts` at once."""
    with ThreadPoolExecutor(max_workers=min(32, len(hosts) or 1)) as pool:
        return list(zip(hosts, pool.map(lambda host: _run(runner, host, script), hosts), strict=True))


def _run(runner: Runner, host: Host, script: str) -> Completed:
    command = ssh.command(host, ["sh", "-s"])
    if not host.local:  # nobody is asked for a password, and a silent machine is given up
        command[1:1] = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}"]
    try:
        return runner.run(command, input=script, timeout_s=ANSWER_S, check=False)
    except CommandError as error:
        return Completed(
            args=error.command, returncode=error.returncode, stdout=error.stdout, stderr=error.stderr, seconds=ANSWER_S
        )


def _read(host: Host, done: Completed) -> Seen:
    if done.returncode != 0:
        raise ProviderError(f"{_called(host)}: {_reason(host, done)}")
    lines = done.stdout.splitlines()
    if "lacks systemd" in lines:
        raise ProviderError(
            f"{_called(host)}: systemd does not run there (is it a container of Docker?), so no service can be "
            "started. Choose a machine that was booted."
        )
    words = [line.split() for line in lines if line.startswith("connected ")]
    return Seen(
        survey=survey.read(_called(host), done.stdout),
        connected=_address(words[0][3]) if words and len(words[0]) == 5 else None,
        claim=_claim(done.stdout),
        holds=tuple(line.removeprefix("holds ") for line in lines if line.startswith("holds ")),
    )


def _read_marker() -> str:
    return f"printf 'claim %s\\n' \"$(cat {MARKER} 2>/dev/null)\"\n"


def _claim(text: str) -> Claim | None:
    line = next((line for line in text.splitlines() if line.startswith("claim ")), "")
    told = line.removeprefix("claim ").strip()
    if not told:
        return None
    try:
        document = json.loads(told)
    except ValueError:
        document = None
    known: Mapping[str, object] = document if isinstance(document, dict) else {}
    values = {name: str(known.get(name, "unknown")) for name in ("id", "name", "directory", "machine")}
    return Claim(**values)


def _address(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except ValueError:
        return None  # IPv6


def _called(host: Host) -> str:
    where = f"{host.user}@{host.address}" + (f":{host.port}" if host.port else "")
    return f"{host.name} ({'this machine' if host.local else where})"


def _reason(host: Host, done: Completed) -> str:
    said = _last(done)
    if done.returncode == 124 and not said.startswith("ssh:"):
        return (
            f"it accepted the connection, but did not answer within {ANSWER_S} s: does its login shell ask something?"
        )
    for pattern, meaning in _REASONS:
        if re.search(pattern, said, flags=re.IGNORECASE):
            return f"{meaning} ({said})"
    return f"commands cannot be run there ({said or f'status {done.returncode}'})"


def _last(done: Completed) -> str:
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return " ".join(lines[-2:])
