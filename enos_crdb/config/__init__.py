"""The deployment file: what a user may write, and what is refused before anything is touched."""

from __future__ import annotations

from enos_crdb.config.document import Configuration
from enos_crdb.config.loading import check, load, override

__all__ = ["Configuration", "check", "load", "override"]
