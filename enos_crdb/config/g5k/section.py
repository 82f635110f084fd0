"""The section ``g5k``: what is reserved on Grid'5000, and where. Read and checked without its API."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from enos_crdb.config.base import Section

TIMEZONE = ZoneInfo("Europe/Paris")
"""In which Grid'5000 reads and writes dates."""

SHORTEST_WALLTIME_S = 300
OLDEST_ENVIRONMENT = 2016011914  # EnOSlib's bound
SERVER = re.compile(r"(?P<cluster>[a-z][a-z0-9]*)-[0-9]+\.(?P<site>[a-z][a-z0-9]*)\.grid5000\.fr")

MAY_CHANGE = frozenset({"jump", "key"})
"""Keys of the section that may change while its hosts live; the others decide which hosts there are."""


def _name(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9]*", value):
        raise ValueError(f"'{value}' is not a name of Grid'5000: those are lower case letters and digits")
    return value


def _server(value: str) -> str:
    if not SERVER.fullmatch(value):
        raise ValueError(f"'{value}' is not the name of a server; write it like paradoxe-12.rennes.grid5000.fr")
    return value


def _walltime(value: object) -> object:
    """``HH:MM:SS``; YAML reads 10:00:00 without quotes as a number of seconds."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return value
    if isinstance(value, str):
        parts = re.fullmatch(r"(\d{1,3}):([0-5]\d):([0-5]\d)", value)
        if not parts:
            raise ValueError(f"'{value}' is not a walltime; write hours, minutes and seconds, like \"02:00:00\"")
        value = int(parts[1]) * 3600 + int(parts[2]) * 60 + int(parts[3])
    if value < SHORTEST_WALLTIME_S:
        raise ValueError(
            f"{value} seconds are too short for a deployment; write hours, minutes and seconds in quotes, "
            'like "02:00:00"'
        )
    return f"{value // 3600:02d}:{value % 3600 // 60:02d}:{value % 60:02d}"


def _reservation(value: object) -> object:
    """``YYYY-MM-DD HH:MM:SS``; without quotes YAML makes a timestamp of it."""
    if isinstance(value, datetime):
        local = value.astimezone(TIMEZONE) if value.tzinfo else value
        return local.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, str | date):
        try:
            datetime.strptime(str(value), "%Y-%m-%d %H:%M:%S")
        except ValueError:
            raise ValueError(
                f"'{value}' is not a date with a time; write it like \"2026-12-01 19:00:00\" (French time)"
            ) from None
    return value


def _job_type(value: str) -> str:
    if value == "deploy":
        raise ValueError("'deploy' is decided by `env_name`: name the environment, and leave the type out")
    if not re.fullmatch(r"[A-Za-z0-9_=.,:-]+", value):
        raise ValueError(f"'{value}' is not a type of OAR's jobs")
    return value


def _jump(value: object) -> object:
    if value not in ("auto", True, False):
        raise ValueError(f"{value!r} is not allowed; it must be auto, true or false")
    return value


def _env_version(value: int) -> int:
    if value <= OLDEST_ENVIRONMENT:
        raise ValueError(f"{value} is not the version of an environment: they are dates, like 2024031216")
    return value


Name = Annotated[str, AfterValidator(_name)]
EnvVersion = Annotated[int, AfterValidator(_env_version)]
Server = Annotated[str, AfterValidator(_server)]
Walltime = Annotated[str, BeforeValidator(_walltime)]
Reservation = Annotated[str, BeforeValidator(_reservation)]
JobType = Annotated[str, AfterValidator(_job_type)]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=30)]


def _one_source(cluster: str | None, servers: Sequence[str], site: str | None) -> None:
    """Raise `ValueError` unless `servers` are of one cluster (EnOSlib asks for that) and of `site`."""
    if cluster and servers:
        raise ValueError("`cluster` and `servers` exclude each other: named servers are on a cluster already")
    if len(set(servers)) < len(servers):
        raise ValueError("`servers` names a server twice")
    found = sorted({(match["cluster"], match["site"]) for name in servers if (match := SERVER.fullmatch(name))})
    if len(found) > 1:
        raise ValueError(
            f"`servers` are of several clusters ({', '.join('/'.join(pair[::-1]) for pair in found)}); "
            "give each cluster an entry of `places`"
        )
    if found and site and found[0][1] != site:
        raise ValueError(f"`servers` are at {found[0][1]}, but `site` is {site}; leave `site` out, or correct one")


class Place(Section):
    """Where the hosts with a certain ``site`` label are on Grid'5000."""

    site: Name | None = None
    """Site of Grid'5000; by default the servers' site, or ``g5k.site``."""
    cluster: Name | None = None
    """Cluster, whose free nodes are taken."""
    servers: list[Server] = []
    """Nodes to use instead of a cluster, taken in this order."""

    @model_validator(mode="after")
    def _one_place(self) -> Place:
        _one_source(self.cluster, self.servers, self.site)
        if not (self.cluster or self.servers):
            raise ValueError("a place needs `cluster` or `servers`")
        return self


class G5kNetworks(Section):
    """Which kind of network of Grid'5000 serves as ``control`` and as ``database``."""

    control: Literal["prod"] = "prod"
    """The production network, through which nodes are reached."""
    database: Literal["prod", "kavlan", "kavlan-local", "kavlan-global"] = "prod"
    """The production network, or a VLAN on the second network card: routed (``kavlan``), isolated (``kavlan-local``),
    or across sites (``kavlan-global``)."""


class G5k(Section):
    """Grid'5000: nodes reserved through OAR, with the standard system or one that kadeploy installs."""

    site: Name | None = None
    """Site of ``cluster``."""
    cluster: Name | None = None
    """Cluster of the hosts whose site label is not in ``places``."""
    servers: list[Server] = []
    """Nodes to use instead of a cluster, taken in this order."""
    reservable_disks: bool = False
    """Also reserve the additional disks of the nodes."""
    places: dict[str, Place] = {}
    """Where the hosts are, by the ``site`` label of ``machines``."""
    walltime: Walltime = "02:00:00"
    """How long the nodes are reserved, ``HH:MM:SS``."""
    queue: Literal["default", "production", "besteffort", "testing", "admin"] = "default"
    """Queue of OAR."""
    project: Word | None = None
    """Group that the usage is charged to; required when the account has several."""
    reservation: Reservation | None = None
    """Start of the reservation, ``YYYY-MM-DD HH:MM:SS`` (French time); by default as soon as possible."""
    job_name: Word = "enos_crdb"
    """First part of the jobs' names."""
    job_type: list[JobType] = []
    """Additional job types, for instance ``night`` or ``exotic``."""
    env_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")] | None = None
    """Environment that kadeploy installs on the nodes; by default they keep the standard one, which is faster."""
    env_version: EnvVersion | None = None
    """Version of the environment, like 2024031216; by default the latest."""
    key: str | None = None
    """File with the public key for the deployed system; by default all public keys in ``~/.ssh``."""
    networks: G5kNetworks = G5kNetworks()
    """Which kind of network serves as ``control`` and as ``database``."""
    reuse: dict[Name, Annotated[int, Field(gt=0)]] = {}
    """Running jobs to use instead of new ones, by site. ``destroy`` does not end them."""
    jump: Annotated[Literal["auto", True, False], BeforeValidator(_jump)] = "auto"
    """Whether ssh goes through access.grid5000.fr. With ``auto``, it does unless this machine is in Grid'5000."""

    @model_validator(mode="after")
    def _the_options_fit_each_other(self) -> G5k:
        _one_source(self.cluster, self.servers, self.site)
        if self.cluster and not self.site:
            raise ValueError(f"`site` is missing: say at which one the cluster '{self.cluster}' is")
        if self.env_version and not self.env_name:
            raise ValueError("`env_version` is the version of `env_name`, which is missing")
        if self.networks.database != "prod" and not self.env_name:
            raise ValueError(
                f"`networks.database: {self.networks.database}` needs a deployed system; give `env_name` "
                "(debian12-min, for instance)"
            )
        if self.reuse and self.reservation:
            raise ValueError("`reuse` takes jobs that run already; leave `reservation` out")
        return self

    @property
    def walltime_s(self) -> int:
        hours, minutes, seconds = map(int, self.walltime.split(":"))
        return hours * 3600 + minutes * 60 + seconds
