"""Which tests run when: those that always run, the deep ones, and the deep ones that a change asks for.

A test is deep when it takes minutes and repeats a path that another test has taken: it bears the marker `deep`. All
others run always. `invoke test` runs those, `invoke test --deep` everything, and `.ci/run` the deep ones of what the
last day's commits touched, then others in turn, as long as its time lasts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

SPLIT = frozenset(f"tests/integration/test_{name}.py" for name in ("experiments", "interruption", "wire_double"))
"""Files whose deep tests are a piece for each parameter: together they would fit in no half an hour."""

COSTS: Mapping[str, int] = {
    "tests/integration/test_campaign.py": 400,
    "tests/integration/test_cockroach_checks.py": 40,
    "tests/integration/test_devstack.py": 380,
    "tests/integration/test_emulation.py": 60,
    "tests/integration/test_experiments.py [cache_and_hash]": 160,
    "tests/integration/test_experiments.py [cluster_size_impact]": 260,
    "tests/integration/test_experiments.py [locality]": 200,
    "tests/integration/test_experiments.py [read_write_ratio]": 160,
    "tests/integration/test_faults.py": 230,
    "tests/integration/test_grid5000.py": 320,
    "tests/integration/test_interruption.py [Checking every Keystone against every other-9]": 35,
    "tests/integration/test_interruption.py [Configuring Keystone-9]": 25,
    "tests/integration/test_interruption.py [Configuring Rally-9]": 35,
    "tests/integration/test_interruption.py [Configuring the database-2]": 10,
    "tests/integration/test_interruption.py [Configuring the database-9]": 10,
    "tests/integration/test_interruption.py [Installing the software once-9]": 10,
    "tests/integration/test_interruption.py [Preparing this machine-9]": 10,
    "tests/integration/test_interruption.py [Starting the hosts-2]": 10,
    "tests/integration/test_interruption.py [Starting the hosts-9]": 10,
    "tests/integration/test_interruption.py [ctrl-c]": 110,
    "tests/integration/test_interruption.py [kill-9]": 130,
    "tests/integration/test_keystone_crdb.py": 85,
    "tests/integration/test_load.py": 220,
    "tests/integration/test_main_job.py": 460,
    "tests/integration/test_notebook.py": 300,
    "tests/integration/test_nspawn.py": 60,
    "tests/integration/test_standin.py": 440,
    "tests/integration/test_static.py": 240,
    "tests/integration/test_suites.py": 85,
    "tests/integration/test_tutorial.py": 150,
    "tests/integration/test_vagrant.py": 220,
    "tests/integration/test_wire_double.py [2025.2]": 75,
    "tests/integration/test_wire_double.py [2026.2]": 75,
    "tests/integration/test_wire_double.py [23.2.30]": 260,
    "tests/integration/test_wire_double.py [24.3.33]": 260,
    "tests/integration/test_wire_double.py [25.4.11]": 260,
    "tests/integration/test_wire_double.py [26.2.1]": 260,
    "tests/integration/test_wire_double.py [bare]": 65,
    "tests/integration/test_wire_double.py [plugin]": 35,
    "tests/integration/test_wire_double.py [read committed]": 60,
    "tests/integration/test_wire_double.py [test_without_the_package_the_migrations_fail_before_26_2]": 25,
    "tests/integration/test_wire_double.py [unrestored]": 70,
    "tests/unit/test_bundle.py": 15,
    "tests/unit/test_coverage.py": 20,
    "tests/unit/test_report.py": 20,
    "tests/unit/test_vagrant.py": 30,
}
"""About how many seconds a piece takes on two cores, beside another one; those that are not here take `COST_S`."""
COST_S = 100

ALONE = frozenset(f"tests/integration/test_{name}.py" for name in ("emulation", "load", "notebook"))
"""Those of them that measure how long things take: nothing may run beside them."""

TOUCHES: Mapping[str, str] = {
    # the engine
    "enos_crdb/__init__.py": "packaging imports",
    "enos_crdb/__main__.py": "cli interruption",
    "enos_crdb/ansible.py": "ansible interruption main_job",
    "enos_crdb/ansible_callbacks": "ansible display main_job",
    "enos_crdb/backends": "backends roles_database main_job faults suites",
    "enos_crdb/backends/cockroachdb.py": "cockroachdb roles_cockroachdb standin",
    "enos_crdb/backends/galera.py": "backends faults",
    "enos_crdb/bundle": "bundle",
    "enos_crdb/campaign": "campaign experiments notebook",
    "enos_crdb/certificates.py": "cockroachdb standin",
    "enos_crdb/cli": "cli display lost_interruption interruption tutorial main_job",
    "enos_crdb/cli/campaign.py": "campaign experiments",
    "enos_crdb/cli/emulate.py": "emulate_phase emulation",
    "enos_crdb/command.py": "command interruption",
    "enos_crdb/config": "config errors sweep main_job",
    "enos_crdb/config/bench.py": "rally_task load",
    "enos_crdb/config/cockroachdb.py": "cockroachdb standin",
    "enos_crdb/config/devstack.py": "devstack",
    "enos_crdb/config/emulation.py": "emulation",
    "enos_crdb/config/g5k": "g5k grid5000",
    "enos_crdb/config/static.py": "static",
    "enos_crdb/config/vagrant.py": "vagrant",
    "enos_crdb/configuration.schema.json": "reference",
    "enos_crdb/door.py": "door main_job interruption faults",
    "enos_crdb/errors.py": "errors cli",
    "enos_crdb/events.py": "ansible display",
    "enos_crdb/examples.py": "reference docs",
    "enos_crdb/installers": "devstack keystone main_job",
    "enos_crdb/inventory.py": "software deploy main_job",
    "enos_crdb/keystone.py": "keystone main_job",
    "enos_crdb/keystone_wheel.py": "keystone_wheel keystone_crdb",
    "enos_crdb/loading": "loading golden experiments notebook",
    "enos_crdb/locks.py": "locks",
    "enos_crdb/masking.py": "masking bundle main_job",
    "enos_crdb/model.py": "deploy",
    "enos_crdb/network": "emulate_phase emulation probes",
    "enos_crdb/phases": "deploy collect main_job interruption static",
    "enos_crdb/phases/emulate.py": "emulate_phase emulation",
    "enos_crdb/provenance.py": "survey main_job",
    "enos_crdb/providers": "deploy ssh main_job",
    "enos_crdb/providers/g5k": "g5k g5k_provider grid5000",
    "enos_crdb/providers/nspawn": "nspawn_machine nspawn_plan nspawn_settings nspawn interruption suites",
    "enos_crdb/providers/nspawn/inotify.py": "nspawn_inotify nspawn",
    "enos_crdb/providers/nspawn/emulation.py": "emulation nspawn_network",
    "enos_crdb/providers/nspawn/fleet.py": "nspawn_network nspawn",
    "enos_crdb/providers/nspawn/network.py": "nspawn_network nspawn emulation",
    "enos_crdb/providers/static": "static",
    "enos_crdb/providers/vagrant": "vagrant",
    "enos_crdb/py.typed": "packaging",
    "enos_crdb/rally": "rally_client rally_pace rally_results rally_task load main_job",
    "enos_crdb/record.py": "record golden summary loading report main_job",
    "enos_crdb/reference.py": "reference",
    "enos_crdb/report": "report golden effects compare browser notebook",
    "enos_crdb/run.py": "run main_job load interruption",
    "enos_crdb/shipped.py": "packaging config",
    "enos_crdb/software.py": "software static suites",
    "enos_crdb/ssh.py": "ssh static grid5000",
    "enos_crdb/stats": "stats estimates effects coverage load notebook",
    "enos_crdb/store.py": "store interruption",
    "enos_crdb/summary": "summary golden main_job",
    "enos_crdb/survey.py": "survey",
    "enos_crdb/sweep": "sweep experiments",
    "enos_crdb/tables.py": "tables summary cli compare",
    "enos_crdb/testing.py": "run campaign report",
    "enos_crdb/traffic.py": "traffic load",
    "enos_crdb/usage.py": "usage main_job",
    "enos_crdb/wheelhouse.py": "wheelhouse static",
    # what it brings
    "configs": "config tutorial",
    "configs/g5k": "grid5000",
    "configs/local-cockroachdb.yaml": "standin",
    "configs/local-devstack.yaml": "devstack",
    "configs/local-mariadb.yaml": "main_job",
    "configs/local-galera.yaml": "faults",
    "configs/static.yaml": "static",
    "configs/vagrant.yaml": "vagrant",
    "devstack_plugin": "plugin contract database devstack",
    "experiments": "sweep experiments notebook",
    "keystone_crdb": "keystone_crdb keystone_wheel wire_double",
    "playbooks": "roles_database roles_tasks main_job",
    "playbooks/library": "keystone main_job",
    "playbooks/programs": "door main_job campaign",
    "playbooks/programs/collect.py": "collect standin",
    "playbooks/programs/rally_client.py": "rally_client load",
    "playbooks/programs/round_trips.py": "emulation",
    "playbooks/programs/sampler.py": "usage",
    "playbooks/programs/traffic_control.py": "emulation",
    "playbooks/locks": "locks keystone_crdb wire_double suites",
    "playbooks/roles/cockroachdb": "roles_cockroachdb standin",
    "playbooks/roles/devstack": "devstack",
    "playbooks/roles/galera": "roles_database faults",
    "playbooks/roles/haproxy": "roles_cockroachdb standin",
    "playbooks/roles/keystone": "keystone main_job suites static",
    "playbooks/roles/mariadb": "roles_database main_job suites",
    "playbooks/roles/memcached": "keystone load",
    "playbooks/roles/postgresql": "roles_database main_job static suites",
    "playbooks/roles/rally": "rally_client load",
    "playbooks/roles/virtualenv": "wheelhouse keystone suites",
    "docs/tutorial/distance.ipynb": "notebook",
    "docs/tutorial": "docs tutorial",
    # what tests stand on
    "tests/cockroach": "cockroach_verdicts cockroach_checks",
    "tests/doubles/cockroachdb_wire": "cockroachdb_wire wire_protocol wire_double standin cockroach_checks",
    "tests/doubles/devstack": "devstack",
    "tests/doubles/grid5000": "fake_grid5000 grid5000",
    "tests/doubles/standin": "standin cockroach_checks",
    "tests/doubles/vagrant": "vagrant",
    "tests/keystone": "keystone_crdb wire_double",
    "tests/integration/machines.py": "static",
    "tests/integration/wire_double_calls.py": "wire_double",
}
"""What a change touches: a file, or what begins like it, and the tests that claim it (``test_<name>.py``, wherever)."""


def files_of_tests() -> Mapping[str, tuple[str, ...]]:
    """Files of tests by the name that `TOUCHES` gives them; the report in a browser is ``browser``."""
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        name = "browser" if path.parent.name == "browser" else path.stem.removeprefix("test_")
        found[name] = (*found.get(name, ()), path.relative_to(ROOT).as_posix())
    return found


def claimed_by(path: str) -> frozenset[str]:
    """The files of tests that claim `path`; of the entries of `TOUCHES` that fit, all count."""
    files = files_of_tests()
    names = {name for start, names in TOUCHES.items() if _below(path, start) for name in names.split()}
    return frozenset(file for name in names for file in files[name])


def _below(path: str, start: str) -> bool:
    """``configs/g5k`` is a start of ``configs/g5k-kadeploy.yaml``, ``enos_crdb/config`` none of ``configuration``."""
    rest = path.removeprefix(start)
    return path.startswith(start) and (not rest or not (rest[0].isalnum() or rest[0] == "_"))


def touched(paths: Iterable[str]) -> frozenset[str]:
    """Files of tests that changes of `paths` ask for: those that claim one, and those that changed."""
    asked: set[str] = set()
    for path in paths:
        asked |= {path} | claimed_by(path)
    return frozenset(asked & {name for names in files_of_tests().values() for name in names})


def pieces_of(tests: Iterable[str]) -> dict[str, list[str]]:
    """Tests (pytest's ids) by the piece they belong to: their file, or in a split one the parameter or function."""
    found: dict[str, list[str]] = {}
    for test in tests:
        file, _, rest = test.partition("::")
        function, parameter = re.fullmatch(r"([^\[]*)(?:\[(.*)\])?", rest, re.DOTALL).groups()  # type: ignore[union-attr]
        name = f"{file} [{parameter or function}]" if file in SPLIT else file
        found.setdefault(name, []).append(test)
    return found


def file_of(piece: str) -> str:
    """The file whose tests a piece holds."""
    return piece.partition(" [")[0]


def cost_s(piece: str) -> int:
    """About how long a piece takes."""
    return COSTS.get(piece, COST_S)


def in_turn(pieces: Iterable[str], turn: int) -> list[str]:
    """`pieces` beginning with another one for every `turn`: a number that grows, such as that of the commits."""
    ordered = sorted(pieces)
    start = turn % len(ordered) if ordered else 0
    return [*ordered[start:], *ordered[:start]]


def next_that_fits(pieces: Sequence[str], left_s: float) -> str | None:
    """The first of `pieces` that ends before the time is over, by what it costs; None when no one does."""
    return next((piece for piece in pieces if cost_s(piece) <= left_s), None)
