"""Grid'5000, through EnOSlib."""

import enos_crdb.ansible  # noqa: F401  # sets Ansible up by the environment, which it reads when EnOSlib imports it
from enos_crdb.providers.g5k.provider import Grid5000

__all__ = ["Grid5000"]
