"""What hosts need below the stand-in for CockroachDB's executable."""

from __future__ import annotations

INSTALL = (
    "mkdir -p /etc/postgresql-common",
    "echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf",
    "apt-get -qq update",
    "DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends postgresql >/dev/null 2>&1",
)
"""PostgreSQL's programs without a server: the stand-in starts its own, on the node that is initialised."""
