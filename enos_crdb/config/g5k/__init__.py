"""Grid'5000 in the deployment file: the section, and what it asks for. Without its API."""

from enos_crdb.config.g5k.request import Batch, Cost, batches, cost, job_name, misfits
from enos_crdb.config.g5k.section import MAY_CHANGE, TIMEZONE, G5k

__all__ = ["MAY_CHANGE", "TIMEZONE", "Batch", "Cost", "G5k", "batches", "cost", "job_name", "misfits"]
