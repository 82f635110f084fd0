"""One Keystone: its configuration, its commands, and the API requests that are made to it in process."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from enos_crdb.command import Completed, SubprocessRunner
from enos_crdb.errors import CommandError

ADMIN_PASSWORD = "administrator of a test"
REGION = "RegionOne"
API_SCRIPT = Path(__file__).with_name("api_script.py")

GROUPS = (
    "application_credential",
    "assignment",
    "catalog",
    "credential",
    "domain_config",
    "endpoint_filter",
    "endpoint_policy",
    "federation",
    "identity",
    "identity_mapping",
    "oauth1",
    "policy",
    "resource",
    "revoke",
    "role",
    "shadow_users",
    "trust",
    "unified_limit",
)
"""The groups of keystone.conf whose ``driver`` is an SQL driver."""

_ONLY_IN_PROCESS = "import sys; from keystone.cmd.manage import main; sys.exit(main())"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A command that ended, whatever its status."""

    status: int
    output: str
    errors: str
    seconds: float

    def check(self) -> Ended:
        """Itself, when the command succeeded; an assertion with its last words when not."""
        assert self.status == 0, f"status {self.status}\n{self.output[-2000:]}\n{self.errors[-6000:]}"
        return self


@dataclass(frozen=True, kw_only=True)
class Drive:
    """What the API script saw.

    ``codes``: operation -> status -> how often (status 0: an exception left the application). ``unexpected``: answers
    with a status that Keystone's API does not allow there. ``wrong``: answers with a good status and wrong content.
    ``counters``: keystone_crdb's for these requests alone; empty without it.
    """

    requests: int
    codes: Mapping[str, Mapping[str, int]]
    unexpected: tuple[Mapping[str, Any], ...]
    wrong: tuple[Mapping[str, Any], ...]
    seconds: float
    counters: Mapping[str, Any] = field(default_factory=dict)
    errors: str = ""

    @property
    def total(self) -> Mapping[str, int]:
        """The counters of all operations together."""
        return dict(self.counters["total"])

    def check(self) -> Drive:
        """Itself, when every answer was right."""
        shown = json.dumps([*self.unexpected[:5], *self.wrong[:5]], indent=1)
        count = f"{len(self.unexpected)} unexpected, {len(self.wrong)} wrong of {self.requests}"
        assert (self.unexpected, self.wrong) == ((), ()), f"{count}\n{shown}"
        return self


@dataclass(frozen=True, kw_only=True)
class Keystone:
    """Keystone with its files in `directory`, run by `python`, on the empty or filled database at `url`.

    ``drivers``: `drivers` (plugin and retry drivers), `plugin` (Keystone's own drivers), `off` (as released).
    ``parameters`` are the plugin's URL parameters of the service, ``schema_parameters`` those of db_sync.
    ``settings``: more of keystone.conf, section -> option -> value.
    """

    directory: Path
    python: Path
    url: str
    drivers: str = "drivers"
    parameters: Mapping[str, str] = field(default_factory=dict)
    schema_parameters: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        for name in ("fernet-keys", "credential-keys"):
            _keys(self.directory / name)
        self.configuration.write_text(_ini(self._sections()))
        connection = {"connection_parameters": self._connection_parameters(self.schema_parameters)}
        self.schema_configuration.write_text(_ini({"database": connection}))

    @property
    def configuration(self) -> Path:
        return self.directory / "keystone.conf"

    @property
    def schema_configuration(self) -> Path:
        """What differs while the schema is made; read after `configuration`."""
        return self.directory / "db_sync.conf"

    def db_sync(self, *arguments: str, timeout_s: float = 900) -> Ended:
        """Make the schema by Keystone's migrations."""
        return self._keystone_manage(["db_sync", *arguments], schema=True, timeout_s=timeout_s)

    def bootstrap(self, timeout_s: float = 300) -> Ended:
        """Make the administrator, its project and roles, and Keystone's own entry in the catalog."""
        command = ["bootstrap", "--bootstrap-password", ADMIN_PASSWORD, "--bootstrap-region-id", REGION]
        for interface in ("admin", "internal", "public"):
            command += [f"--bootstrap-{interface}-url", "http://127.0.0.1:5000/v3"]
        return self.manage(*command, timeout_s=timeout_s)

    def manage(self, *arguments: str, timeout_s: float = 300) -> Ended:
        """Run keystone-manage."""
        return self._keystone_manage(arguments, schema=False, timeout_s=timeout_s)

    def package(self, *arguments: str, timeout_s: float = 900) -> Ended:
        """Run keystone_crdb's own command: ``migrations --config-file ... --json``, ``counters ...``."""
        return self.run("-m", "keystone_crdb", *arguments, timeout_s=timeout_s)

    def drive(
        self,
        *,
        rounds: int = 1,
        threads: int = 1,
        seed: int = 1,
        timeout_s: float = 600,
        environment: Mapping[str, str] | None = None,
    ) -> Drive:
        """Make some 85 requests per round and thread (and 45 more in the first round), and check every answer.

        Names derive from `seed`: use another one for a second drive on the same database.
        """
        counters = self.directory / f"counters-{seed}-{len(list(self.directory.glob('counters-*')))}"
        counters.mkdir()
        arguments = [f"--rounds={rounds}", f"--threads={threads}", f"--seed={seed}", f"--region={REGION}"]
        command = [str(API_SCRIPT), str(self.configuration), *arguments]
        added = {"PROMETHEUS_MULTIPROC_DIR": str(counters), "ADMIN_PASSWORD": ADMIN_PASSWORD, **(environment or {})}
        ended = self.run(*command, timeout_s=timeout_s, environment=added).check()
        report = json.loads(ended.output.splitlines()[-1])
        return Drive(
            requests=report["requests"],
            codes=report["codes"],
            unexpected=tuple(report["unexpected"]),
            wrong=tuple(report["wrong"]),
            seconds=report["seconds"],
            counters={} if self.drivers == "off" else self.counters(counters),
            errors=ended.errors,
        )

    def counters(self, directory: Path) -> dict[str, Any]:
        """keystone_crdb's counters that were left in `directory`."""
        printed = self.package("counters", "--directory", str(directory), timeout_s=60).check().output
        return dict(json.loads(printed))

    def run(self, *arguments: str, timeout_s: float = 300, environment: Mapping[str, str] | None = None) -> Ended:
        """Run Keystone's Python."""
        command = [str(self.python), "-W", "ignore", *arguments]
        environment = {"OS_KEYSTONE_CONFIG_FILES": str(self.configuration), **(environment or {})}
        try:
            done: Completed = SubprocessRunner().run(
                command, env=environment, cwd=self.directory, timeout_s=timeout_s, check=False
            )
        except CommandError as error:
            return Ended(status=error.returncode, output=error.stdout, errors=error.stderr, seconds=timeout_s)
        return Ended(status=done.returncode, output=done.stdout, errors=done.stderr, seconds=done.seconds)

    def _keystone_manage(self, arguments: Any, *, schema: bool, timeout_s: float) -> Ended:
        files = [self.configuration, *([self.schema_configuration] if schema else [])]
        options = [option for path in files for option in ("--config-file", str(path))]
        return self.run("-c", _ONLY_IN_PROCESS, *options, *arguments, timeout_s=timeout_s)

    def _sections(self) -> dict[str, dict[str, str]]:
        sections = {
            # insecure_debug: an answer of 500 says what went wrong.
            "DEFAULT": {"use_stderr": "true", "log_dir": "", "insecure_debug": "true"},
            "database": {"connection": self.url.replace("$", "$$"), "max_pool_size": "20", "max_overflow": "20"},
            # Keystone's default: what one request has read it does not read again, and the next request does.
            # Disabled altogether, a request sends four times as many statements.
            "cache": {"enabled": "true", "backend": "dogpile.cache.null"},
            "identity": {"password_hash_algorithm": "bcrypt", "password_hash_rounds": "4"},
            "token": {"provider": "fernet"},
            "fernet_tokens": {"key_repository": str(self.directory / "fernet-keys")},
            # Bootstrap loads the receipts' keys, too; without this from /etc, where few machines have any.
            "fernet_receipts": {"key_repository": str(self.directory / "fernet-keys")},
            "credential": {"key_repository": str(self.directory / "credential-keys")},
        }
        if parameters := self._connection_parameters(self.parameters):
            sections["database"]["connection_parameters"] = parameters
        if self.drivers == "drivers":
            for group in GROUPS:
                sections.setdefault(group, {})["driver"] = "sql_retry"
        for section, options in self.settings.items():
            sections.setdefault(section, {}).update(options)
        return sections

    def _connection_parameters(self, parameters: Mapping[str, str]) -> str:
        plugin = {} if self.drivers == "off" else {"plugin": "keystone_crdb"}
        return urlencode({**plugin, **parameters}).replace("$", "$$")


def _ini(sections: Mapping[str, Mapping[str, str]]) -> str:
    blocks = []
    for section, options in sections.items():
        blocks.append("\n".join([f"[{section}]", *(f"{name} = {value}" for name, value in options.items())]))
    return "\n\n".join(blocks) + "\n"


def _keys(directory: Path) -> None:
    """A primary and a staged key, as ``keystone-manage fernet_setup`` leaves them."""
    if not directory.exists():
        directory.mkdir(mode=0o700)
        for name in ("0", "1"):
            (directory / name).write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
