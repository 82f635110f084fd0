"""Unpack what hosts sent into a run's directory, without the secrets that were in it."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from enos_crdb.errors import StateError
from enos_crdb.masking import masked


def unpack(archive: Path, target: Path, secrets: Sequence[str]) -> None:
    """Write into `target` the files of `archive`, every secret in them masked, and remove the archive.

    Only regular files are unpacked, below `target`, readable by their owner only. Raises `StateError` for an archive
    that did not arrive whole; the files before the tear are kept.
    """
    try:
        with tarfile.open(archive) as packed:
            for member in packed:
                stream = packed.extractfile(member) if member.isfile() else None
                path = PurePosixPath(member.name)
                if stream is not None and not path.is_absolute() and ".." not in path.parts:
                    _write(target / path, masked(stream.read(), secrets))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise StateError(
            f"what came from {target.name} could not be unpacked whole: {error}.\n"
            "The connection broke, or a disk is full; `enos_crdb collect` tries again."
        ) from None
    finally:
        archive.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
