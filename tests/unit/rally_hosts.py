"""What hosts with Rally send back, from reports that a real Rally wrote."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from enos_crdb.door import Call
from enos_crdb.testing import step_of

REPORT = Path(__file__).resolve().parents[1] / "data" / "rally"


@dataclass
class Hosts:
    """What hosts with Rally send back. ``silent``: scenarios for which nothing comes.

    ``reports`` are those of single clients, by name.
    """

    report: bytes
    silent: tuple[str, ...] = ()
    interrupt_at: str | None = None
    reports: Mapping[str, bytes] = field(default_factory=dict)

    def __call__(self, call: Call) -> None:
        if call.to is None or step_of(call) != "rally_client wait":
            return
        assert call.request
        if self.interrupt_at and self.interrupt_at in call.request["scenario"]:
            raise KeyboardInterrupt
        if not any(silent in call.request["scenario"] for silent in self.silent):
            self._rally(call.to, call.request["clients"])

    def _rally(self, path: Path, clients: Sequence[str]) -> None:
        status = {"status": "ok", "message": "", "started_at": 1_700_000_000.0, "finished_at": 1_700_000_009.0}
        with tarfile.open(path, "w") as archive:
            for client in clients:
                report = self.reports.get(client, self.report)
                for name, content in (("status.json", json.dumps(status).encode()), ("report.json", report)):
                    member = tarfile.TarInfo(f"{client}/{name}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))


def a_report(stretch: float = 1.0) -> bytes:
    """With every duration so many times as long."""
    for path in sorted(REPORT.glob("*.json")):
        document = json.loads(path.read_text())
        if document.get("info", {}).get("format_version") == "1.2" and "tasks" in document:
            for task in document["tasks"] if stretch != 1.0 else ():
                for row in (row for part in task["subtasks"] for one in part["workloads"] for row in one["data"]):
                    row["duration"] *= stretch
            return json.dumps(document).encode() if stretch != 1.0 else path.read_bytes()
    raise AssertionError("no Rally report in tests/data/rally")
