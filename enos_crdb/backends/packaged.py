"""What is the same for every backend that comes from the distribution's packages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from enos_crdb.backends.contract import EACH, Reset
from enos_crdb.model import Resources


class Packaged:
    """Nothing to choose at installation, no certificates, nothing to export but files."""

    exports: bool = False
    resets: Reset = EACH

    def installation(self, options: object) -> dict[str, Any]:
        return {}

    def new_secrets(self, options: object, resources: Resources, secrets: Mapping[str, str]) -> dict[str, str]:
        return {}
