"""The package beside Keystone, as data: what it declares fits the lock files, the Ansible role and itself."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Mapping
from typing import Any, get_args

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from enos_crdb import locks, shipped
from enos_crdb.config.openstack import Release
from tests.unit.lock_pins import pins

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = shipped.directory("keystone_crdb")
PROJECT: Mapping[str, Any] = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
GROUPS: Mapping[str, str] = runpy.run_path(str(PACKAGE / "src" / "keystone_crdb" / "groups.py"))["GROUPS"]


def test_every_group_has_its_entry_point() -> None:
    declared = {
        (namespace, name, target)
        for namespace, points in PROJECT["entry-points"].items()
        for name, target in points.items()
        if namespace.startswith("keystone.")
    }
    assert declared == {(space, "sql_retry", f"keystone_crdb.drivers:{group}") for group, space in GROUPS.items()}


def test_the_ansible_role_sets_the_driver_of_every_group() -> None:
    path = shipped.directory("playbooks") / "roles" / "keystone" / "vars" / "main.yml"
    assert yaml.safe_load(path.read_text())["__keystone_driver_groups"] == sorted(GROUPS)


@pytest.mark.parametrize("release", get_args(Release))
def test_the_ranges_hold_what_is_locked(release: str) -> None:
    locked = pins(locks.keystone_lock(release))
    for requirement in map(Requirement, PROJECT["dependencies"]):
        for pin in locked[canonicalize_name(requirement.name)]:
            (version,) = pin.specifier
            assert requirement.specifier.contains(version.version), f"{pin} is not in {requirement}"


def test_its_python_is_not_newer_than_the_oldest_of_a_lock_file() -> None:
    oldest = {locks.OLDEST_PYTHON[locks.keystone_lock(release)] for release in get_args(Release)}
    assert PROJECT["requires-python"] == ">=" + min(oldest, key=lambda version: [*map(int, version.split("."))])
