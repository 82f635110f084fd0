"""Keystone's database, its user and where its rows lie: what has to be said so that it is as asked."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.cockroachdb_client import Client, identifier, literal
from ansible.module_utils.cockroachdb_values import same, same_zone_field, zone

OWNER = {
    "type": "dict",
    "required": True,
    "options": {
        "database": {"type": "str", "required": True},
        "user": {"type": "str", "required": True},
        "zone": {"type": "dict", "default": {}},
        "multi_region": {"type": "dict", "default": {}},
    },
}
"""Module argument ``keystone``: database, user, fields of its zone, and multi-region placement."""


def database(node: Client, name: str) -> dict[str, str]:
    """What ``SHOW DATABASES`` says of one; empty when it does not exist."""
    return next((row for row in node.rows("SHOW DATABASES") if row["database_name"] == name), {})


def ownership(node: Client, asked: dict[str, Any]) -> list[str]:
    """Statements that make database and user."""
    name, user = asked["database"], asked["user"]
    made = []
    if name != (found := database(node, name)).get("database_name"):
        made.append(f"CREATE DATABASE IF NOT EXISTS {name}")
    if user not in {row.get("username", row.get("user_name")) for row in node.rows("SHOW USERS")}:
        made.append(f"CREATE USER IF NOT EXISTS {user}")
    if found.get("owner") != user:
        made.append(f"ALTER DATABASE {name} OWNER TO {user}")
        made.append(f"GRANT ALL ON DATABASE {name} TO {user}")
    return made


def zone_of(node: Client, target: str) -> dict[str, str]:
    """Fields of the zone that holds for `target` (``RANGE default``, ``DATABASE x``)."""
    rows = node.rows(f"SHOW ZONE CONFIGURATION FROM {target}")
    return zone(rows[0]["raw_config_sql"]) if rows else {}


def zoning(node: Client, target: str, asked: dict[str, str]) -> list[str]:
    """The statement that gives `target` the fields it lacks."""
    held = zone_of(node, target) if asked else {}
    if all(same_zone_field(value, held.get(name, "")) for name, value in asked.items()):
        return []
    fields = ", ".join(f"{name} = {value if value.isdigit() else literal(value)}" for name, value in asked.items())
    return [f"ALTER {target} CONFIGURE ZONE USING {fields}"]


def regions(text: str) -> set[str]:
    """The elements of an array as SQL prints it: ``{nantes,lyon}``."""
    return {name.strip().strip('"') for name in text.strip("{}").split(",") if name.strip()}


def placement(node: Client, asked: dict[str, Any]) -> list[str]:
    """Statements of multi-region SQL that are missing."""
    wide, name = asked["multi_region"], asked["database"]
    if not wide:
        return []
    found = database(node, name)
    statements = []
    if found.get("primary_region") != wide["primary"]:
        statements.append(f"ALTER DATABASE {name} SET PRIMARY REGION {identifier(wide['primary'])}")
    held = regions(found.get("regions") or "") | {wide["primary"]}
    statements += [f"ALTER DATABASE {name} ADD REGION {identifier(one)}" for one in wide["regions"] if one not in held]
    if not same(wide["survive"], found.get("survival_goal") or "zone"):
        statements.append(f"ALTER DATABASE {name} SURVIVE {wide['survive'].upper()} FAILURE")
    return statements


def globals_(node: Client, asked: dict[str, Any]) -> list[str]:
    """Statements that make the tables global which are to be, once there are tables."""
    wanted = asked["multi_region"].get("global_tables") or []
    if not wanted:
        return []
    name = asked["database"]
    rows = {row["table_name"]: row for row in node.rows(f"SHOW TABLES FROM {name}.public")}
    statements = []
    for table in wanted:
        if table not in rows:
            continue  # the caller compares, and says so
        if (rows[table].get("locality") or "").upper() != "GLOBAL":
            full = f"{name}.public.{identifier(table)}"
            # A locked table refuses this change; unlocking one that is not locked changes nothing.
            statements += [f"ALTER TABLE {full} SET (schema_locked = false)", f"ALTER TABLE {full} SET LOCALITY GLOBAL"]
    return statements


def wrong_globals(node: Client, asked: dict[str, Any]) -> list[str]:
    """Tables that should be global and are not."""
    wanted = asked["multi_region"].get("global_tables") or []
    rows = node.rows(f"SHOW TABLES FROM {asked['database']}.public") if wanted else []
    held = {row["table_name"] for row in rows if (row.get("locality") or "").upper() == "GLOBAL"}
    return [table for table in wanted if table not in held]


def wrong_placement(node: Client, asked: dict[str, Any]) -> list[str]:
    """Differences that are left, for people."""
    name = asked["database"]
    held = zone_of(node, f"DATABASE {name}") if asked["zone"] else {}
    found = [
        f"the zone of database {name} has {field} = {held.get(field, '(nothing)')}, asked was {value}"
        for field, value in asked["zone"].items()
        if not same_zone_field(value, held.get(field, ""))
    ]
    return found + [f"not taken: {statement}" for statement in placement(node, asked)]
