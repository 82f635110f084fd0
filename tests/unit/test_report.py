"""The page: from a store of synthetic runs to HTML, figures and tables, twice the same."""

from __future__ import annotations

import csv
import html.parser
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest

from benchmarks.synthetic import Synthetic, grid, write_campaign
from enos_crdb import report
from enos_crdb.errors import StateError
from enos_crdb.report import drawing, opening, page, parts
from enos_crdb.report.contents import compose
from enos_crdb.report.figures import Distribution, distributions
from enos_crdb.report.material import Material
from enos_crdb.report.published import study

SCENARIOS = ("keystone/authenticate", "keystone/create-user")
STUDIED = "keystone/create-and-list-users"
VOID = frozenset(("meta", "br", "wbr", "img", "link", "hr", "input"))


class Tree(html.parser.HTMLParser):
    """Every element, its attributes and text; complains of tags that do not match."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.problems: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


def read(place: Path) -> Tree:
    tree = Tree()
    tree.feed((place / "report.html").read_text(encoding="utf-8"))
    assert not tree.problems
    assert not tree.open
    return tree


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two backends, two delays, two runs of each; one run refused, one attempt failed."""
    return write_campaign(
        tmp_path_factory.mktemp("results"),
        combinations=grid(delays_ms=(0.0, 50.0)),
        runs=2,
        iterations=40,
        scenarios=SCENARIOS,
        failure_share=0.1,
        refused=1,
        failed=1,
    )


@pytest.fixture(scope="module")
def written(campaign: Path) -> Path:
    """The directory with its report."""
    report.write(report.collect([campaign]), campaign)
    return campaign


@pytest.fixture(autouse=True)
def drawn_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The campaign's page has its PDFs; the pages of other tests do without: half the time goes into them."""
    request.getfixturevalue("written")
    if request.node.get_closest_marker("deep") is None:
        monkeypatch.setattr("enos_crdb.report.drawing.pdf", lambda _: b"%PDF-")


@pytest.fixture(scope="module")
def material(written: Path) -> Material:
    """What the report was made of."""
    return report.collect([written])


def one_run(root: Path, **given: Any) -> Path:
    """The directory of the only run of a store."""
    arguments: dict[str, Any] = {"combinations": [Synthetic()], "runs": 1, "iterations": 30, "scenarios": SCENARIOS}
    write_campaign(root, **{**arguments, **given})
    (run,) = root.glob("*/runs/*")
    return run


def anchors(material: Material, place: Path) -> dict[str, Any]:
    return {section.anchor: section for section in compose(material, place).sections if section.parts}


def warnings(material: Material, place: Path) -> list[str]:
    return [line for part in anchors(material, place)["warnings"].parts for line in part.lines]


def test_it_is_one_well_formed_page_that_needs_nothing_else(written: Path) -> None:
    tree = read(written)
    assert not [tag for tag, _ in tree.elements if tag in ("script", "link", "img", "iframe", "object", "embed")]
    text = (written / "report.html").read_text(encoding="utf-8")
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'<)]*", text))
    assert all(address.startswith(("https://orcid.org/", "https://doi.org/")) for address in addresses), addresses
    assert "@import" not in text
    assert "url(http" not in text


def test_identifiers_are_unique_and_every_reference_leads_somewhere(written: Path) -> None:
    tree = read(written)
    names = [attributes["id"] for _, attributes in tree.elements if "id" in attributes]
    assert parts.unique(names), sorted({name for name in names if names.count(name) > 1})[:5]
    for _, attributes in tree.elements:
        target = attributes.get("href", "")
        if target.startswith("#"):
            assert target[1:] in names
        elif target and "://" not in target:
            assert (written / target).exists(), target
    used = re.findall(r"url\(#([^)]+)\)", (written / "report.html").read_text(encoding="utf-8"))
    assert set(used) <= set(names)


@pytest.mark.deep
def test_the_same_store_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    def content(place: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(place)): path.read_bytes()
            for path in sorted([place / "report.html", *place.glob("figures/*"), *place.glob("tables/*")])
        }

    before, results = content(written), written.parent.parent
    others = {path: path.stat().st_mtime_ns for path in results.rglob("*") if path.is_file()}
    report.write(report.collect([written]), written)
    assert content(written) == before
    changed = {path.relative_to(written).parts[0] for path, at in others.items() if path.stat().st_mtime_ns != at}
    assert changed == {"report.html", "figures", "tables"}, "nothing else of the store is touched"


def test_every_figure_has_three_forms_and_every_table_two(written: Path) -> None:
    tree = read(written)
    figures = [a["id"].removeprefix("figure-") for tag, a in tree.elements if tag == "figure"]
    tables = [a["id"].removeprefix("table-") for tag, a in tree.elements if a.get("class") == "table"]
    assert len(figures) == sum(tag == "svg" for tag, _ in tree.elements)
    assert {path.name for path in written.glob("figures/*")} == {f"{n}{e}" for n in figures for e in (".svg", ".pdf")}
    assert {path.name for path in written.glob("tables/*")} == {f"{name}.csv" for name in tables}
    for path in written.glob("figures/*.pdf"):
        assert path.read_bytes().startswith(b"%PDF")
        assert b"CreationDate" not in path.read_bytes()
    for path in written.glob("figures/*.svg"):
        assert path.read_text(encoding="utf-8").startswith("<?xml")


def test_every_section_of_a_campaign_is_there_warnings_first(written: Path, material: Material) -> None:
    found = list(anchors(material, written))
    assert found == [
        "warnings", "setting", "results", "effects", "distance", "model", "distributions", "network", "time",
        "counters", "actions", "order", "provenance",
    ]  # fmt: skip


def test_what_is_in_a_csv_is_what_the_page_shows(written: Path, material: Material) -> None:
    for section in compose(material, written).sections:
        for table in section.tables:
            with (written / "tables" / f"{table.name}.csv").open(encoding="utf-8", newline="") as stream:
                rows = list(csv.DictReader(stream))
            assert len(rows) == len(table.rows)
            for row, cells in zip(rows, table.cells(), strict=True):
                for column, cell in zip(table.columns, cells, strict=True):
                    same(column, row, cell)


def same(column: parts.Column, row: dict[str, str], cell: str) -> None:
    """A cell says what its columns of the CSV say, to the digits it shows."""
    values: list[Any] = [row[key] for key in column.keys]
    if not values[0]:
        assert cell == parts.NOTHING
    elif column.number:
        typed = [value == "yes" if value in ("yes", "no") else float(value) if value else None for value in values]
        whole = [int(value) if isinstance(value, float) and value.is_integer() else value for value in typed]
        assert cell in (column.show(*typed), column.show(*whole)), (column.title, values)
    else:
        assert cell == values[0]


def test_numbers_are_those_of_successful_iterations(written: Path, material: Material) -> None:
    with (written / "tables" / "results-authenticate.csv").open(encoding="utf-8", newline="") as stream:
        first = next(csv.DictReader(stream))
    runs = material.combinations[0].runs
    table = pandas.concat([pandas.read_csv(run.directory / "samples.csv") for run in runs])
    mine = table[(table["scenario"] == "keystone/authenticate") & (table["metric"] == "iteration")]
    good = mine[mine["outcome"] == "ok"]["value"]
    assert int(first["iterations"]) == len(mine)
    assert int(first["failed"]) == len(mine) - len(good) > 0
    assert float(first["p50_ms"]) == pytest.approx(1000 * good.median(), rel=1e-4)
    assert float(first["mean_ms"]) == pytest.approx(1000 * good.mean(), rel=1e-4)
    assert float(first["p50_ms_low"]) < float(first["p50_ms"]) < float(first["p50_ms_high"])


def test_refused_and_failed_attempts_are_told_and_not_counted(written: Path, material: Material) -> None:
    (left,) = [one for one in material.left if one.refused]
    assert left.directory.name not in {run.name for run in material.runs}
    assert len(material.runs) == 8
    first = anchors(material, written)["warnings"].parts[0]
    assert first.title == "Refused: measured, but not shown"
    assert left.directory.name in first.lines[0]
    assert "1 attempts of the campaign failed (hosts)" in read(written).text
    order = anchors(material, written)["order"].tables[0]
    assert [row["status"] for row in order.rows].count("refused") == 1
    assert [row["status"] for row in order.rows].count("failed") == 1


def test_a_run_that_failed_because_something_was_refused_was_not_measured(tmp_path: Path) -> None:
    """It is not the words of its message that tell."""
    campaign = write_campaign(tmp_path, combinations=[Synthetic()], runs=2, iterations=12, scenarios=SCENARIOS[:1])
    journal = campaign / "journal.jsonl"
    first, second = map(json.loads, journal.read_text().splitlines())
    second |= {"status": "failed", "cause": "load", "message": "Connection refused"}
    journal.write_text("".join(json.dumps(line) + "\n" for line in (first, second)))
    (left,) = report.collect([campaign]).left
    assert "Connection refused" in left.reason
    assert not left.refused


def test_synthetic_numbers_are_called_so(written: Path) -> None:
    assert "The numbers on this page were drawn at random" in read(written).text


def test_everything_from_the_store_is_escaped(tmp_path: Path) -> None:
    evil = "<script>alert('1')</script>&\"x"
    campaign = write_campaign(tmp_path, combinations=[Synthetic()], runs=1, iterations=12, scenarios=SCENARIOS)
    document = json.loads((campaign / "campaign.json").read_text())
    document["experiment"] |= {
        "title": evil, "description": evil, "authors": [{"name": evil, "affiliation": evil, "orcid": evil}],
        "licence": evil, "doi": evil, "keywords": [evil],
    }  # fmt: skip
    (campaign / "campaign.json").write_text(json.dumps(document))
    (run,) = tmp_path.glob("*/runs/*")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["warnings"] = [evil]
    manifest["scenarios"][0]["name"] = evil
    manifest["provenance"]["command"] = [evil]
    manifest["hosts"][0]["site"] = evil
    (run / "manifest.json").write_text(json.dumps(manifest))
    samples = (run / "samples.csv").read_text().replace("keystone/authenticate", '"' + evil.replace('"', '""') + '"')
    (run / "samples.csv").write_text(samples)
    report.write(report.collect([campaign]), campaign)
    tree = read(campaign)
    assert evil in tree.text
    assert not [tag for tag, _ in tree.elements if tag == "script"]
    assert "<script>alert" not in (campaign / "report.html").read_text()
    for path in campaign.glob("figures/*.svg"):
        assert "<script" not in path.read_text(encoding="utf-8")


def test_a_javascript_address_is_no_link(tmp_path: Path) -> None:
    assert str(page.linked("javascript:alert(1) https://doi.org/10.1/x, <b>")) == (
        'javascript:alert(1) <a href="https://doi.org/10.1/x">https://doi.org/10.1/x</a>, &lt;b&gt;'
    )


def test_latency_stands_against_the_number_of_hosts_where_that_differs(tmp_path: Path) -> None:
    combinations = [
        Synthetic(backend="galera", nodes=nodes, factors={"backend": "galera", "nodes": str(nodes)}) for nodes in (3, 5)
    ]
    campaign = write_campaign(tmp_path, combinations=combinations, runs=1, iterations=12, scenarios=SCENARIOS[:1])
    section = anchors(report.collect([campaign]), campaign)["sites"]
    assert section.title == "Latency against the number of database hosts"
    with drawing.styled():
        axes = section.figures[0].draw().axes[0]
    assert list(axes.get_xticks()) == [3.0, 5.0]
    assert axes.get_ylim()[0] == 0


def test_runs_that_disagree_are_called_unstable(tmp_path: Path) -> None:
    campaign = write_campaign(
        tmp_path, combinations=[Synthetic()], runs=3, iterations=60, scenarios=SCENARIOS, between_runs=0.5
    )
    (line,) = [one for one in warnings(report.collect([campaign]), campaign) if one.startswith("unstable")]
    assert line.startswith("unstable: 2 of 2 scenarios, most of all ")


def test_a_heading_may_be_broken_and_is_escaped() -> None:
    assert str(page.breakable("tup_fetched")) == "tup_<wbr>fetched"
    assert str(page.breakable("a.<b>")) == "a.<wbr>&lt;b&gt;"


def test_one_run_has_no_comparison_and_what_an_earlier_report_left_is_removed(tmp_path: Path) -> None:
    run = one_run(tmp_path)
    for name in ("figures/old.svg", "tables/old.csv", "figures/mine.txt"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("")
    report.write(report.collect([run]), run)
    assert {"effects", "distance", "sites", "model", "order"}.isdisjoint(anchors(report.collect([run]), run))
    assert "Keystone on postgresql: run" in read(run).text
    assert not (run / "figures" / "old.svg").exists()
    assert not (run / "tables" / "old.csv").exists()
    assert (run / "figures" / "mine.txt").exists(), "only what a report writes is removed"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    report.write(report.collect([run]), run)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before, "twice the same"


def test_a_deployment_or_all_results_make_one_page(campaign: Path, tmp_path: Path) -> None:
    results = campaign.parent.parent
    deployment = sorted(path.parent for path in results.glob("*/runs"))[0]
    assert len(report.collect([deployment]).runs) == 2
    everything = report.collect([results])
    assert len(everything.combinations) == 4
    assert compose(everything, tmp_path).raw[0][1][0].target.startswith("../")


def test_an_empty_store_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no run is stored"):
        report.collect([tmp_path])


@pytest.mark.parametrize("torn", ["manifest.json", "samples.csv"])
def test_a_torn_run_is_left_out_and_said(torn: str, tmp_path: Path) -> None:
    campaign = write_campaign(tmp_path, combinations=[Synthetic()], runs=2, iterations=20, scenarios=SCENARIOS)
    victim = sorted(tmp_path.glob("*/runs/*"))[0]
    text = (victim / torn).read_text()
    (victim / torn).write_text(text[: len(text) // 2].rpartition(",")[0])
    material = report.collect([campaign])
    assert [run.directory for run in material.runs] == [sorted(tmp_path.glob("*/runs/*"))[1]]
    (line,) = [line for line in warnings(material, campaign) if line.startswith(victim.name)]
    assert torn in line
    assert str(tmp_path) not in line, "a page tells nothing of the machine that made it"


def test_when_all_are_torn_there_is_no_page(tmp_path: Path) -> None:
    run = one_run(tmp_path)
    (run / "manifest.json").write_text("{")
    with pytest.raises(StateError, match="no run can be reported; 1 were left out"):
        report.collect([run])


def test_a_torn_journal_is_said(campaign: Path, tmp_path: Path) -> None:
    copy = tmp_path / "results"
    shutil.copytree(campaign.parent.parent, copy)
    mine = copy / "campaigns" / campaign.name
    journal = (mine / "journal.jsonl").read_text()
    (mine / "journal.jsonl").write_text(journal[:-40])
    assert any("journal is torn" in line for line in warnings(report.collect([mine]), mine))


def test_a_scenario_that_always_failed_has_no_duration(tmp_path: Path) -> None:
    run = one_run(tmp_path, failure_share=1.0)
    report.write(report.collect([run]), run)
    table = anchors(report.collect([run]), run)["results"].tables[0]
    assert dict(zip((c.title for c in table.columns), table.cells()[0], strict=True))["p50 (ms)"] == parts.NOTHING


def test_a_cdf_ends_where_the_failures_begin() -> None:
    one = Distribution(label="x", look=drawing.look(0), sorted_ms=numpy.arange(1.0, 76.0), n=100)
    with drawing.styled():
        axes = distributions("title", [one]).axes[0]
    heights = numpy.asarray(axes.lines[0].get_ydata(), dtype=float)
    assert heights.max() == pytest.approx(0.75)
    assert "25 of 100 failed" in axes.get_legend_handles_labels()[1][0]


def test_the_study_stands_beside_comparable_runs_only(tmp_path: Path) -> None:
    galera = Synthetic(backend="galera", nodes=3, factors={"backend": "galera"})
    far = Synthetic(backend="galera", nodes=3, rtt_ms=40.0, factors={"backend": "galera", "rtt": "40"})
    postgresql = Synthetic(backend="postgresql", factors={"backend": "postgresql"})
    campaign = write_campaign(
        tmp_path, combinations=[galera, far, postgresql], runs=1, iterations=20, scenarios=[STUDIED, *SCENARIOS]
    )
    section = anchors(report.collect([campaign]), campaign)["study-2018"]
    (row,) = section.tables[0].rows
    assert (row["combination"], row["study_instances"], row["study_figure"]) == ("galera", 3, "oss-impact-light")
    assert row["study_ms"] == pytest.approx(169.8)
    assert "different" in section.lead[0] or "differ" in section.lead[0]


def test_the_study_has_a_source_and_no_value_that_could_not_be_read() -> None:
    found = study()
    assert found["url"].startswith("https://beyondtheclouds.github.io/")
    assert len(found["means"]) == 233
    assert all(mean["mean_s"] > 0 and mean["precision_s"] > 0 for mean in found["means"])


def test_many_samples_make_a_light_figure(tmp_path: Path) -> None:
    run = one_run(tmp_path, iterations=4000, scenarios=SCENARIOS[:1])
    sections = anchors(report.collect([run]), run)
    with drawing.styled():
        sizes = {name: len(drawing.svg(sections[name].figures[0].draw())) for name in ("distributions", "time")}
    assert max(sizes.values()) < 100_000, sizes


@pytest.mark.parametrize(("runs", "warned"), [(2, 1), (5, 4)])
def test_a_warning_of_some_runs_is_shown_with_whose_it_is(runs: int, warned: int, tmp_path: Path) -> None:
    campaign = write_campaign(
        tmp_path, combinations=[Synthetic()], runs=runs, iterations=5, scenarios=SCENARIOS[:1]
    )  # fmt: skip
    names = []
    for manifest in sorted(tmp_path.glob("*/runs/*/manifest.json"))[-warned:]:
        document = json.loads(manifest.read_text())
        document["warnings"].append("rally-1 had no memory left")
        manifest.write_text(json.dumps(document))
        names.append(manifest.parent.name)
    notes = [part for part in opening.warnings(report.collect([campaign])).parts if isinstance(part, parts.Notes)]
    told = [line for part in notes for line in part.lines]
    (line,) = [line for line in told if "no memory left" in line]
    who = ", ".join(names) if warned <= 3 else f"{warned} of {runs} runs"
    assert line == f"{who}: rally-1 had no memory left"
