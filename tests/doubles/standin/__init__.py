"""A stand-in for the executable ``cockroach``: its commands in front of a PostgreSQL, for tests on machines without it.

It is no CockroachDB and says so: ``cockroach version`` prints the distribution of `DISTRIBUTION`, and nothing that is
measured with it can be reported. What it keeps of CockroachDB is what the Ansible role meets, each with its source:

- ``start`` reports READY once it listens, before the cluster is initialised (cockroachdb/cockroach pkg/cli/start.go:
  ``ReadyFn``; pkg/server/server.go: ``onSuccessfulReturnFn`` is called before ``node.start``);
- ``/health?ready=1`` answers 503 ``node is waiting for cluster initialization`` until then (pkg/server/admin.go);
- ``init`` a second time: ``cluster has already been initialized`` (pkg/server/init.go: ``ErrClusterInitialized``);
- nodes join through ``--join``, get an id in the order of joining, and keep it in their store
  (docs: cockroach-start, "Join the cluster"; cockroach-init);
- keys that others may read are refused (pkg/security: ``key file … has permissions …, exceeds …``), and so are
  certificates of another CA, without the host's address, or with another name than ``node`` (docs: cockroach-cert);
- a client is who its certificate says (docs: authentication, "client certificate": the CN is the user);
- ``node status`` and its columns (pkg/cli/node.go; docs: cockroach-node).

Its SQL is that of `tests.doubles.cockroachdb_wire`: who may log in, what is refused, what errors say. Only what the
cluster knows of itself (settings, zones, regions, nodes) is answered here.

What it does not have: replication (one PostgreSQL, on the node that was initialised; without that node there is no
SQL), ranges, leases, BACKUP, cancel requests. Answers about those are made up and marked `MADE_UP`.
"""

from __future__ import annotations

from tests.doubles.cockroachdb_wire import DISTRIBUTION

__all__ = ["DISTRIBUTION", "MADE_UP", "Stopped"]

MADE_UP = "made up by the stand-in"
"""Stands in every answer that has no real data behind it."""


class Stopped(Exception):
    """A node cannot start or go on; the message is its last word."""
