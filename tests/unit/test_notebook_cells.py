"""The cells of the notebook that read a campaign, on one that was drawn at random: their code fits this version."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.synthetic import grid, write_campaign

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "tutorial" / "distance.ipynb"
MEASURES = "execute(experiment"
"""In the cell that runs the campaign, which a deep test does on real hosts."""


def cells() -> list[str]:
    document = json.loads(NOTEBOOK.read_text())
    return ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]


def test_what_reads_the_campaign_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    found = cells()
    (measuring,) = (number for number, cell in enumerate(found) if MEASURES in cell)
    names: dict[str, Any] = {}
    exec(found[0], names)
    names["campaign"] = SimpleNamespace(
        directory=write_campaign(
            tmp_path,
            combinations=[
                replace(one, factors={**one.factors, "delay_ms": delay_ms})
                for delay_ms in (0, 5, 10)  # numbers, as in the experiment
                for one in grid(("postgresql",), (float(delay_ms),))
            ],
            runs=3,
            iterations=20,
            scenarios=(names["SCENARIO"],),
        )
    )
    for cell in found[measuring + 1 :]:
        exec(cell, names)
    said = capsys.readouterr().out
    assert "round trips: predicted" in said
    assert "10 ms away, an iteration takes" in said
    assert "nan" not in said
