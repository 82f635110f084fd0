"""What a bundle says of itself: README, RO-Crate 1.1, CITATION.cff, and the experiment to run again.

RO-Crate: https://www.researchobject.org/ro-crate/specification/1.1/. CITATION.cff: https://citation-file-format.github.io
(schema 1.2.0).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import yaml

import enos_crdb
from enos_crdb import record
from enos_crdb.bundle.contents import Contents
from enos_crdb.errors import StateError
from enos_crdb.record import RunRecord

CRATE = "ro-crate-metadata.json"
CITATION = "CITATION.cff"
README = "README.md"
SUMS = "checksums.sha256"
ENCODINGS = {".json": "application/json", ".jsonl": "application/jsonl", ".csv": "text/csv", ".html": "text/html"}


def documents(contents: Contents) -> dict[str, str]:
    """The texts that are added to a bundle, by their path in it; the checksums are not among them."""
    found = {
        f"campaigns/{one.directory.name}/experiment.yaml": experiment(one.document["experiment"])
        for one in contents.campaigns
    }
    described = _described(contents)
    return {
        **found,
        README: readme(contents, described),
        CITATION: citation(described),
        CRATE: crate(described, sorted([*contents.files, *found])),
    }


def experiment(document: Mapping[str, Any]) -> str:
    """The resolved experiment as `enos_crdb campaign` reads it."""
    text: str = yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=110)
    return f"# As it was run, with its configuration in it: enos_crdb campaign experiment.yaml\n{text}"


def _reported(contents: Contents) -> str:
    """What to name for a report of everything: the campaigns, or the deployments of runs that belong to none."""
    campaigns = [one.directory.name for one in contents.campaigns]
    return " ".join(campaigns or sorted({run.parent.parent.name for run in contents.runs}))


def _described(contents: Contents) -> dict[str, Any]:
    """Title, description, authors... of the first campaign's experiment, or what can be said of runs alone."""
    document = contents.campaigns[0].document if contents.campaigns else {}
    given = document.get("experiment", {})
    records = list(_records(contents))
    times = [moment for one in records for moment in (one.started_at, one.finished_at) if moment]
    code = document.get("provenance") or (asdict(records[0].provenance) if records else {})
    return {
        "title": given.get("title") or given.get("experiment") or contents.name,
        "description": given.get("description") or "Measurements of OpenStack Keystone, made with enos_crdb.",
        "authors": given.get("authors") or [],
        "licence": given.get("licence"),
        "doi": (given.get("doi") or "").removeprefix("https://doi.org/").removeprefix("doi:"),
        "keywords": given.get("keywords") or ["OpenStack", "Keystone", "benchmark"],
        "began": min(times, default=""),
        "ended": max(times, default=""),
        "version": code.get("enos_crdb") or enos_crdb.__version__,
        "commit": code.get("commit"),
        "synthetic": bool(document.get("synthetic")) or any(one.synthetic for one in records),
    }


def _records(contents: Contents) -> Iterator[RunRecord]:
    """Of the runs that can be read; what cannot is bundled as it is."""
    for run in contents.runs:
        with suppress(StateError):
            yield record.read(run)


def citation(described: Mapping[str, Any]) -> str:
    """CITATION.cff. Names are kept as they are written: which part of one is the family's is not ours to guess."""
    document = _given(
        {
            "cff-version": "1.2.0",
            "message": "If you use these data, please cite them as below.",
            "type": "dataset",
            "title": described["title"],
            "abstract": described["description"],
            "authors": [_given({"name": one["name"], "orcid": _orcid(one)}) for one in described["authors"]]
            or [{"name": "unknown"}],
            "doi": described["doi"],
            "license": described["licence"],
            "date-released": described["ended"][:10],
            "keywords": list(dict.fromkeys(described["keywords"])),
        }
    )
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
    return text


def crate(described: Mapping[str, Any], files: list[str]) -> str:
    """The RO-Crate: the data set, its files, authors, licence, and the program that made it."""
    parts = [_file(path) for path in [*files, README, CITATION, SUMS]]
    organisations = _organisations(described["authors"])
    people = [_person(number, one, organisations) for number, one in enumerate(described["authors"], 1)]
    licence = _licence(described["licence"])
    commit = f" (commit {described['commit']})" if described["commit"] else ""
    program = _entity("#enos_crdb", "SoftwareApplication", name="enos_crdb", version=f"{described['version']}{commit}")
    root = _entity(
        "./",
        "Dataset",
        name=described["title"],
        description=described["description"],
        datePublished=described["ended"][:10] or "1970-01-01",
        license=_reference(licence),
        keywords=", ".join(described["keywords"]),
        hasPart=[_reference(part) for part in parts],
        mentions={"@id": "#measurement"},
        author=[_reference(person) for person in people],
        identifier=f"https://doi.org/{described['doi']}" if described["doi"] else "",
    )
    measurement = _entity(
        "#measurement",
        "CreateAction",
        name="Drawn at random; nothing was measured" if described["synthetic"] else "Measurement",
        instrument=_reference(program),
        result=_reference(root),
        agent=[_reference(person) for person in people],
        startTime=described["began"],
        endTime=described["ended"],
    )
    itself = _entity(CRATE, "CreativeWork", conformsTo={"@id": "https://w3id.org/ro/crate/1.1"}, about=_reference(root))
    graph = [itself, root, *people, *organisations.values(), licence, measurement, program, *parts]
    text = {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph}
    return json.dumps(text, indent=1, ensure_ascii=False) + "\n"


def _entity(identifier: str, kind: str, /, **properties: Any) -> dict[str, Any]:
    """A node of the crate's graph, without the properties that nobody gave."""
    return {"@id": identifier, "@type": kind, **_given(properties)}


def _given(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in properties.items() if value}


def _reference(entity: Mapping[str, Any]) -> dict[str, str]:
    return {"@id": entity["@id"]}


def _organisations(authors: list[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    names = dict.fromkeys(one["affiliation"] for one in authors if one.get("affiliation"))
    return {name: _entity(f"#organisation-{number}", "Organization", name=name) for number, name in enumerate(names, 1)}


def _person(number: int, author: Mapping[str, Any], organisations: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    organisation = organisations.get(author.get("affiliation") or "")
    return _entity(
        _orcid(author) or f"#author-{number}",
        "Person",
        name=author["name"],
        affiliation=organisation and _reference(organisation),
    )


def _orcid(author: Mapping[str, Any]) -> str:
    return f"https://orcid.org/{author['orcid']}" if author.get("orcid") else ""


def _licence(name: str | None) -> dict[str, Any]:
    if name is None:
        description = "Ask the authors before you use these data."
        return _entity("#no-licence", "CreativeWork", name="No licence was given", description=description)
    return _entity(name if name.startswith("http") else f"https://spdx.org/licenses/{name}", "CreativeWork", name=name)


def _file(path: str) -> dict[str, Any]:
    kind = next((encoding for end, encoding in ENCODINGS.items() if path.endswith(end)), "text/plain")
    return _entity(path, "File", name=path.rpartition("/")[2], encodingFormat=kind)


def readme(contents: Contents, described: Mapping[str, Any]) -> str:
    """What it is and what to do with it."""
    code = described["version"] + (f", commit {described['commit']}" if described["commit"] else "")
    lines = [
        f"# {described['title']}",
        "",
        *(["**Synthetic: these numbers were drawn at random, nothing was measured.**", ""] * described["synthetic"]),
        described["description"],
        "",
        f"{len(contents.runs)} runs, {described['began'][:19]} to {described['ended'][:19]} UTC, enos_crdb {code}.",
        "",
        f"Authors: {', '.join(author['name'] for author in described['authors']) or 'not given'}",
        f"Licence: {described['licence'] or 'not given: ask the authors'}",
        *([f"DOI: {described['doi']}"] if described["doi"] else []),
        "",
        "## Use",
        "",
        "    sha256sum --check --quiet checksums.sha256     # or: enos_crdb bundle --check .",
        f"    enos_crdb --results . report {_reported(contents)}     # from these files alone",
        "    python -c 'import enos_crdb; print(enos_crdb.load(\".\").describe())'",
        *(
            f"    enos_crdb campaign campaigns/{one.directory.name}/experiment.yaml     # measure again"
            for one in contents.campaigns
        ),
        "",
        "## Files",
        "",
        "| | |",
        "| --- | --- |",
        "| `campaigns/*/campaign.json`, `journal.jsonl` | what was planned, and how each attempt ended |",
        "| `campaigns/*/experiment.yaml` | the experiment, complete, to run it again |",
        "| `<deployment>/deployment.json` | configuration and hosts of a deployment |",
        "| `<deployment>/runs/<run>/manifest.json` | what identifies a run: configuration, network, warnings |",
        "| `<deployment>/runs/<run>/samples.csv` | a row per iteration and action, in seconds |",
        "| `<deployment>/runs/<run>/rally/*.json` | Rally's own reports |",
        "| `<deployment>/runs/<run>/hosts/` | counters, CPU and memory, versions, configuration files of each host |",
        "",
        "Passwords and keys are replaced by `********`. `ro-crate-metadata.json` (RO-Crate 1.1) and `CITATION.cff` say",
        "the same for programs.",
        "",
    ]
    return "\n".join(lines)
