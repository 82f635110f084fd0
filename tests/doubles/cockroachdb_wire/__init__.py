"""A double of CockroachDB's SQL interface: a real PostgreSQL behind a proxy.

It announces a version of CockroachDB, refuses what that version refuses (`rules.RULES`, each with its source), commits
before schema changes, translates what only CockroachDB understands, words errors as CockroachDB does, and injects
faults from a seed. The stand-in for the executable, `tests.doubles.standin`, has it in front of its PostgreSQL: what
one answers, the other does. It is a model, made from documentation: nothing it shows is a measurement of CockroachDB.

Python's standard library only, so that it runs on any host. Clients must use the simple query protocol, as psycopg2
and psql do.
"""

from __future__ import annotations

from .client import Client, Reply
from .double import Double
from .faults import KINDS, Faults
from .messages import Address, ConnectionEnded, Wire
from .rules import RULES, Refusal, Rule
from .session import Answer, Responder
from .statements import Statement
from .versions import DISTRIBUTION, Version

__all__ = [
    "DISTRIBUTION",
    "KINDS",
    "RULES",
    "Address",
    "Answer",
    "Client",
    "ConnectionEnded",
    "Double",
    "Faults",
    "Refusal",
    "Reply",
    "Responder",
    "Rule",
    "Statement",
    "Version",
    "Wire",
]
