"""What OAR, the API and kadeploy say, each with its source."""

from __future__ import annotations

import json
from datetime import datetime
from zoneinfo import ZoneInfo

PARIS = ZoneInfo("Europe/Paris")

NOT_ENOUGH = "There are not enough resources for your request"
"""oar: OAR/IO.pm, add_micheline_job; the job asks for more than exists."""

BAD_RESOURCES = "Bad resource request ({})"
"""oar: OAR/IO.pm, add_micheline_job."""

NO_QUEUE = "queue {} does not exist"
"""oar3: tests of oarsub."""

CANNOT_RUN = "# Reservation not valid --> KO (This reservation cannot run)"
COULD_RUN = "# Reservation not valid --> KO (This reservation could run at {})"
"""oar: oarsub prints the answer of oar_meta_sched."""

TOO_OLD = "# Reservation not valid --> KO (Reservation too old)"
"""oar: oar_meta_sched; the words EnOSlib looks for."""

TOO_MANY_RESERVATIONS = "[ADMISSION RULE] Error: you cannot have more than 2 waiting advance reservations."
"""oar: rule 12 of the default admission rules."""

UNKNOWN_TYPE = "[ADMISSION RULE] Error: unknown job type: {}"
"""oar: default admission rules."""

ALREADY_KILLED = "Cannot frag {} ; This job was already killed."
"""oar: oardel."""

DATE_FORMAT = (
    "The job you are trying to submit is not valid: Syntax error in reservation start date, should at least match the "
    "format: 'YYYY-MM-DD hh:mm:ss'. Please see documentation for available date syntaxes."
)
"""g5k-api: Grid5000::Job#valid?."""

FORBIDDEN = "You are not authorized to access this resource"
NO_JOB = "Couldn't find OAR::Job with 'job_id'={}"
NO_NODES = "The deployment you are trying to submit is not valid: Nodes must be a non-empty list of node FQDN"
"""g5k-api: controllers and their specifications."""

UNAUTHORIZED = (
    '<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">\n<html><head>\n<title>401 Unauthorized</title>\n</head>'
    "<body>\n<h1>Unauthorized</h1>\n<p>This server could not verify that you are authorized to access the document "
    "requested.</p>\n</body></html>\n"
)
"""Apache, which stands in front of the API."""

WALLTIME = "[ADMISSION RULE] Error: Walltime too big for this job, it is limited to {} hours"
"""A published admission rule of a site with OAR."""

NO_ENVIRONMENT = "Cannot launch deployment: Invalid environment specification -- the environment {}::: does not exist"
"""g5k-api: specification of the controller of deployments."""

NO_RIGHTS = "Cannot launch deployment: You do not have sufficient rights to perform the operation on all the nodes"
"""kadeploy3: common/error.rb, in the words of g5k-api's controller of deployments."""

NOT_A_MEMBER = "[ADMISSION RULE] Error: {user} is not a member of the project {project}"
"""Made up: Grid'5000's own admission rules are not public."""


def from_oar(output: str, *, url: str, status: int = 400) -> str:
    """How the API passes on a refusal of OAR's own API (g5k-api: continue_if!; oar: oarapi.pl, "Bad query")."""
    title = "Bad query" if status == 400 else "Oar server error"
    body = json.dumps({"code": status, "title": title, "message": output + "\n"})
    return f"Request to {url} failed with status {status}: {body}"


def oar_date(timestamp: float) -> str:
    """A date in OAR's form, in the time of its servers."""
    return datetime.fromtimestamp(timestamp, PARIS).strftime("%Y-%m-%d %H:%M:%S")


def from_oar_date(text: str) -> float:
    """Seconds since the epoch of a date in OAR's form. Raises `ValueError`."""
    return datetime.strptime(text.strip(), "%Y-%m-%d %H:%M:%S").replace(tzinfo=PARIS).timestamp()
