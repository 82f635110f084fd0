"""What hosts with Rally send back, from reports that a real Rally wrote."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from enos_crdb.testing import Played

REPORT = Path(__file__).resolve().parents[1] / "data" / "rally"


@dataclass
class Hosts:
    """What hosts would send back for each playbook. ``silent``: scenarios for which nothing comes.

    ``reports`` are those of single clients, by name.
    """

    report: bytes
    silent: tuple[str, ...] = ()
    interrupt_at: str | None = None
    reports: Mapping[str, bytes] = field(default_factory=dict)

    def __call__(self, played: Played) -> None:
        if played.playbook == "bench.yml":
            scenario = played.variables["rally_scenario"]
            if self.interrupt_at and self.interrupt_at in scenario:
                raise KeyboardInterrupt
            if not any(silent in scenario for silent in self.silent):
                self._rally(played)

    def _rally(self, played: Played) -> None:
        status = {"status": "ok", "message": "", "started_at": 1_700_000_000.0, "finished_at": 1_700_000_009.0}
        for host, variables in played.host_variables.items():
            if not variables.get("rally_clients"):
                continue
            with tarfile.open(Path(played.variables["rally_fetch_to"]) / f"{host}.tar", "w") as archive:
                for client in variables["rally_clients"]:
                    report = self.reports.get(client["name"], self.report)
                    for name, content in (("status.json", json.dumps(status).encode()), ("report.json", report)):
                        member = tarfile.TarInfo(f"{client['name']}/{name}")
                        member.size = len(content)
                        archive.addfile(member, io.BytesIO(content))


def a_report() -> bytes:
    for path in sorted(REPORT.glob("*.json")):
        document = json.loads(path.read_text())
        if document.get("info", {}).get("format_version") == "1.2" and "tasks" in document:
            return path.read_bytes()
    raise AssertionError("no Rally report in tests/data/rally")
