"""A campaign, or some runs, as one archive that somebody else can check, report on and repeat."""

from enos_crdb.bundle.archive import Packed, check, pack
from enos_crdb.bundle.contents import Contents, gather

__all__ = ["Contents", "Packed", "check", "gather", "pack"]
