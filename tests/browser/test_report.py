"""The page in a browser: nothing wider than the window, on a phone and on a desk; skipped without Chromium."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.synthetic import grid, write_campaign
from enos_crdb import report

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
OFFLINE = tuple(
    f"--{name}"
    for name in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "hide-scrollbars",
        "allow-file-access-from-files",
    )
)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium on this machine")

FRAME = """<!DOCTYPE html><title>waiting</title>
<iframe src="report.html" style="border:0; width:{width}px; height:2000px"></iframe>
<script>
onload = () => {{
  const page = document.querySelector("iframe").contentDocument;
  const wide = [...page.querySelectorAll("body *")].filter(one => !one.closest(".scroll"))
    .filter(one => one.getBoundingClientRect().right > {width} + 1).map(one => one.tagName + "." + one.className);
  const small = [...page.querySelectorAll("figure:not(.wide) svg text")]
    .filter(one => one.getBoundingClientRect().height < 7).length;
  document.title = `${{page.documentElement.scrollWidth}}|${{wide.slice(0, 5).join(" ")}}|${{small}}`;
}};
</script>
"""
"""A page of an exact width (a window has a least one), that measures the other page inside it."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with every section, and names as long as they get."""
    campaign = write_campaign(
        tmp_path_factory.mktemp("results"),
        combinations=grid(delays_ms=(0.0, 50.0)),
        runs=2,
        iterations=20,
        scenarios=["keystone/create-user-set-enabled-and-delete", "keystone/create-and-list-users"],
        refused=1,
        failed=1,
    )
    report.write(report.collect([campaign]), campaign)
    return campaign


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_is_wider_than_the_window(place: Path, width: int, tmp_path: Path) -> None:
    frame = place / f"frame-{width}.html"
    frame.write_text(FRAME.format(width=width), encoding="utf-8")
    arguments = [*OFFLINE, f"--user-data-dir={tmp_path}", "--virtual-time-budget=8000", "--dump-dom", frame.as_uri()]
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        [CHROMIUM, *arguments], capture_output=True, text=True, timeout=90, env=environment, check=False
    )
    found = re.search(r"<title>(\d+)\|(.*?)\|(\d+)</title>", done.stdout)
    assert found, done.stderr[-2000:]
    assert (int(found[1]), found[2]) == (width, "")
    assert int(found[3]) == 0, "letters of a figure are too small to be read"
