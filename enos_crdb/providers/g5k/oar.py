"""Why OAR refuses a job, and what to do about it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime

from enos_crdb.config.g5k import TIMEZONE
from enos_crdb.errors import ConfigurationError, EnosCrdbError, ProviderError

CHECK = "`enos_crdb check --env FILE` lists what is free, and when"


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What OAR's words (a regular expression) mean, and what to change. ``file``: the deployment file is wrong."""

    words: str
    meaning: str
    file: bool = False


REFUSALS = (
    Refusal(
        words=r"could run at (?P<date>[0-9-]{10} [0-9:]{8})",
        meaning="The nodes are taken at that time; OAR could give them at {date} (French time).\n"
        "Set g5k.reservation to that or later, ask for fewer hosts, or leave the date out to wait for free nodes.",
    ),
    Refusal(
        words=r"Reservation too old",
        meaning="The date of g5k.reservation has passed.\nGive a later one (French time), or leave it out to begin as "
        "soon as possible.",
        file=True,
    ),
    Refusal(
        words=r"start date",
        meaning='OAR does not understand g5k.reservation.\nWrite it like "2026-12-01 19:00:00" (French time).',
        file=True,
    ),
    Refusal(
        words=r"Reservation not valid",
        meaning="The nodes cannot be reserved for that time.\n"
        f"{CHECK}; set g5k.reservation to another date, or ask for fewer hosts.",
    ),
    Refusal(
        words=r"within given time window",
        meaning="The sites have no common time for all hosts within a day.\n"
        f"{CHECK}; ask for fewer hosts, other clusters, or set g5k.reservation to a night or a week-end.",
    ),
    Refusal(
        words=r"not enough resources",
        meaning="There are not so many nodes: some are broken, belong to another queue, or are fewer than asked for.\n"
        f"{CHECK}. Ask for fewer with machines.N.count, or choose another g5k.cluster or g5k.queue.",
    ),
    Refusal(
        words=r"Walltime too big",
        meaning="The queue does not allow such a long job.\nShorten g5k.walltime, or choose the time with "
        "g5k.reservation (nights and week-ends allow more).",
        file=True,
    ),
    Refusal(
        words=r"Bad resource request",
        meaning="OAR does not know a property that the request names: reservable disks or a kind of VLAN that the site "
        "does not have.\nCheck g5k.reservable_disks, g5k.networks.database and the names of clusters.",
        file=True,
    ),
    Refusal(
        words=r"unknown job type",
        meaning="OAR does not know one of the job's types.\nCorrect g5k.job_type.",
        file=True,
    ),
    Refusal(
        words=r"cannot have more than",
        meaning="You have as many jobs or advance reservations there as OAR allows.\nEnd one (`oarstat -u` and "
        "`oardel` on the site's frontend), or leave g5k.reservation out.",
    ),
    Refusal(
        words=r"queue .* does not exist",
        meaning="There is no such queue.\nChange g5k.queue.",
        file=True,
    ),
)
"""Words from the sources of OAR, its published admission rules, the API and EnOSlib. The first that matches counts."""

KADEPLOY = (
    Refusal(
        words=r"Invalid environment specification",
        meaning="kadeploy does not have the environment, or not for this kind of node.\nCorrect g5k.env_name (and "
        "g5k.env_version): `kaenv3 -l` on the site's frontend lists them.",
        file=True,
    ),
    Refusal(
        words=r"do not have sufficient rights",
        meaning="The nodes may not be installed by you: the job is over, or is not of type 'deploy'.\n"
        "`enos_crdb destroy`, then deploy again.",
    ),
)
"""The same for kadeploy, in the words that the API passes on."""

_NOISE = r"\[ADMISSION RULE\] (Set default|Modify resource|Add)|Generate a job key|OAR_JOB_ID=|Oarsub failed"


def refused(text: str, doing: str) -> EnosCrdbError:
    """The error for a job that OAR did not take; `text` is what it said."""
    said = words(text)
    first = f"Grid'5000 refused {doing}: {said}"
    for refusal in REFUSALS:
        if match := re.search(refusal.words, said):
            kind = ConfigurationError if refusal.file else ProviderError
            return kind(f"{first}.\n{refusal.meaning.format(**match.groupdict())}")
    return ProviderError(
        f"{first}.\nThese are OAR's words. What a job may ask for: https://www.grid5000.fr/w/Grid5000:UsagePolicy."
    )


def undeployed(text: str) -> EnosCrdbError | None:
    """The error for an installation that kadeploy did not begin, if its words are known."""
    for refusal in KADEPLOY:
        if re.search(refusal.words, text):
            kind = ConfigurationError if refusal.file else ProviderError
            return kind(f"Grid'5000 did not install the nodes: {words(text)}.\n{refusal.meaning}")
    return None


def refused_until(date: datetime, doing: str) -> EnosCrdbError:
    """The same for a date that OAR offers instead."""
    local = date.astimezone(TIMEZONE).strftime("%Y-%m-%d %H:%M:%S")
    return refused(f"This reservation could run at {local}", doing)


def words(text: str) -> str:
    """OAR's own sentence in what the API made of it (text around JSON, or a page of a server in front of it)."""
    if title := re.search(r"<title>(.*?)</title>", text, flags=re.DOTALL):
        return " ".join(title[1].split())
    if found := re.findall(r'"message"\s*:\s*("(?:[^"\\]|\\.)*")', text):
        try:
            text = json.loads(found[-1])
        except ValueError:
            text = found[-1]
    lines = [re.sub(r"^[#\s]*|\s+$", "", line) for line in text.splitlines()]
    kept = [re.sub(r"^\[ADMISSION RULE\] (Error ?: ?)?", "", line) for line in lines if not re.match(_NOISE, line)]
    return " ".join(line for line in kept if line).rstrip(".") or "it gave no reason"
