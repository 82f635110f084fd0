"""The ``openstack`` section: which Keystone, installed how, with which options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from enos_crdb.config.base import Section
from enos_crdb.config.devstack import DevStack

Release = Literal["2025.2", "2026.1", "2026.2"]
Settings = dict[str, dict[str, str | int | float | bool]]

DECIDED: Mapping[str, str] = {
    "DEFAULT.debug": "`debug`",
    "cache.enabled": "`cache`",
    "database.connection": "the `database` section of the deployment file",
    "database.connection_parameters": "the `database` section of the deployment file, and `keystone_crdb`",
    "database.max_pool_size": "`max_pool_size`",
    "identity.password_hash_rounds": "`password_hash_rounds`",
    "token.provider": "`token_provider`",
}
"""Options of ``keystone.conf`` that have a key of their own, which the summary of a run states."""


def _free(settings: Settings) -> Settings:
    for section, options in settings.items():
        for option, value in options.items():
            if decided := DECIDED.get(f"{section}.{option}"):
                raise ValueError(f"'{section}.{option}' is decided by {decided}; leave it out here")
            if re.search(r"[\n\r]", f"{section}{option}{value}"):
                raise ValueError(f"'{section}.{option}' and its value must be on one line")
    return settings


def _unquoted_off(value: object) -> object:
    """YAML reads ``off`` without quotes as false."""
    return "off" if value is False else value


class Keystone(Section):
    """Options of Keystone that affect what is measured. The defaults are DevStack's."""

    workers: int = Field(default=2, ge=1, le=256)
    """uWSGI processes per Keystone host."""
    threads: int = Field(default=1, ge=1, le=64)
    """Threads per uWSGI process. Keystone 28 to 30 mixes up the tokens of requests that threads of one process serve
    at the same time: raise ``workers`` instead."""
    cache: Literal["memcached", "request", "none"] = "memcached"
    """What Keystone caches. ``memcached``: between requests. ``request``: within one request (dogpile's null backend).
    ``none``: nothing (``[cache] enabled = false``), which takes about four times the statements of ``request``."""
    password_hash_rounds: int = Field(default=4, ge=4, le=31)
    """Cost of bcrypt. Keystone's own default, 12, takes 240 ms of CPU per hash and hides the database."""
    token_provider: Literal["fernet", "jws"] = "fernet"
    """Format of the tokens; both are validated without the database."""
    debug: bool = False
    """Log at level DEBUG, which is slow."""
    trace_requests: bool = False
    """Let uWSGI log a line with the duration of each HTTP request."""
    max_pool_size: int = Field(default=20, ge=1)
    """Connections a worker keeps open to the database."""
    keystone_crdb: Annotated[Literal["drivers", "plugin", "off"], BeforeValidator(_unquoted_off)] = "drivers"
    """The package ``keystone_crdb`` beside Keystone, the same on every backend. ``drivers``: transactions that the
    database asks to repeat are replayed. ``plugin``: errors are distinguished and SQL is counted, without replays.
    ``off``: Keystone alone."""
    settings: Annotated[Settings, AfterValidator(_free)] = {}
    """Any other option of ``keystone.conf``, by section."""


class OpenStack(Section):
    """OpenStack on the hosts of role ``keystone``."""

    installer: Literal["pypi", "devstack"] = "pypi"
    """How OpenStack is installed: ``pypi`` installs wheels into a virtualenv, under uWSGI; ``devstack`` runs
    DevStack, with Keystone from git, uWSGI and Apache."""
    devstack: DevStack = DevStack()
    """Which DevStack is installed, and from where; used only with ``installer: devstack``."""
    release: Release = "2026.1"
    """OpenStack release; each has a lock file here and a branch of DevStack."""
    keystone: Keystone = Keystone()
