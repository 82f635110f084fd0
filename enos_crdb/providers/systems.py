"""The systems that hosts may run, by the name of their suite."""

from __future__ import annotations

from enos_crdb.model import System

SUITES = {
    "bullseye": ("debian", "11", "3.9"),
    "bookworm": ("debian", "12", "3.11"),
    "trixie": ("debian", "13", "3.13"),
    "jammy": ("ubuntu", "22.04", "3.10"),
    "noble": ("ubuntu", "24.04", "3.12"),
}
"""Distribution, version, and version of the Python that it ships: wheels are downloaded for it before a host exists."""


def system_of(suite: str, machine: str) -> System:
    """What a host of `suite` runs. Raises `KeyError` for a suite that is not known."""
    distribution, version, python = SUITES[suite]
    return System(distribution=distribution, version=version, codename=suite, python=python, machine=machine)
