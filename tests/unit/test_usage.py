"""The sampler, run for real, and what is read from its file."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from enos_crdb import usage
from enos_crdb.errors import StateError
from tests.unit.role_files import PROGRAMS

SAMPLER = PROGRAMS / "sampler.py"


def write(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(["time,metric,name,value", "0,cores,,4", *rows]) + "\n")
    return path


def busy(*seconds: float) -> list[str]:
    return [f"{at},machine_cpu_s,user,{value}" for at, value in enumerate(seconds)]


def test_share_of_the_cores(tmp_path: Path) -> None:
    path = write(tmp_path / "u.csv", *busy(0, 1, 2, 3), "0,process_cpu_s,uwsgi,0", "3,process_cpu_s,uwsgi,6")
    found = usage.read(path)
    assert found.process_share("uwsgi", 2.0, 3.0) == pytest.approx(1.5)  # unchanged until it was written
    assert found.process_share("uwsgi", 0.0, 3.0) == pytest.approx(0.5)
    assert found.machine_share(0.0, 3.0) == pytest.approx(0.25)


def test_the_limit_of_the_host_counts_and_not_the_machine(tmp_path: Path) -> None:
    path = write(tmp_path / "u.csv", *busy(0, 1), "0,process_cpu_s,uwsgi,0", "1,process_cpu_s,uwsgi,1")
    assert usage.read(path, limit_cores=2.0).process_share("uwsgi", 0.0, 1.0) == pytest.approx(0.5)


def test_a_restart_does_not_take_back_what_was_used(tmp_path: Path) -> None:
    rows = [f"{at},process_cpu_s,uwsgi,{value}" for at, value in enumerate([0, 4, 1, 3])]
    found = usage.read(write(tmp_path / "u.csv", *busy(0, 1, 2, 3), *rows))
    assert found.process_share("uwsgi", 0.0, 3.0) == pytest.approx((4 + 0 + 2) / 3 / 4)


def test_absent_is_zero_while_somebody_looked_and_unknown_otherwise(tmp_path: Path) -> None:
    found = usage.read(write(tmp_path / "u.csv", *busy(0, 1, 2, 3)))
    assert found.process_share("rally_client", 0.0, 2.0) == 0.0
    assert math.isnan(found.process_share("rally_client", 100.0, 102.0))
    assert math.isnan(found.machine_share(100.0, 102.0))
    assert math.isnan(found.machine_share(math.nan, math.nan))


def test_a_file_that_is_empty_or_torn(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "torn.csv").write_text("time,metric,name,value\n1,cores,,x\n")
    for name in ("empty.csv", "torn.csv", "absent.csv"):
        with pytest.raises(StateError, match="cannot be read"):
            usage.read(tmp_path / name)


def test_a_header_alone_knows_nothing(tmp_path: Path) -> None:
    (tmp_path / "u.csv").write_text("time,metric,name,value\n")
    assert math.isnan(usage.read(tmp_path / "u.csv").process_share("uwsgi", 0.0, 1.0))


def test_the_sampler_counts_a_busy_process_and_keeps_it_after_its_end(tmp_path: Path) -> None:
    burner = tmp_path / "burner.py"
    burner.write_text("import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass\n")
    output = tmp_path / "usage.csv"
    with subprocess.Popen([sys.executable, str(SAMPLER), str(output), "0.1"]) as sampler:
        subprocess.run([sys.executable, str(burner)], check=True)
        sampler.terminate()
    text = output.read_text()
    burned = [float(line.split(",")[3]) for line in text.splitlines() if ",process_cpu_s,burner," in line]
    assert burned == sorted(burned)
    assert 0.1 < burned[-1] < 1.0
    assert text.splitlines()[0] == "time,metric,name,value"
    for metric in ("cores", "machine_cpu_s,user", "machine_memory_mb,MemAvailable", "process_rss_mb,"):
        assert f",{metric}" in text
    usage.read(output)
