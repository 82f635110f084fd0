"""The archive: written so that the same store gives the same bytes, searched for secrets, checked by its sums."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from enos_crdb.bundle.contents import Contents
from enos_crdb.bundle.metadata import SUMS, documents
from enos_crdb.errors import StateError
from enos_crdb.masking import masked

TIME = 1262304000
"""Modification time of everything inside (2010-01-01, UTC): when a file was written says nothing about the data."""


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A bundle that was written or checked; ``masked``: files in which a secret had to be replaced."""

    path: Path
    files: int
    bytes: int
    masked: tuple[str, ...] = ()


def pack(contents: Contents, path: Path) -> Packed:
    """Write `contents` to `path`, a .tar.gz, replacing it only when all is well.

    Raises `StateError` when a file cannot be read, or when the finished archive holds a secret after all.
    """
    if not path.parent.is_dir():
        raise StateError(f"{path} cannot be written: there is no directory {path.parent}.")
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            changed, count = _write(contents, stream)
            os.fchmod(stream.fileno(), 0o644)
        _search(temporary, contents.secrets)
        temporary.replace(path)
    except OSError as error:
        raise StateError(f"the bundle {path} cannot be written: {error}.") from None
    finally:
        temporary.unlink(missing_ok=True)
    return Packed(path=path, files=count, bytes=path.stat().st_size, masked=tuple(changed))


def _write(contents: Contents, stream: IO[bytes]) -> tuple[list[str], int]:
    """The names of files that had to be masked, and how many files there are."""
    top, sums, changed = contents.name, [], []
    added = {name: text.encode() for name, text in documents(contents).items()}
    # Without a name and a time in the header of gzip, and none but ours in tar's: the same bytes every time.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted([*contents.files, *added]):
            content = added[name] if name in added else contents.files[name].read_bytes()
            kept = _cleaned(content, contents.secrets)
            changed += [name] * (kept != content)
            sums.append(f"{hashlib.sha256(kept).hexdigest()}  {name}\n")
            _add(archive, f"{top}/{name}", kept)
        _add(archive, f"{top}/{SUMS}", "".join(sums).encode())
    return changed, len(sums) + 1


def _cleaned(content: bytes, secrets: Sequence[str]) -> bytes:
    """What is packed of a file."""
    return masked(content, secrets)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(content), TIME, 0o644
    archive.addfile(entry, io.BytesIO(content))


def _search(path: Path, secrets: Sequence[str]) -> None:
    """Read back what was written, and look for every secret in all its spellings."""
    for name, content in _members(path):
        if masked(content, secrets) != content:
            raise StateError(f"the bundle was not made: {name} would hold a password or key of a deployment.")


def check(path: Path) -> Packed:
    """Compare every file of a bundle, or of the directory it was unpacked to, with its checksum.

    Raises `StateError` with all that is missing, changed or added.
    """
    found: dict[str, str] = {}
    listed: dict[str, str] | None = None
    try:
        for name, content in _members(path):
            if name == SUMS:
                lines = (line.partition("  ") for line in content.decode().splitlines())
                listed = {name: digest for digest, _, name in lines}
            else:
                found[name] = hashlib.sha256(content).hexdigest()
    except (OSError, EOFError, tarfile.TarError, ValueError) as error:
        raise StateError(f"{path} is torn, or no bundle: {error}.\nGet it again.") from None
    if listed is None:
        raise StateError(f"{path} is no bundle: there is no {SUMS} in it.")
    problems = [f"missing: {name}" for name in sorted(listed.keys() - found.keys())]
    problems += [f"changed: {name}" for name in sorted(listed.keys() & found.keys()) if listed[name] != found[name]]
    if path.is_file():  # beside what was unpacked, a report may have been made
        problems += [f"added: {name}" for name in sorted(found.keys() - listed.keys())]
    if problems:
        raise StateError(f"{path} is not as it was packed:\n" + "\n".join(f"  {problem}" for problem in problems))
    size = path.stat().st_size if path.is_file() else sum((path / name).stat().st_size for name in listed)
    return Packed(path=path, files=len(listed) + 1, bytes=size)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Path below the bundle's own directory, and content, of every file."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                yield file.relative_to(path).as_posix(), file.read_bytes()
        return
    with tarfile.open(path, "r:gz") as archive:
        for entry in archive:
            parts = PurePosixPath(entry.name).parts
            if not entry.isfile() or ".." in parts or entry.name.startswith("/") or len(parts) < 2:
                raise ValueError(f"it holds '{entry.name}', which no bundle does")
            stream = archive.extractfile(entry)
            yield "/".join(parts[1:]), stream.read() if stream else b""
