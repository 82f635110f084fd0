"""Keystone as values: keys, regions, the variables of its Ansible roles, and the files a user logs in with.

Nothing here touches the world.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from enos_crdb import locks, shipped
from enos_crdb.backends import Connection
from enos_crdb.config.openstack import OpenStack
from enos_crdb.installers import INSTALLERS
from enos_crdb.model import LOAD, Resources

USERNAME = "admin"
PROJECT = "admin"
RALLY_VIRTUALENV = "/opt/enos_crdb/rally"
CLOUDS_FILE = "/etc/openstack/clouds.yaml"
"""On hosts with Rally: credentials for the openstack command there."""

_KEYS = ("fernet_0", "fernet_1", "credential_0", "credential_1", "jws_private", "jws_public")
_SECRET = "keystone_{}"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One Keystone as a client sees it: its region (the name of its host) and its address."""

    region: str
    url: str


@dataclass(frozen=True, kw_only=True)
class Wheels:
    """A wheelhouse as a host finds it: its directory there, and a tar file here to send ("" when it is there)."""

    directory: str
    archive: str = ""


def new_keys() -> dict[str, str]:
    """Keys that all Keystones of a deployment share, by the name under which `secrets.json` keeps them.

    Two fernet keys for tokens (0 is the next one, 1 signs), two for credentials, an ES256 pair for JWS tokens.
    """
    from cryptography.fernet import Fernet

    fernet = {name: Fernet.generate_key().decode() for name in _KEYS if not name.startswith("jws")}
    private, public = _es256_pair()
    keys = {**fernet, "jws_private": private, "jws_public": public}
    return {_SECRET.format(name): key for name, key in keys.items()}


def endpoints(installer: str, resources: Resources) -> tuple[Endpoint, ...]:
    """The Keystones in the order of the configuration; the first is the default of clients."""
    url = INSTALLERS[installer].url
    return tuple(Endpoint(region=host.name, url=url(host)) for host in resources.with_role("keystone"))


def bootstrap_host(resources: Resources) -> str:
    """Name of the host that makes schema and catalogue for all."""
    return min(host.name for host in resources.with_role("keystone"))


def install_variables(openstack: OpenStack, *, keystone_crdb: str) -> dict[str, Any]:
    """Variables of `preflight` and `install` of the Ansible roles keystone and rally that are equal for all hosts.

    ``keystone_crdb`` is the wheel of that distribution, on this machine.
    """
    installer = INSTALLERS[openstack.installer]
    return {
        "keystone_release": openstack.release,
        "keystone_oldest_python": locks.OLDEST_PYTHON[locks.keystone_lock(openstack.release)],
        "keystone_virtualenv": installer.virtualenv,
        "keystone_crdb_wheel": keystone_crdb,
        **{name: str(shipped.directory(name)) for name in installer.sources},
        **installer.installation(openstack),
        "rally_oldest_python": locks.OLDEST_PYTHON["rally"],
        "rally_virtualenv": RALLY_VIRTUALENV,
    }


def wheel_variables(wheels: Mapping[str, Wheels]) -> dict[str, str]:
    """Variables of the same Ansible roles that depend on what a host runs: the wheelhouses of its Python."""
    variables: dict[str, str] = {}
    for name, found in wheels.items():
        variables |= {f"{name}_wheelhouse": found.directory, f"{name}_wheelhouse_archive": found.archive}
    return variables


def variables(
    openstack: OpenStack,
    resources: Resources,
    secrets: Mapping[str, str],
    connections: Mapping[str, Connection],
    *,
    backend: str,
) -> dict[str, dict[str, Any]]:
    """Host name -> variables of the Ansible roles memcached, keystone (or that of another installer) and rally.

    They are for hosts of Keystone and Rally. `backend` names the database; `connections` says how each Keystone host
    reaches it. `secrets` holds ``keystone_admin_password`` and what `new_keys` gave.
    """
    installer = INSTALLERS[openstack.installer]
    regions = endpoints(openstack.installer, resources)
    shared = {**_shared(regions, resources, secrets), **_options(openstack)}
    keys = {name: secrets[_SECRET.format(name)] for name in _KEYS}
    clouds = clouds_yaml(regions, secrets["keystone_admin_password"])
    clients = (*resources.with_role("rally"), *resources.with_role(LOAD))
    by_host: dict[str, dict[str, Any]] = {host.name: {**shared, "rally_clouds": clouds} for host in clients}
    for host, endpoint in zip(resources.with_role("keystone"), regions, strict=True):
        by_host[host.name] = {
            **by_host.get(host.name, shared),
            "keystone_region": endpoint.region,
            "keystone_url": endpoint.url,
            **_database(connections[host.name]),
            "keystone_keys": keys,
            **installer.variables(openstack, host, backend=backend),
        }
    return by_host


def _database(connection: Connection) -> dict[str, Any]:
    return {
        "keystone_database_url": connection.url,
        "keystone_database_parameters": dict(connection.parameters),
        "keystone_schema_parameters": dict(connection.schema_parameters),
        "keystone_database_files": [asdict(file) for file in connection.files],
    }


def openrc(regions: Sequence[Endpoint], password: str) -> str:
    """Shell text that logs in at the first Keystone; the other regions are in it as comments."""
    first, *others = regions
    settings = {
        "OS_AUTH_URL": first.url,
        "OS_REGION_NAME": first.region,
        "OS_USERNAME": USERNAME,
        "OS_PASSWORD": password,
        "OS_PROJECT_NAME": PROJECT,
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_IDENTITY_API_VERSION": "3",
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
    lines += [f"# {other.region}: OS_AUTH_URL={other.url} OS_REGION_NAME={other.region}" for other in others]
    return "\n".join(lines) + "\n"


def clouds_yaml(regions: Sequence[Endpoint], password: str) -> str:
    """A clouds.yaml with one cloud per region, named like it, and ``enos_crdb`` for the first of them."""
    clouds = {endpoint.region: _cloud(endpoint, password) for endpoint in regions}
    document = {"clouds": {"enos_crdb": _cloud(regions[0], password), **clouds}}
    # Written anew by every step of a deployment: libyaml, where it is there, takes a tenth of the time.
    text: str = yaml.dump(document, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)
    return text


def openstack_command(arguments: tuple[str, ...], *, cloud: str = "enos_crdb") -> tuple[str, ...]:
    """The openstack command as it is run on a host with Rally; argv without a password."""
    environment = (f"OS_CLIENT_CONFIG_FILE={CLOUDS_FILE}", f"OS_CLOUD={cloud}", "PYTHONWARNINGS=ignore")
    return ("env", *environment, f"{RALLY_VIRTUALENV}/bin/openstack", *arguments)


def _shared(regions: Sequence[Endpoint], resources: Resources, secrets: Mapping[str, str]) -> dict[str, Any]:
    return {
        "keystone_endpoints": [asdict(endpoint) for endpoint in regions],
        "keystone_bootstrap_host": bootstrap_host(resources),
        "keystone_admin_username": USERNAME,
        "keystone_admin_password": secrets["keystone_admin_password"],
    }


def _options(openstack: OpenStack) -> dict[str, Any]:
    options = openstack.keystone.model_dump()
    compatibility = options.pop("keystone_crdb")
    return {
        **{f"keystone_{name}": value for name, value in options.items()},
        "keystone_compatibility": compatibility,
        "keystone_virtualenv": INSTALLERS[openstack.installer].virtualenv,
        "keystone_release": openstack.release,
        "memcached_enabled": openstack.keystone.cache == "memcached",
    }


def _cloud(endpoint: Endpoint, password: str) -> dict[str, Any]:
    return {
        "auth": {
            "auth_url": endpoint.url,
            "username": USERNAME,
            "password": password,
            "project_name": PROJECT,
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
        "region_name": endpoint.region,
        "identity_api_version": 3,
    }


def _es256_pair() -> tuple[str, str]:
    """PEM texts of a private key and its public key on the curve P-256."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()
