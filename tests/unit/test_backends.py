"""Values that the backends give to Ansible and to Keystone."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from pydantic import TypeAdapter, ValidationError

from enos_crdb.backends import BACKENDS
from enos_crdb.backends.placement import nearest_node
from enos_crdb.config.database import Database
from tests.unit.database_hosts import host, options, resources

WITH_A_PASSWORD = [name for name in BACKENDS if name != "cockroachdb"]  # the other is in test_cockroachdb.py
SECRETS = {"database_password": "p4ss-word_X"}


CLUSTER = resources(
    host("database-3", 13, "database", site="nantes"),
    host("database-1", 11, "database", site="rennes"),
    host("database-2", 12, "database", site="lyon"),
    host("keystone-1", 14, "keystone", site="lyon"),
)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_is_found_by_its_name(name: str) -> None:
    backend = BACKENDS[name]
    assert backend.name == name
    assert backend.ansible_role in backend.installs
    assert backend.files
    assert "password" not in " ".join(backend.version_command())


def test_every_backend_of_the_configuration_exists_and_no_other() -> None:
    schema = TypeAdapter[Any](Database).json_schema()
    assert set(schema["discriminator"]["mapping"]) == set(BACKENDS)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param(
            {"backend": "postgresql", "max_connections": 77, "shared_buffers_mb": 64, "durable": False},
            {
                "postgresql_max_connections": 77,
                "postgresql_shared_buffers_mb": 64,
                "postgresql_durable": False,
                "postgresql_address": "10.0.2.11",
                "postgresql_clients": "10.0.2.0/24",
            },
            id="postgresql",
        ),
        pytest.param(
            {"backend": "mariadb", "max_connections": 77, "innodb_buffer_pool_mb": 64, "durable": False},
            {
                "mariadb_max_connections": 77,
                "mariadb_innodb_buffer_pool_mb": 64,
                "mariadb_durable": False,
                "mariadb_address": "10.0.2.11",
                "mariadb_clients": "10.0.2.0/255.255.255.0",
            },
            id="mariadb",
        ),
        pytest.param(
            {
                "backend": "galera",
                "wsrep_sync_wait": 1,
                "wsrep_slave_threads": 5,
                "gcache_mb": 16,
                "provider_options": {"evs.suspect_timeout": "PT9S"},
                "settings": {"innodb_flush_method": "fsync"},
            },
            {
                "galera_sync_wait": 1,
                "galera_slave_threads": 5,
                "galera_gcache_mb": 16,
                "galera_provider_options": {"evs.suspect_timeout": "PT9S"},
                "mariadb_settings": {"innodb_flush_method": "fsync"},
                "galera_nodes": {"database-1": "10.0.2.11"},
                "galera_first": "database-1",
            },
            id="galera",
        ),
    ],
)
def test_every_option_reaches_ansible(values: dict[str, Any], expected: dict[str, Any]) -> None:
    single = resources(host("database-1", 11, "database", "keystone"), host("rally-1", 12, "rally"))
    found = BACKENDS[values["backend"]].variables(options(**values), single, SECRETS)
    assert list(found) == ["database-1"]
    assert expected.items() <= found["database-1"].items()


@pytest.mark.parametrize("name", WITH_A_PASSWORD)
def test_no_option_of_the_configuration_is_forgotten(name: str) -> None:
    def rendered(**changed: Any) -> dict[str, Any]:
        return BACKENDS[name].variables(options(backend=name, **changed), CLUSTER, SECRETS)

    other: dict[str, Any] = {"durable": False, "settings": {"a_name": 1}, "provider_options": {"a.b": "c"}}
    defaults = options(backend=name)
    for field in type(defaults).model_fields:
        if field != "backend":
            value = other[field] if field in other else getattr(defaults, field) + 1
            assert rendered(**{field: value}) != rendered(), f"{field} changes nothing"


@pytest.mark.parametrize(
    ("name", "spelt", "variable", "expected"),
    [
        pytest.param("postgresql", "SSL", "postgresql_settings", "ssl", id="postgresql"),
        pytest.param("mariadb", "Innodb-Flush-Method", "mariadb_settings", "innodb_flush_method", id="mariadb"),
    ],
)
def test_a_setting_has_one_spelling(name: str, spelt: str, variable: str, expected: str) -> None:
    found = BACKENDS[name].variables(options(backend=name, settings={spelt: "x"}), CLUSTER, SECRETS)
    assert found["database-1"][variable] == {expected: "x"}


def test_a_galera_cluster_starts_on_the_first_node_by_name() -> None:
    found = BACKENDS["galera"].variables(options(backend="galera"), CLUSTER, SECRETS)
    assert {variables["galera_first"] for variables in found.values()} == {"database-1"}
    assert found["database-2"]["galera_nodes"] == {
        "database-3": "10.0.2.13",
        "database-1": "10.0.2.11",
        "database-2": "10.0.2.12",
    }


@pytest.mark.parametrize("name", WITH_A_PASSWORD)
def test_keystone_connects_through_the_network_database(name: str) -> None:
    secrets = {"database_password": "a/b@c:d"}
    found = BACKENDS[name].connection(options(backend=name), CLUSTER, CLUSTER.host("keystone-1"), secrets)
    url = urlsplit(found.url)
    assert url.hostname == "10.0.2.12"  # the node of its own site
    assert unquote(url.password or "") == "a/b@c:d"
    assert url.path == "/keystone"


def test_a_keystone_prefers_the_node_on_its_own_host() -> None:
    both = host("database-9", 19, "database", "keystone", site="lyon")
    assert nearest_node(resources(*CLUSTER.hosts, both), both) == both


def test_keystones_far_from_every_node_are_spread_over_them() -> None:
    far = [host(f"keystone-{index}", 20 + index, "keystone", site="sophia") for index in range(4)]
    nodes = CLUSTER.with_role("database")
    found = [nearest_node(resources(*nodes, *far), keystone) for keystone in far]
    assert found == [nodes[0], nodes[1], nodes[2], nodes[0]]


def test_keystones_of_a_site_are_spread_over_its_nodes() -> None:
    nodes = [host(f"database-{index}", 10 + index, "database", site="lyon") for index in range(2)]
    near = [host(f"keystone-{index}", 20 + index, "keystone", site="lyon") for index in range(2)]
    elsewhere = host("keystone-0", 30, "keystone", site="rennes")
    everything = resources(elsewhere, *nodes, *near)
    assert [nearest_node(everything, keystone) for keystone in near] == nodes


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param({"backend": "postgresql", "settings": {"max_connections": 5}}, "max_connections", id="own-option"),
        pytest.param({"backend": "postgresql", "settings": {"FSYNC": "off"}}, "durable", id="own-option-other-case"),
        pytest.param({"backend": "mariadb", "settings": {"bind-address": "0.0.0.0"}}, "network", id="address"),
        pytest.param({"backend": "galera", "settings": {"wsrep_cluster_address": "x"}}, "cluster", id="cluster"),
        pytest.param({"backend": "mariadb", "settings": {"x": "1\nskip_grant_tables"}}, "one line", id="two-lines"),
        pytest.param({"backend": "mariadb", "settings": {"x y": 1}}, "letters", id="name"),
        pytest.param({"backend": "galera", "provider_options": {"gcache.size": "1G"}}, "gcache_mb", id="provider-own"),
        pytest.param({"backend": "galera", "provider_options": {"a.b": "1;c.d=2"}}, ";", id="provider-two-in-one"),
    ],
)
def test_a_setting_that_belongs_elsewhere_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        options(**values)


def test_the_subnet_of_a_deployment_is_its_own() -> None:
    found = BACKENDS["postgresql"].variables(options(backend="postgresql"), CLUSTER, SECRETS)
    clients = {variables["postgresql_clients"] for variables in found.values()}
    assert clients == {"10.0.2.0/24"}
    assert IPv4Network(clients.pop()).prefixlen < 32
