"""The catalogue: every Keystone scenario of rally-openstack 4.1.0, by our names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

RALLY_OPENSTACK = "4.1.0"
"""The version whose scenarios are listed; later ones keep tokens between iterations and are much faster."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A Rally scenario as users name it.

    ``plugin`` is Rally's own name. ``arguments`` are ours and can be replaced by the deployment file.
    ``users``: iterations act on (or as) users that Rally makes before the load, so their number matters.
    """

    name: str
    plugin: str
    description: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    users: bool = False


def _basic(
    plugin: str, description: str, *, users: bool = False, arguments: Mapping[str, Any] | None = None
) -> Scenario:
    return Scenario(
        name=f"keystone/{plugin.replace('_', '-')}",
        plugin=f"KeystoneBasic.{plugin}",
        description=description,
        arguments=arguments or {},
        users=users,
    )


_ALL = (
    _basic("add_and_remove_user_role", "create a role, give it to a user, take it away", users=True),
    _basic("authenticate_user_and_validate_token", "get a token, then validate it"),
    _basic("create_add_and_list_user_roles", "create a role, give it to a user, list the user's roles", users=True),
    _basic("create_and_delete_ec2credential", "create an EC2 credential as a user, delete it", users=True),
    _basic("create_and_delete_role", "create a role, delete it"),
    _basic("create_and_delete_service", "create a service, delete it", arguments={"service_type": "test"}),
    _basic("create_and_get_role", "create a role, read it back"),
    _basic("create_and_list_ec2credentials", "create an EC2 credential as a user, list the user's", users=True),
    _basic("create_and_list_roles", "create a role, list all roles"),
    _basic("create_and_list_services", "create a service, list all services", arguments={"service_type": "test"}),
    _basic("create_and_list_tenants", "create a project, list all projects"),
    _basic("create_and_list_users", "create a user, list all users"),
    _basic(
        "create_and_update_user",
        "create a user, change their description",
        arguments={"update_user_kwargs": {"description": "changed"}},
    ),
    _basic("create_delete_user", "create a user, delete it"),
    _basic("create_tenant", "create a project"),
    _basic("create_tenant_with_users", "create a project and users in it", arguments={"users_per_tenant": 3}),
    _basic("create_update_and_delete_tenant", "create a project, rename it, delete it"),
    _basic("create_user", "create a user"),
    _basic(
        "create_user_set_enabled_and_delete",
        "create a user (enabled), disable it, delete it",
        arguments={"enabled": True},
    ),
    _basic("create_user_update_password", "create a user, change the password"),
    _basic(
        "get_entities",
        "create a project, a user and a role, read each and a service back by id",
        arguments={"service_name": "keystone"},
    ),
    Scenario(
        name="keystone/authenticate",
        plugin="Authenticate.keystone",
        description="get a token as a user",
        users=True,
    ),
)

SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in sorted(_ALL, key=lambda s: s.name)}
"""By name, in the order of names."""

STUDY_2018: tuple[str, ...] = (
    "keystone/authenticate-user-and-validate-token",
    "keystone/create-add-and-list-user-roles",
    "keystone/create-and-list-tenants",
    "keystone/get-entities",
    "keystone/create-user-update-password",
    "keystone/create-user-set-enabled-and-delete",
    "keystone/create-and-list-users",
)
"""The seven scenarios of the 2018 study ("juice")."""


def known(name: str) -> str:
    """`name` itself. Raises `ValueError`, with the nearest valid names, when there is no such scenario."""
    if name in SCENARIOS:
        return name
    guess = name if name.startswith("keystone/") else f"keystone/{name}"
    near = difflib.get_close_matches(guess.replace("_", "-").lower(), SCENARIOS, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(candidate) for candidate in near)}?" if near else ""
    raise ValueError(f"there is no scenario '{name}'{hint} `enos_crdb scenarios` lists all of them")


def all_known(names: Iterable[str]) -> None:
    """Raise `ValueError` for the first of `names` that is no scenario."""
    for name in names:
        known(name)
