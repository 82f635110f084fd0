"""The door to hosts: playbooks run by EnOSlib, inside this process, one at a time.

EnOSlib's own verdict is not used: it raises for a failure that a `rescue` mended and returns an empty
list when no host matched. The verdict here comes from Ansible's statistics.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Protocol

from enos_crdb import events, shipped, ssh
from enos_crdb.errors import DeploymentError
from enos_crdb.masking import masked_text
from enos_crdb.model import Event, Host

CALLBACKS = Path(__file__).resolve().parent / "ansible_callbacks"
SETTINGS: dict[str, str] = {
    "ANSIBLE_CONFIG": str(shipped.directory("playbooks") / "ansible.cfg"),
    "ANSIBLE_PIPELINING": "True",
    "ANSIBLE_SSH_ARGS": "-C -o ControlMaster=auto -o ControlPersist=300s -o ServerAliveInterval=5"
    " -o ServerAliveCountMax=3 -o LogLevel=ERROR",
    "ANSIBLE_TIMEOUT": "15",
    "ANSIBLE_HOST_KEY_CHECKING": "False",
    "ANSIBLE_DEPRECATION_WARNINGS": "False",
    "ANSIBLE_LOCALHOST_WARNING": "False",
    "ANSIBLE_INJECT_FACT_VARS": "False",
    "ANSIBLE_RETRY_FILES_ENABLED": "False",
}
"""Ansible's settings by environment variables; a user's ansible.cfg must not change a measurement."""

if ssh.configured():
    SETTINGS["ANSIBLE_SSH_ARGS"] += " " + shlex.join(ssh.configured())
os.environ.update(SETTINGS)  # here, because Ansible reads most of them when it is imported, which EnOSlib does

GATEWAY_SESSIONS = 10
"""Connections that OpenSSH lets begin at once (the first number of its MaxStartups)."""

SHOWN_CHARACTERS = 1500
"""A message longer than this is shown cut; the log has all of it."""


@dataclass(frozen=True, kw_only=True)
class TaskFailure:
    """An Ansible task that failed on a host, or a host that could not be reached."""

    host: str
    task: str
    message: str
    unreachable: bool = False


@dataclass(frozen=True, kw_only=True)
class PlaybookResult:
    """What a playbook did. ``changed`` counts changed Ansible tasks per host.

    ``outputs`` holds what Ansible tasks named ``... [output]`` returned: host -> name without the mark -> result.
    """

    playbook: str
    seconds: float
    changed: Mapping[str, int]
    failures: tuple[TaskFailure, ...]
    log: Path
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Ansible(Protocol):
    """Runs a playbook of ours on hosts."""

    def run(
        self,
        playbook: str,
        hosts: Sequence[Host],
        *,
        variables: Mapping[str, Any] | None = None,
        host_variables: Mapping[str, Mapping[str, Any]] | None = None,
        tolerate: bool = False,
    ) -> PlaybookResult:
        """Run ``playbooks/<playbook>`` on `hosts`, grouped by their roles.

        Raises `DeploymentError` for a failed task or a host that does not answer; with ``tolerate``,
        such failures are only returned (a dead host must not stop the collection from the others).
        """


class EnoslibAnsible:
    """`Ansible` through EnOSlib, logging each playbook to a file of its own, secrets masked."""

    def __init__(self, *, logs: Path, control_path_dir: Path, secrets: Callable[[], Sequence[str]] = tuple) -> None:
        self._logs = logs
        self._control_path_dir = control_path_dir
        self._secrets = secrets  # asked for at every playbook: some are made when the hosts are there

    def run(
        self,
        playbook: str,
        hosts: Sequence[Host],
        *,
        variables: Mapping[str, Any] | None = None,
        host_variables: Mapping[str, Mapping[str, Any]] | None = None,
        tolerate: bool = False,
    ) -> PlaybookResult:
        started = time.monotonic()
        log = self._logs / f"{datetime.now().strftime('%H%M%S.%f')[:10]}-{Path(playbook).stem}.log"
        with log.open("w", encoding="utf-8") as stream:
            log.chmod(0o600)
            listener = Listener(stream, tuple(secret for secret in self._secrets() if secret))
            with events.listening(listener):
                self._execute(playbook, hosts, variables or {}, host_variables or {})
        result = listener.result(playbook, time.monotonic() - started, log)
        if not listener.hosts and not result.failures:
            raise DeploymentError(f"{playbook} did nothing: no play of it matches the roles of the hosts.\nLog: {log}")
        if result.failures and not tolerate:
            raise DeploymentError(describe(result))
        return result

    def _execute(
        self,
        playbook: str,
        hosts: Sequence[Host],
        variables: Mapping[str, Any],
        host_variables: Mapping[str, Mapping[str, Any]],
    ) -> None:
        os.environ["ANSIBLE_SSH_CONTROL_PATH_DIR"] = str(self._control_path_dir)
        import enoslib
        from ansible.errors import AnsibleError
        from ansible.plugins.loader import callback_loader

        logging.getLogger("enoslib").setLevel(logging.CRITICAL)  # it logs whole payloads of failed tasks
        enoslib.set_config(ansible_stdout="noop", ansible_forks=forks(hosts))
        callback_loader.add_directory(str(CALLBACKS))
        try:
            with _without("PYTHONPATH", "PYTHONHOME"):
                enoslib.run_ansible(
                    [str(shipped.directory("playbooks") / playbook)],
                    roles=_roles(hosts, host_variables),
                    extra_vars=dict(variables),
                    on_error_continue=True,
                )
        except AnsibleError as error:  # before any task: the playbook itself is wrong
            raise DeploymentError(f"{playbook} cannot be run by Ansible: {error.message}") from error


@contextmanager
def _without(*names: str) -> Iterator[None]:
    """This process without some variables of its environment.

    A host that is this very machine inherits it: the Python of a Keystone there would look where a user's does, which
    Keystone's own account may not even read.
    """
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def forks(hosts: Sequence[Host]) -> int:
    """How many hosts are worked on at once: all; over a gateway as many as its sshd lets in before it drops some."""
    jump = any("gateway" in host.variables for host in hosts)
    return min(len(hosts), GATEWAY_SESSIONS) if jump else max(len(hosts), 5)


class Listener:
    """Listens to one playbook: writes the log, keeps the failures and the statistics."""

    def __init__(self, stream: IO[str], secrets: Sequence[str]) -> None:
        self._stream = stream
        self._secrets = secrets
        self._failures: list[TaskFailure] = []
        self._outputs: dict[str, dict[str, Any]] = {}
        self.hosts: dict[str, Mapping[str, int]] = {}

    def __call__(self, event: Event) -> None:
        if event.kind == "stats":
            self.hosts = dict(event.data["hosts"])
        if event.kind in ("failed", "unreachable"):
            self._failures.append(
                TaskFailure(
                    host=event.host or "?",
                    task=event.text,
                    message=masked_text(message_of(event.data), self._secrets),
                    unreachable=event.kind == "unreachable",
                )
            )
        if event.kind in ("ok", "changed") and event.text.endswith("[output]") and event.host:
            name = event.text.rsplit(":", 1)[-1].removesuffix("[output]").strip()
            self._outputs.setdefault(event.host, {})[name] = event.data
        self._write(event)

    def result(self, playbook: str, seconds: float, log: Path) -> PlaybookResult:
        """What the playbook did, failures that a rescue mended left out."""
        broken = {host for host, counts in self.hosts.items() if counts["failures"] or counts["unreachable"]}
        return PlaybookResult(
            playbook=playbook,
            seconds=seconds,
            changed={host: counts["changed"] for host, counts in self.hosts.items()},
            failures=tuple(failure for failure in self._failures if failure.host in broken or not self.hosts),
            log=log,
            outputs=self._outputs,
        )

    def _write(self, event: Event) -> None:
        clock = datetime.now().isoformat(timespec="milliseconds")
        line = f"{clock} {event.kind:11} {event.host or '':15} {event.text}"
        if event.kind in ("failed", "unreachable", "retry", "changed"):
            line += "\n" + json.dumps(event.data, indent=1, default=str)
        elif event.kind == "stats":
            line += " " + json.dumps(event.data, default=str)
        self._stream.write(masked_text(line, self._secrets) + "\n")
        self._stream.flush()


def describe(result: PlaybookResult) -> str:
    """The failures for a person: host, Ansible task, message, and where the whole log is."""
    seen: dict[tuple[str, str], list[str]] = {}
    for failure in result.failures:
        task = "cannot be reached" if failure.unreachable else f"failed at «{failure.task}»"
        seen.setdefault((task, failure.message), []).append(failure.host)
    parts = [
        f"{', '.join(hosts)} {task}:\n{_indent(message[-SHOWN_CHARACTERS:])}" for (task, message), hosts in seen.items()
    ]
    return "\n".join([*parts, f"Full log: {result.log}"])


def message_of(payload: Mapping[str, Any]) -> str:
    """The part of a task's result that tells a person why it failed."""
    for item in payload.get("results") or ():
        if item.get("failed"):
            return message_of(item)
    message = str(payload.get("msg") or "").strip()
    detail = str(payload.get("stderr") or payload.get("module_stderr") or payload.get("stdout") or "").strip()
    generic = message.lower() in ("", "non-zero return code", "module failure") or message.startswith("MODULE FAILURE")
    parts = [detail or message] if generic else [message, detail]
    if generic and payload.get("rc") is not None:
        parts.append(f"(exit status {payload['rc']})")
    return "\n".join(part for part in parts if part) or "no message; see the log"


def _roles(hosts: Sequence[Host], host_variables: Mapping[str, Mapping[str, Any]]) -> Any:
    import enoslib

    roles = enoslib.Roles()
    for host in hosts:
        extra = {
            "ansible_python_interpreter": "/usr/bin/python3",
            **({} if host.user == "root" else {"ansible_become": True}),
            **host.variables,
            **host_variables.get(host.name, {}),
        }
        target = enoslib.Host(
            host.address, alias=host.name, user=host.user, port=host.port, keyfile=host.keyfile, extra=extra
        )
        roles.add_one(target, list(host.roles))  # one object, several roles: EnOSlib compares them by value
    return roles


def _indent(text: str) -> str:
    return re.sub("^", "  ", text, flags=re.MULTILINE)
