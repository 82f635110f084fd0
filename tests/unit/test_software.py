"""The name of a layer follows what is installed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from enos_crdb import shipped, software

ROLES = shipped.directory("playbooks") / "roles"


@pytest.mark.parametrize("role", sorted(path.parent.parent.name for path in ROLES.glob("*/tasks/install.yml")))
def test_all_that_an_installation_reads_is_in_the_layers_name(role: str) -> None:
    known = {Path(part).name for part in software.INSTALLED_FROM}
    for part in ("preflight.yml", "install.yml"):
        file = ROLES / role / "tasks" / part
        text = file.read_text() if file.exists() else ""
        included = set(re.findall(r"(?:import|include)_tasks: (\S+)", text))
        assert included <= known, f"{role}/{part} includes what `INSTALLED_FROM` leaves out"
        shared = set(re.findall(r"(?:import|include)_role:\n\s+name: (\S+)", text))
        assert shared <= {*software.SHARED, "mariadb"}, f"{role}/{part} installs with a role that is not in `SHARED`"
        assert "ansible.builtin.template" not in text
