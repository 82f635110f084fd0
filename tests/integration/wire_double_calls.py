"""Driver calls of Keystone, one after the other, in Keystone's Python: ``python wire_double_calls.py FUNCTION URL``.

Started by test_wire_double.py; `OS_KEYSTONE_CONFIG_FILES` names the configuration. The last line of the output is one
JSON object. Between the calls a second connection, which keystone_crdb does not know of, sends ``SELECT 'mark NAME'``,
so that the wire double's log tells which messages belong to which calls.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Callable
from typing import Any


class Calls:
    """Keystone without its API."""

    def __init__(self, url: str) -> None:
        import psycopg2
        from keystone.common import provider_api
        from keystone.server import wsgi

        wsgi.initialize_public_application()
        self.providers: Any = provider_api.ProviderAPIs
        self._marks = psycopg2.connect(url)
        self._marks.autocommit = True

    def mark(self, name: str) -> None:
        with self._marks.cursor() as cursor:
            cursor.execute(f"SELECT 'mark {name}'")

    def create_role(self, name: str) -> str:
        """What became of it: ``made`` or the exception's class."""
        identifier = uuid.uuid4().hex
        try:
            self.providers.role_api.create_role(identifier, {"id": identifier, "name": name})
        except Exception as error:  # noqa: BLE001 - its class is the finding
            return type(error).__name__
        return "made"

    def roles(self, name: str) -> int:
        """How many have `name`."""
        from keystone.common import driver_hints

        hints = driver_hints.Hints()
        hints.add_filter("name", name)
        return len(self.providers.role_api.list_roles(hints))


def ambiguous(calls: Calls) -> dict[str, Any]:
    """Create a role for each of the faults that the double has in store, and count what is there afterwards."""
    calls.roles("warm")
    outcomes: dict[str, Any] = {}
    for name in os.environ["FAULTS"].split(","):
        calls.mark(name)
        outcomes[name] = [calls.create_role(name)]
        calls.mark("end")
        outcomes[name].append(calls.roles(name))
    return outcomes


def counted(calls: Calls) -> dict[str, Any]:
    """What keystone_crdb counts for reads, writes, a duplicate, and calls that make several transactions."""
    from keystone_crdb import counters

    def totals() -> dict[str, Any]:
        return dict(counters.document(counters.here())["total"])

    calls.roles("warm")
    before = totals()
    calls.mark("begin")
    calls.create_role("counted")
    calls.create_role("counted")
    calls.roles("counted")
    project = uuid.uuid4().hex
    fields = {"id": project, "name": "counted", "domain_id": "default", "description": "", "enabled": True}
    calls.providers.resource_api.create_project(project, {**fields, "parent_id": None, "is_domain": False})
    calls.providers.resource_api.update_project(project, {"description": "changed", "tags": ["a", "b", "c"]})
    user = {"name": "counted", "domain_id": "default", "password": "counted", "enabled": True}
    made = calls.providers.identity_api.create_user(user)
    calls.providers.identity_api.update_user(made["id"], {"email": "a@example.org"})
    calls.providers.assignment_api.list_role_assignments(user_id=made["id"], effective=True)
    calls.providers.identity_api.delete_user(made["id"])
    calls.providers.resource_api.delete_project(project)
    calls.mark("end")
    after = totals()
    return {event: after[event] - before[event] for event in after}


def unrestored(script: list[str]) -> None:
    """Run another script, whose replays find the arguments as the failed attempt left them."""
    import runpy

    from keystone_crdb.arguments import Snapshot

    def leave(self: Snapshot) -> None:
        """Restore nothing."""

    setattr(Snapshot, "restore", leave)  # noqa: B010 - an assignment is refused by mypy
    sys.argv = script
    runpy.run_path(script[0], run_name="__main__")


FUNCTIONS: dict[str, Callable[[Calls], dict[str, Any]]] = {"ambiguous": ambiguous, "counted": counted}

if __name__ == "__main__":
    chosen, *rest = sys.argv[1:]
    if chosen == "unrestored":
        unrestored(rest)
    else:
        sys.argv = sys.argv[:1]  # Keystone reads it
        print(json.dumps(FUNCTIONS[chosen](Calls(*rest))))
