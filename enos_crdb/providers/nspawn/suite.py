"""Which Debian or Ubuntu the hosts run, and where its packages come from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from enos_crdb.errors import ConfigurationError
from enos_crdb.providers.nspawn.urls import reachable

DEBIAN = ("bullseye", "bookworm", "trixie")
UBUNTU = ("jammy", "noble")
_DEBIAN_NAMES = (*DEBIAN, "forky", "sid", "stable", "testing")
_TOO_OLD = ("bullseye", "jammy")
"""Their Python is too old for the newest Keystone: hosts run them when they are asked for."""
DEFAULT_SUITE = "bookworm"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A line of apt's sources."""

    uri: str
    suite: str
    components: tuple[str, ...]
    trusted: bool = False


def is_ubuntu(suite: str) -> bool:
    return suite not in _DEBIAN_NAMES


def choose_suite(asked: str | None, os_release: Mapping[str, str]) -> str:
    """`asked`, or this machine's own where every release of Keystone works with it, or Debian 12.

    Raises `ConfigurationError` for a suite that is not supported.
    """
    supported = (*DEBIAN, *UBUNTU)
    if asked is not None and asked not in supported:
        raise ConfigurationError(
            f"nspawn.suite: '{asked}' is not supported for local hosts. Allowed: {', '.join(supported)}."
        )
    own = os_release.get("VERSION_CODENAME", "")
    return asked or (own if own in supported and own not in _TOO_OLD else DEFAULT_SUITE)


def parse_os_release(content: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in content.splitlines() if "=" in line)
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def suite_sources(suite: str, mirror: str | None, own: Iterable[Source]) -> list[Source]:
    """Sources of the hosts: this machine's for the suite, or its mirrors' of the same distribution.

    With `mirror`, that one replaces the main archive; updates and security fixes keep their places.
    Raises `ConfigurationError` when this machine knows no archive that could have the suite.
    """
    known = list(own)
    sources = [source for source in known if source.suite in _names(suite)] or _siblings(suite, known)
    if mirror is None:
        if not any(source.suite == suite for source in sources):
            raise ConfigurationError(
                f"nspawn.mirror: apt on this machine has no archive for '{suite}', the suite of the hosts.\n"
                "Name one (the address that would stand behind `deb` in sources.list), or choose another nspawn.suite."
            )
        return sources
    main = {source.uri for source in sources if source.suite == suite}
    components = ("main", "universe") if is_ubuntu(suite) else ("main",)
    named = [Source(uri=mirror, suite=name, components=components) for name in _names(suite)[:2]]
    return list(dict.fromkeys([*named, *(source for source in sources if source.uri not in main)]))


def _names(suite: str) -> tuple[str, ...]:
    return (suite, f"{suite}-updates", f"{suite}-security")


def _siblings(suite: str, own: Iterable[Source]) -> list[Source]:
    """This machine's archives of another suite of the same distribution: a mirror has all that are supported."""
    found = []
    for source in own:
        name, _, rest = source.suite.partition("-")
        if is_ubuntu(name) == is_ubuntu(suite) and rest in ("", "updates", "security"):
            found.append(replace(source, suite=f"{suite}-{rest}" if rest else suite))
    return list(dict.fromkeys(found))


def own_sources(etc_apt: Path) -> list[Source]:
    """The archives of Debian and Ubuntu this machine uses; those of third parties are left out."""
    found: list[Source] = []
    lists = [etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*.list"))]
    for file in lists:
        if file.is_file():
            found += parse_list(file.read_text(errors="replace"))
    for file in sorted((etc_apt / "sources.list.d").glob("*.sources")):
        found += parse_deb822(file.read_text(errors="replace"))
    return list(dict.fromkeys(found))


def parse_list(content: str) -> list[Source]:
    """Sources of the one-line format."""
    found = []
    for line in content.splitlines():
        matched = re.match(r"^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]+)", line)
        if matched:
            options = dict(word.partition("=")[::2] for word in (matched[1] or "").split())
            found += _sources(
                uris=[matched[2]],
                suites=[matched[3]],
                components=matched[4].split(),
                signed_by=options.get("signed-by", ""),
                trusted=options.get("trusted", ""),
            )
    return found


def parse_deb822(content: str) -> list[Source]:
    """Sources of the ``.sources`` format."""
    found = []
    text = "\n".join(line for line in content.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        last = ""
        for line in stanza.splitlines():
            if line[:1].isspace():
                fields[last] = f"{fields.get(last, '')} {line.strip()}"
            elif ":" in line:
                last, _, value = line.partition(":")
                last = last.strip().lower()
                fields[last] = value.strip()
        if fields.get("enabled", "yes").lower() != "no" and "deb" in fields.get("types", "").split():
            found += _sources(
                uris=fields.get("uris", "").split(),
                suites=fields.get("suites", "").split(),
                components=fields.get("components", "").split(),
                signed_by=fields.get("signed-by", ""),
                trusted=fields.get("trusted", ""),
            )
    return found


def _sources(
    *, uris: Sequence[str], suites: Sequence[str], components: Sequence[str], signed_by: str, trusted: str
) -> list[Source]:
    # The hosts have the distribution's own keys only; whoever signs with another is a third party.
    if signed_by and not re.search(r"(debian|ubuntu)-archive|ubuntu-keyring|debian-keyring", signed_by):
        return []
    if "main" not in components or any(not uri.startswith(("http://", "https://")) for uri in uris):
        return []
    kept = tuple(word for word in components if word in ("main", "universe"))
    return [
        Source(uri=uri.rstrip("/"), suite=suite.rstrip("/"), components=kept, trusted=trusted.lower() == "yes")
        for uri in uris
        for suite in suites
    ]


def format_sources(sources: Iterable[Source], gateway: str) -> str:
    """``/etc/apt/sources.list`` of a host."""
    return "".join(
        f"deb {'[trusted=yes] ' if source.trusted else ''}{reachable(source.uri, gateway)} "
        f"{source.suite} {' '.join(source.components)}\n"
        for source in sources
    )
