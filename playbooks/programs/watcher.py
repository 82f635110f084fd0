"""Programs that watch a host during a run: each in a transient unit that outlives the connection which started it."""

from __future__ import annotations

import os
import subprocess
import sys


def units(prefix: str) -> set[str]:
    """Units whose names begin so, of any run."""
    listing = ["systemctl", "list-units", "--plain", "--no-legend", "--full", f"{prefix}*"]
    listed = subprocess.run(listing, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {line.split()[0].removesuffix(".service") for line in listed.splitlines() if line.strip()}


def start(prefix: str, name: str, program: str, words: list[str]) -> bool:
    """Run `program` in the unit `name` unless it runs; whether it did not. What other runs left would count as load."""
    running = units(prefix)
    for other in sorted(running - {name}):
        subprocess.run(["systemctl", "stop", other], check=False)
    if name in running:
        return False
    unit = ["systemd-run", "--quiet", "--collect", f"--unit={name}", "--property=Type=exec", "--nice=-5"]
    subprocess.run([*unit, sys.executable, os.path.abspath(program), *words], check=True)
    return True


def stop(prefix: str, name: str) -> bool:
    """End the unit `name`, if it is there."""
    if name not in units(prefix):
        return False
    subprocess.run(["systemctl", "stop", name], check=True)
    return True
