#!/usr/bin/python
"""Ansible module: settings of the cluster, Keystone's database and user, placement; all of it read back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cockroachdb_client import NODE, Client, Refused, client, literal
from ansible.module_utils.cockroachdb_schema import (
    OWNER,
    database,
    ownership,
    placement,
    wrong_placement,
    zone_of,
    zoning,
)
from ansible.module_utils.cockroachdb_values import boolean, same

DOCUMENTATION = r"""
module: cockroachdb_database
short_description: Bring cluster settings, Keystone's database, its user and its placement to what is asked
description:
  - Only what differs is changed. Afterwards everything is asked again, the session variables in a session of
    Keystone's own user, and a difference is an error.
options:
  node: {type: dict, required: true, description: The node that is asked.}
  keystone: {type: dict, required: true, description: 'database, user, zone (fields) and multi_region.'}
  version: {type: str, required: true, description: 'Release the server must be, like C(v25.4.11).'}
  replicas: {type: int, required: true, description: Copies of each range.}
  cluster_settings: {type: dict, default: {}, description: Cluster settings.}
  session_settings: {type: dict, default: {}, description: Session variables of Keystone's user.}
  license: {type: str, default: "", description: A licence key.}
author: enos_crdb
"""

EXAMPLES = r"""
- name: Make Keystone's database
  cockroachdb_database:
    node: {address: 10.0.0.1}
    keystone: {database: keystone, user: keystone}
    version: v25.4.11
    replicas: 3
"""

RETURN = r"""
settings: {description: What the server says of everything that was asked., type: dict, returned: always}
statements: {description: What was executed., type: list, returned: always}
"""


class Different(Exception):
    """The server runs with something else than it was told."""


def cluster_settings(node: Client, names: Iterable[str]) -> dict[str, str]:
    names = list(names)
    shown = node.values([f"SHOW CLUSTER SETTING {name}" for name in names])
    return {name: shown[index] for index, name in enumerate(names)}


def role_defaults(node: Client, user: str) -> dict[str, str]:
    """The user's own defaults, without those it has from everybody."""
    rows = node.rows(f"SHOW DEFAULT SESSION VARIABLES FOR ROLE {user}")
    own = [row for row in rows if row.get("default_values") and not boolean(row.get("inherited_globally") or "")]
    return {row["session_variables"]: row["default_values"] for row in own}


def session(node: Client, asked: dict[str, Any]) -> list[str]:
    """Statements for the defaults of Keystone's user; withdrawn ones go."""
    user, wanted = asked["keystone"]["user"], asked["session_settings"]
    held = role_defaults(node, user)
    if set(held) == set(wanted) and all(same(value, held[name]) for name, value in wanted.items()):
        return []
    settings = [f"ALTER ROLE {user} SET {name} = {literal(value)}" for name, value in wanted.items()]
    return [f"ALTER ROLE {user} RESET ALL", *settings]


def licence(node: Client, key: str) -> list[str]:
    """Install the key, unless it is there; the statement, without the key."""
    if not key or cluster_settings(node, ["enterprise.license"])["enterprise.license"] == key:
        return []
    node.secret_sql(f"SET CLUSTER SETTING enterprise.license = {literal(key)}")
    return ["SET CLUSTER SETTING enterprise.license"]


def settings(node: Client, asked: dict[str, Any]) -> list[str]:
    """Statements for the cluster settings that differ."""
    held = cluster_settings(node, asked["cluster_settings"])
    return [
        f"SET CLUSTER SETTING {name} = {literal(value)}"
        for name, value in asked["cluster_settings"].items()
        if not same(value, held[name])
    ]


def converge(node: Client, asked: dict[str, Any]) -> list[str]:
    """Change what differs, each kind after the one it needs; the statements that were executed."""
    done = licence(node, asked["license"])
    steps = (
        lambda: settings(node, asked),
        lambda: ownership(node, asked["keystone"]),
        lambda: session(node, asked),
        lambda: zoning(node, "RANGE default", {"num_replicas": str(asked["replicas"])}),
        lambda: placement(node, asked["keystone"]),
        lambda: zoning(node, f"DATABASE {asked['keystone']['database']}", asked["keystone"]["zone"]),
    )
    for step in steps:
        statements = step()
        if statements:
            node.sql(*statements, timeout_s=600)
        done += statements
    return done


def read_back(node: Client, asked: dict[str, Any]) -> dict[str, Any]:
    """What the server says of everything that was asked. Raises `Different`."""
    keystone = asked["keystone"]
    cluster = cluster_settings(node, asked["cluster_settings"])
    login = {"user": keystone["user"], "database": keystone["database"]}
    version, *shown = node.values(
        ["SELECT version()", *(f"SHOW {name}" for name in asked["session_settings"])], **login
    )
    live = {name: shown[index] for index, name in enumerate(asked["session_settings"])}
    wrong = [
        f"{name} is {answers[name]}, asked was {value}"
        for values, answers in ((asked["cluster_settings"], cluster), (asked["session_settings"], live))
        for name, value in values.items()
        if not same(value, answers[name])
    ]
    if asked["version"] not in version.split():
        wrong.append(f"the server is {version}, asked was {asked['version']}")
    default = zone_of(node, "RANGE default").get("num_replicas", "")
    if default != str(asked["replicas"]):
        wrong.append(f"ranges have {default} replicas by default, asked were {asked['replicas']}")
    wrong += wrong_placement(node, keystone)
    if wrong:
        raise Different("; ".join(wrong))
    return {
        **cluster,
        **live,
        "num_replicas": int(default),
        "zone": zone_of(node, f"DATABASE {keystone['database']}"),
        "owner": database(node, keystone["database"]).get("owner", ""),
        "version": version,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "node": NODE,
            "keystone": OWNER,
            "version": {"type": "str", "required": True},
            "replicas": {"type": "int", "required": True},
            "cluster_settings": {"type": "dict", "default": {}},
            "session_settings": {"type": "dict", "default": {}},
            "license": {"type": "str", "default": "", "no_log": True},
        }
    )
    asked, node = module.params, client(module.params["node"])
    try:
        done = converge(node, asked)
        found = read_back(node, asked)
    except Refused as refusal:
        said = str(refusal)
        if asked["license"]:
            said = said.replace(asked["license"], "********")
        module.fail_json(msg=f"CockroachDB did not take what was asked of it: {said}")
    except Different as difference:
        module.fail_json(
            msg=f"CockroachDB runs, but not with what was asked: {difference}. A name or a value that release "
            "takes differently is the usual cause: see database.session_settings, cluster_settings and the placement."
        )
    module.exit_json(changed=bool(done), statements=done, settings=found)


if __name__ == "__main__":
    main()
