"""OpenStack's control plane on a geo-distributed SQL database: deploy, bench, measure."""

from __future__ import annotations

__version__ = "0.1.0"
