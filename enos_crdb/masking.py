"""Secrets out of what is kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote

MASK = b"********"
SHORTEST = 8
"""A shorter text may be a word of any line, and no secret of ours is."""


def to_mask(secrets: Iterable[str]) -> tuple[str, ...]:
    """What must not be kept of `secrets`, the longest first: each of them, and a private key line by line, too."""
    found: set[str] = set()
    for secret in secrets:
        found.add(secret)
        if "PRIVATE" in secret:
            found.update(line for line in secret.splitlines() if "-----" not in line)
    return tuple(sorted((text for text in found if len(text) >= SHORTEST), key=lambda text: (-len(text), text)))


def masked(content: bytes, secrets: Sequence[str]) -> bytes:
    """`content` with every secret replaced by stars: as it is, as JSON writes it, and as a URL writes it."""
    for secret in secrets:
        for spelling in _spellings(secret):
            content = content.replace(spelling, MASK)
    return content


def masked_text(text: str, secrets: Sequence[str]) -> str:
    """`masked` for text; bytes that Python read but could not decode come through as they were."""
    return masked(text.encode(errors="surrogateescape"), secrets).decode(errors="surrogateescape")


def _spellings(secret: str) -> Iterator[bytes]:
    if secret:
        written = (secret, json.dumps(secret)[1:-1], quote(secret, safe=""), quote(secret))
        yield from (spelling.encode() for spelling in dict.fromkeys(written))
