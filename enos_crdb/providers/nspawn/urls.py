"""Addresses of services as a local host sees them."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def reachable(url: str, gateway: str) -> str:
    """`url` as seen from a host: a service on this machine's loopback is asked at the gateway's address."""
    parts = urlsplit(url)
    if parts.hostname not in _LOOPBACK:
        return url
    user, at, _ = parts.netloc.rpartition("@")
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit(parts._replace(netloc=f"{user}{at}{gateway}{port}"))


def is_local(url: str) -> bool:
    """Does `url` name a path of this machine, which hosts do not have?"""
    return url.startswith(("file:", "/", "./", "../", "~"))
