"""What Keystone needs on CockroachDB, and on every database that asks for a transaction to be repeated.

Nothing happens at import: keystone.conf alone decides what is used. See README.md.
"""

from __future__ import annotations

from keystone_crdb.groups import GROUPS

__version__ = "1.0.0"

__all__ = ["GROUPS", "__version__"]
