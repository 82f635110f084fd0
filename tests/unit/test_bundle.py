"""Bundles: the same bytes, whole, without secrets, and good for a report and a repetition."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from benchmarks import synthetic
from enos_crdb import bundle, loading
from enos_crdb.cli.commands import cli
from enos_crdb.errors import StateError
from enos_crdb.sweep import load as load_experiment

SECRET = "not-a-real-password-postgresql-0-1"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every test gets a copy of."""
    root = tmp_path_factory.mktemp("results")
    combinations = synthetic.grid(("postgresql",), (0.0, 10.0))
    synthetic.write_campaign(root, combinations=combinations, runs=2, iterations=10, refused=1)
    return root


@pytest.fixture
def results(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "results")


def packed(results: Path, name: str = "bundle.tar.gz", *wanted: str) -> Path:
    path = results.parent / name
    bundle.pack(bundle.gather(results, wanted), path)
    return path


def unpacked(path: Path) -> Path:
    target = path.parent / "elsewhere"
    with tarfile.open(path) as archive:
        archive.extractall(target, filter="data")
    (found,) = target.iterdir()
    return found


def first_run(results: Path) -> Path:
    return loading.runs(results)[0].directory


def test_twice_the_same_bytes(results: Path) -> None:
    first = packed(results, "one.tar.gz").read_bytes()
    for path in results.rglob("*"):
        path.touch()
    assert packed(results, "another.tar.gz").read_bytes() == first


@pytest.mark.filterwarnings("ignore:1 runs left out")
def test_what_was_packed_loads_elsewhere(results: Path) -> None:
    before = loading.load(results)
    place = unpacked(packed(results))
    shutil.rmtree(results)
    after = loading.load(place)
    assert after.equals(before)
    assert len(after.attrs["skipped"]) == 1
    points, missing = loading.points(loading.runs(place), after)
    assert (len(points), missing) == (4, ())


def test_the_experiment_can_be_planned_again(results: Path) -> None:
    place = unpacked(packed(results))
    (path,) = place.glob("campaigns/*/experiment.yaml")
    again = load_experiment(path)
    assert again.experiment == "synthetic"
    assert set(again.factors) == {"backend", "delay_ms"}


def test_no_secret_is_in_it(results: Path) -> None:
    run = first_run(results)
    for name in ("secrets.json", "clouds.yaml", "openrc"):
        (run.parent.parent / name).write_text(json.dumps({"keystone_admin_password": SECRET}))
    (run / "rally").mkdir()
    (run / "rally" / "env-rally-1.json").write_text(SECRET)
    (run / "rally" / "01-authenticate.json").write_text(json.dumps({"error": f"401 for {SECRET}"}))
    (run / "hosts" / "keystone-1" / "files").mkdir()
    (run / "hosts" / "keystone-1" / "files" / "keystone.key").write_text("private")
    (run / "hosts" / "keystone-1" / "files" / "keystone.conf").write_text(f"connection = x://{SECRET}@h")
    path = results.parent / "b.tar.gz"
    made = bundle.pack(bundle.gather(results, ()), path)
    content = gzip.decompress(path.read_bytes())
    assert SECRET.encode() not in content
    assert b"401 for ********" in content
    assert [Path(name).name for name in made.masked] == ["keystone.conf", "01-authenticate.json"]
    with tarfile.open(path) as archive:
        names = [Path(name).name for name in archive.getnames()]
    assert "01-authenticate.json" in names
    assert not {"secrets.json", "clouds.yaml", "openrc", "env-rally-1.json", "keystone.key"} & set(names)


def test_a_secret_that_masking_missed_stops_the_bundle(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The finished archive is searched by itself: nothing is trusted to have been masked."""
    (first_run(results) / "summary.csv").write_text(f"password,{SECRET}\n")
    contents = bundle.gather(results, ())
    monkeypatch.setattr("enos_crdb.bundle.archive._cleaned", lambda content, secrets: content)
    with pytest.raises(StateError, match=r"was not made: .*summary.csv would hold a password"):
        bundle.pack(contents, results.parent / "b.tar.gz")
    assert [path.name for path in results.parent.iterdir()] == ["results"]


def test_links_are_not_followed(results: Path) -> None:
    outside = results.parent / "private.json"
    outside.write_text("{}")
    (first_run(results) / "rally").mkdir()
    (first_run(results) / "rally" / "link.json").symlink_to(outside)
    assert not any("link.json" in name for name in bundle.gather(results, ()).files)


# Checking


def test_a_bundle_is_whole_packed_and_unpacked(results: Path) -> None:
    path = packed(results)
    place = unpacked(path)
    assert bundle.check(path).files == bundle.check(place).files
    (place / "report.html").write_text("made afterwards")
    bundle.check(place)


def test_what_was_changed_or_is_missing_is_named(results: Path) -> None:
    place = unpacked(packed(results))
    (place / "README.md").write_text("other")
    (manifest, other, *_) = sorted(place.rglob("manifest.json"))
    manifest.unlink()
    with pytest.raises(StateError) as told:
        bundle.check(place)
    assert f"missing: {manifest.relative_to(place)}" in str(told.value)
    assert "changed: README.md" in str(told.value)
    assert other.name not in str(told.value).replace(str(manifest.relative_to(place)), "")


@pytest.mark.parametrize("spoil", [lambda data: data[:-500], lambda data: b"PK" + data, lambda data: b""])
def test_a_torn_archive_is_said_to_be_one(results: Path, spoil: Any) -> None:
    path = packed(results)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(StateError, match="torn, or no bundle"):
        bundle.check(path)


def test_an_archive_that_leads_outside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "x", "b/../../x")
    with pytest.raises(StateError, match="which no bundle does"):
        bundle.check(tmp_path / "b.tar.gz")


def test_checksums_are_those_that_sha256sum_reads(results: Path) -> None:
    place = unpacked(packed(results))
    lines = (place / "checksums.sha256").read_text().splitlines()
    assert all(re.fullmatch(r"[0-9a-f]{64}  [^ /].*", line) for line in lines)
    files = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert {line[66:] for line in lines} == files - {"checksums.sha256"}


# What it says of itself


def test_the_crate_describes_every_file_once(results: Path) -> None:
    place = unpacked(packed(results))
    crate = json.loads((place / "ro-crate-metadata.json").read_text())
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(entities) == len(crate["@graph"])
    assert entities["ro-crate-metadata.json"]["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    root = entities["./"]
    assert root["datePublished"] == "2026-11-22"
    assert root["license"] == {"@id": "https://spdx.org/licenses/CC-BY-4.0"}
    assert entities[root["author"][0]["@id"]]["name"] == "Nobody Inparticular"
    parts = {part["@id"] for part in root["hasPart"]}
    files = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert parts == files - {"ro-crate-metadata.json"}
    assert all(entities[part]["@type"] == "File" for part in parts)
    referred = re.findall(r'\{"@id": "([^"]+)"\}', json.dumps(crate["@graph"]))
    assert {name for name in referred if not name.startswith("https://w3id.org")} <= entities.keys()


def test_the_citation_has_what_its_schema_asks_for(results: Path) -> None:
    place = unpacked(packed(results))
    citation = yaml.safe_load((place / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "dataset"
    assert citation["authors"] == [
        {"name": "Nobody Inparticular", "orcid": "https://orcid.org/0000-0002-1825-0097"},
    ]
    assert (citation["license"], citation["date-released"]) == ("CC-BY-4.0", "2026-11-22")
    assert "doi" not in citation


def test_a_doi_is_said_in_both(results: Path) -> None:
    (path,) = results.glob("campaigns/*/campaign.json")
    document = json.loads(path.read_text())
    document["experiment"]["doi"] = "https://doi.org/10.5281/zenodo.1"
    path.write_text(json.dumps(document))
    place = unpacked(packed(results))
    assert yaml.safe_load((place / "CITATION.cff").read_text())["doi"] == "10.5281/zenodo.1"
    assert '"identifier": "https://doi.org/10.5281/zenodo.1"' in (place / "ro-crate-metadata.json").read_text()


def test_what_is_synthetic_says_so_first(results: Path) -> None:
    text = (unpacked(packed(results)) / "README.md").read_text()
    assert "nothing was measured" in text.splitlines()[2]


def test_runs_without_a_campaign_have_a_bundle_too(results: Path) -> None:
    run = first_run(results)
    place = unpacked(packed(results, "run.tar.gz", run.name))
    assert [one.name for one in loading.find(place).runs] == [run.name]
    assert "No licence was given" in (place / "ro-crate-metadata.json").read_text()
    assert "Licence: not given" in (place / "README.md").read_text()


# The command


def call(*arguments: str) -> Any:
    return CliRunner().invoke(cli, arguments, catch_exceptions=True)


def test_the_newest_campaign_is_packed_by_default(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older = results / "campaigns" / "older-20200101T000000Z"
    older.mkdir()
    (campaign,) = (path for path in (results / "campaigns").iterdir() if path != older)
    document = json.loads((campaign / "campaign.json").read_text())
    (older / "campaign.json").write_text(json.dumps({**document, "created_at": "2020-01-01T00:00:00"}))
    monkeypatch.chdir(results.parent)
    answer = call("--results", str(results), "bundle")
    assert answer.exit_code == 0, answer.output
    path = results.parent / f"{campaign.name}.tar.gz"
    assert call("bundle", "--check", str(path)).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing-of-that-name"], "is called 'nothing-of-that-name': no run, deployment or campaign"),
        (["--check", "results", "x"], "give nothing else with it"),
        (["--check", "results"], "is no bundle"),
        (["--output", "absent/b.tar.gz"], "there is no directory absent"),
    ],
)
def test_mistakes_are_named(results: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
    monkeypatch.chdir(results.parent)
    answer = call("--results", "results", "bundle", *arguments)
    assert message in str(answer.exception)


def test_an_empty_store_is_said_to_be_empty(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="there is no campaign"):
        bundle.gather(tmp_path, ())


@pytest.mark.deep
def test_the_commands_of_the_readme_work_where_it_is(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = unpacked(packed(results))
    shutil.rmtree(results)
    monkeypatch.chdir(place)
    code = re.findall(r"^    enos_crdb (.*?)(?:     #.*)?$", (place / "README.md").read_text(), flags=re.MULTILINE)
    assert [line.split()[0] for line in code] == ["--results", "campaign"]
    for line in code:
        answer = call(*line.split(), *(["--dry-run"] if line.startswith("campaign") else []))
        assert answer.exit_code == 0, answer.output
    assert list(place.glob("campaigns/*/report.html"))
    bundle.check(place)


@pytest.mark.parametrize("spoilt", [False, True], ids=["whole", "spoilt"])
def test_the_other_programs_of_the_readme_do_what_they_are_said_to(results: Path, spoilt: bool) -> None:
    place = unpacked(packed(results))
    if spoilt:
        next(place.glob("*/runs/*/samples.csv")).write_text("changed")
    text = (place / "README.md").read_text()
    (check,) = re.findall(r"^    (sha256sum [^#\n]*?)\s*(?:#.*)?$", text, flags=re.MULTILINE)
    done = subprocess.run(["sh", "-c", check], cwd=place, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is not spoilt, done.stderr
    assert "No such file" not in done.stderr
