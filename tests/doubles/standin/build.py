"""Make the one file that stands in for ``cockroach``."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PARTS = ("standin", "cockroachdb_wire")
MAIN = "import sys\n\nfrom tests.doubles.standin.cli import main\n\nsys.exit(main())\n"


def build(target: Path, version: str = "v25.4.11") -> Path:
    """Write an executable that announces `version`; needs Debian's python3 and nothing else to run."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "__main__.py", MAIN)
        for name in ("tests/__init__.py", "tests/doubles/__init__.py"):
            _add(archive, name, "")
        for part in PARTS:
            for file in sorted((HERE.parent / part).glob("*.py")):
                _add(archive, f"tests/doubles/{part}/{file.name}", file.read_text())
        _add(archive, "tests/doubles/standin/version.txt", version + "\n")
    target.write_bytes(b"#!/usr/bin/python3\n" + packed.getvalue())
    target.chmod(0o755)
    return target


def _add(archive: zipfile.ZipFile, name: str, text: str) -> None:
    archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)  # the same bytes every time


if __name__ == "__main__":
    import sys

    print(build(Path(sys.argv[1]), *sys.argv[2:]))
