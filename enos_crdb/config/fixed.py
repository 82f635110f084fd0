"""What cannot be changed on a living deployment; everything else, `deploy` brings to what is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from enos_crdb.config.g5k import MAY_CHANGE, G5k

FIXED = (
    ("name",),
    ("provider",),
    # Only the section of the provider is stored.
    ("nspawn",),
    *(("g5k", key) for key in G5k.model_fields if key not in MAY_CHANGE),
    ("vagrant",),
    ("static",),
    ("machines",),
    ("networks",),
    # What is installed, once:
    *(("database", key) for key in ("backend", "version", "binary", "mirror", "sha256", "haproxy")),
    ("openstack", "installer"),
    ("openstack", "release"),
    *(("openstack", "devstack", key) for key in ("git_base", "branch", "ref")),
    # The administrator's hash is made once, by bootstrap, and Rally authenticates as administrator all the time.
    ("openstack", "keystone", "password_hash_rounds"),
)
"""Key paths, in the order in which a difference is told."""


def fixed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Those values of a resolved configuration, by key path; None where a backend has no such key."""
    return {".".join(path): _value(document, path) for path in FIXED}


def unlike(deployed: Mapping[str, Any], asked: Mapping[str, Any]) -> str | None:
    """The part of the configuration that differs and cannot be changed on a living deployment."""
    before, now = fixed(deployed), fixed(asked)
    return next((path for path, value in now.items() if before[path] != value), None)


def _value(document: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document
