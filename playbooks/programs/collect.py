"""Pack what is worth keeping of this host into one archive. Standard library only; the request is JSON on stdin.

archive      path of the archive to write (readable by root only)
units        systemd units (or patterns) whose journal is packed, one file each: journal/<unit>.log
since        beginning of the journals: seconds since the epoch, or absent for all
files        patterns of files, packed as they are: files/<absolute path>
named        name in the archive -> file
commands     thing -> command line that prints its version
virtualenvs  name -> directory of a virtualenv whose packages are listed

What could not be had is said in the answer and does not stop the rest.
"""

from __future__ import annotations

import fnmatch
import glob
import io
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
import time
from typing import Any

LONGEST_S = 60
LARGEST_FILE = 64 * 2**20
PACKAGES = re.compile(r"^(postgresql|mariadb|galera|memcached|systemd|openssl|libc6|libpq|python3|linux-image)")


def main() -> None:
    os.umask(0o077)
    request = json.load(sys.stdin)
    os.makedirs(os.path.dirname(request["archive"]), exist_ok=True)
    problems: list[str] = []
    with tarfile.open(request["archive"], "w:gz", compresslevel=3) as archive:
        for unit in units(request.get("units", []), problems):
            if text := journal(unit, request.get("since"), problems):
                add_text(archive, f"journal/{unit}.log", text)
        for pattern in request.get("files", []):
            for path in sorted(glob.glob(pattern, recursive=True)):
                add_file(archive, path, f"files{os.path.abspath(path)}", problems)
        for name, path in request.get("named", {}).items():
            if os.path.exists(path):
                add_file(archive, path, name, problems)
        add_text(archive, "versions.json", json.dumps(versions(request, problems), indent=2) + "\n")
    print(json.dumps({"problems": problems, "bytes": os.path.getsize(request["archive"])}))


def units(patterns: list[str], problems: list[str]) -> list[str]:
    """The services that match and have left anything in the journal, transient ones that are gone included."""
    # A process logs under _SYSTEMD_UNIT; what systemd says of a unit is under UNIT.
    fields = ("_SYSTEMD_UNIT", "UNIT")
    known = {name for field in fields for name in run(["journalctl", f"--field={field}"], problems).split()}
    wanted = [pattern if "." in pattern else f"{pattern}.service" for pattern in patterns]
    return sorted(name for name in known if any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted))


def journal(unit: str, since: float | None, problems: list[str]) -> str:
    arguments = ["journalctl", "--no-pager", "--quiet", "--output=short-iso-precise", f"--unit={unit}"]
    return run(arguments + ([f"--since=@{int(since)}"] if since else []), problems)


def versions(request: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    return {
        "things": {thing: run(words, problems).strip()[:200] for thing, words in request.get("commands", {}).items()},
        "system": system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "processors": len(os.sched_getaffinity(0)),
        "memory_mb": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20,
        "packages": packages(problems),
        "virtualenvs": {name: distributions(place) for name, place in request.get("virtualenvs", {}).items()},
    }


def system() -> str:
    with open("/etc/os-release", encoding="utf-8") as stream:
        entries = dict(line.rstrip("\n").split("=", 1) for line in stream if "=" in line)
    return entries.get("PRETTY_NAME", "").strip('"')


def packages(problems: list[str]) -> dict[str, str]:
    """Debian packages that matter to a measurement."""
    listed = run(["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}\\t${Package}\\t${Version}\\n"], problems)
    rows = (line.split("\t") for line in listed.splitlines())
    return {row[1]: row[2] for row in rows if len(row) == 3 and row[0].startswith("ii") and PACKAGES.match(row[1])}


def distributions(place: str) -> dict[str, str]:
    """Python packages of a virtualenv, from the names of their metadata (starting its Python takes longer)."""
    found = {}
    for path in sorted(glob.glob(f"{place}/lib/python3*/site-packages/*.dist-info")):
        name, _, version = os.path.basename(path).removesuffix(".dist-info").rpartition("-")
        found[re.sub(r"[-_.]+", "-", name).lower()] = version
    return found


def run(arguments: list[str], problems: list[str]) -> str:
    try:
        done = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LONGEST_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        problems.append(f"{arguments[0]}: {error}")
        return ""
    if done.returncode:
        problems.append(f"{' '.join(arguments)}: status {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(content), 0o600, int(time.time())
    archive.addfile(member, io.BytesIO(content))


def add_file(archive: tarfile.TarFile, path: str, name: str, problems: list[str]) -> None:
    """Pack a regular file; a log may grow meanwhile."""
    if not os.path.isfile(path):
        return
    try:
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > LARGEST_FILE:
                problems.append(f"{path}: only the last {LARGEST_FILE // 2**20} MiB of {size // 2**20} were kept")
                stream.seek(size - LARGEST_FILE)
                size = LARGEST_FILE
            content = stream.read(size)
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.mtime = len(content), 0o600, int(os.path.getmtime(path))
        archive.addfile(member, io.BytesIO(content))
    except OSError as error:
        problems.append(f"{path}: {error.strerror or error}")


if __name__ == "__main__":
    main()
