"""The notebook of the documentation, executed as its reader executes it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

from enos_crdb.campaign import Campaign
from tests.integration.engine import ROOT, Engine

pytestmark = pytest.mark.nspawn

NOTEBOOK = ROOT / "docs" / "tutorial" / "distance.ipynb"


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


@pytest.mark.deep
@pytest.mark.alone
@pytest.mark.destructive
def test_the_notebook_runs_a_campaign_and_draws_it(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    place = engine.results.parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    for cell in notebook.cells:
        cell.pop("outputs", None)
        if cell.cell_type == "code":
            cell.outputs = []
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(place)}}).execute()

    (directory,) = Path(place, "results", "campaigns").iterdir()
    campaign = Campaign(directory)
    assert campaign.finished
    assert [entry["status"] for entry in campaign.entries] == ["ok"] * 9, "and no attempt was needed twice"
    assert len([output for output in outputs(notebook) if "image/png" in output.get("data", {})]) == 2
    text = "\n".join(str(output.get("text", "")) for output in outputs(notebook))
    assert "round trips: predicted" in text
    assert "10 ms away, an iteration takes" in text
    assert "nan" not in text


def test_the_notebook_is_kept_with_its_plots_and_without_this_machine() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    kept = outputs(notebook)
    assert len([output for output in kept if "image/png" in output.get("data", {})]) == 2
    assert not any(output.output_type == "error" for output in kept)
    assert str(Path.home()) not in str(kept)
    assert "/var/tmp" not in str(kept)
