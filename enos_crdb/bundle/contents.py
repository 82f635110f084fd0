"""What goes into a bundle: the files that reports and tables are made of, never credentials."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from enos_crdb import loading
from enos_crdb.errors import StateError
from enos_crdb.loading import StoredCampaign
from enos_crdb.masking import to_mask
from enos_crdb.store import CAMPAIGNS, read_json

OF_RUN: tuple[str, ...] = (
    "manifest.json",
    "summary.csv",
    "samples.csv",
    "rally/*.json",
    "hosts/*/versions.json",
    "hosts/*/usage.csv",
    "hosts/*/counters/*.json",
    "hosts/*/keystone_counters/*.json",
    "hosts/*/files/**/*",
)
"""Files of a run. Journals and Rally's HTML and log stay: they are large, and nothing is computed from them."""
OF_CAMPAIGN: tuple[str, ...] = ("campaign.json", "journal.jsonl", "report.html", "figures/*", "tables/*")
NEVER = re.compile(r"secrets\.json|clouds\.yaml|openrc|env.*\.json|rally\.conf|.*\.(key|pem|p12)|\..*")
"""Names of files that are left out wherever they are: credentials, keys, Rally's environment, what is half written."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """``files``: path in the archive -> file. ``secrets``: what must not be in any of them."""

    name: str
    files: Mapping[str, Path]
    campaigns: tuple[StoredCampaign, ...]
    runs: tuple[Path, ...]
    secrets: tuple[str, ...]


def gather(results: Path, wanted: Sequence[str]) -> Contents:
    """What a bundle of `wanted` holds: campaigns, deployments or runs, by path or by name below `results`.

    By default the newest campaign. Raises `StateError` when one of them is not there, or when they belong to different
    results directories.
    """
    places = [loading.named(results, name) for name in wanted] or [_newest(results)]
    campaigns = tuple(loading.campaign(place) for place in places if (place / "campaign.json").exists())
    runs = sorted({run.resolve() for place in places for run in loading.directories(place)})
    deployments = sorted({run.parent.parent for run in runs})
    roots = {deployment.parent for deployment in deployments} | {one.results for one in campaigns}
    if len(roots) != 1:
        raise StateError("what is bundled together must be in one results directory; make a bundle of each.")
    (root,) = roots
    files = [path for one in campaigns for path in _matching(one.directory, OF_CAMPAIGN)]
    files += [deployment / "deployment.json" for deployment in deployments]
    files += [path for run in runs for path in _matching(run, OF_RUN)]
    return Contents(
        name=places[0].name,
        files={path.relative_to(root).as_posix(): path for path in files if path.is_file()},
        campaigns=campaigns,
        runs=tuple(runs),
        secrets=to_mask(secret for place in deployments for secret in _secrets(place)),
    )


def _newest(results: Path) -> Path:
    found = [path.parent for path in results.glob(f"{CAMPAIGNS}/*/campaign.json")]
    if not found:
        raise StateError(f"there is no campaign in {results}.\nName a run or a deployment: `enos_crdb bundle RUN`.")
    return max(found, key=lambda path: (str(read_json(path / "campaign.json").get("created_at")), path.name)).resolve()


def _matching(directory: Path, globs: Sequence[str]) -> Iterator[Path]:
    for pattern in globs:
        for path in sorted(directory.glob(pattern)):
            parts = path.relative_to(directory).parts
            if path.is_file() and not path.is_symlink() and not any(NEVER.fullmatch(part) for part in parts):
                yield path


def _secrets(deployment: Path) -> Iterator[str]:
    """Every generated password and key."""
    path = deployment / "secrets.json"
    yield from read_json(path).values() if path.exists() else ()
