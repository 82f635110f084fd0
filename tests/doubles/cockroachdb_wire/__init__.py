"""A double of CockroachDB's SQL interface: a real PostgreSQL behind a proxy.

It announces a version of CockroachDB, refuses what that version refuses (`rules.RULES`, each with its source), commits
before schema changes, translates what only CockroachDB understands, words errors as CockroachDB does, and injects
faults from a seed. It is a model, made from documentation: nothing it shows is a measurement of CockroachDB.

Python's standard library only, so that it runs on any host. Clients must use the simple query protocol, as psycopg2
and psql do.
"""

from __future__ import annotations

from .double import Address, Double, Tls
from .faults import KINDS, Faults
from .rules import RULES, Refusal, Rule
from .session import Answer, Responder
from .statements import Statement
from .versions import Version

__all__ = [
    "KINDS",
    "RULES",
    "Address",
    "Answer",
    "Double",
    "Faults",
    "Refusal",
    "Responder",
    "Rule",
    "Statement",
    "Tls",
    "Version",
]
