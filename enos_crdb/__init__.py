"""OpenStack's control plane on a geo-distributed SQL database: deploy, bench, measure."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pandas

__version__ = "0.1.0"

# EnOSlib imports python-vagrant whatever the provider; that warns of a missing Vagrant when it is imported, on stderr
# when nobody listens. Where Vagrant is asked for, its provider says what is missing.
logging.getLogger("vagrant").addHandler(logging.NullHandler())


def load(path: str | Path) -> pandas.DataFrame:
    """All samples of a run, a deployment, a campaign or a results directory as one table; see `loading.load`."""
    # By name: this module is below all others, and importing the package must not import pandas.
    table: pandas.DataFrame = import_module("enos_crdb.loading").load(path)
    return table
