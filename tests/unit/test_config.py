"""The deployment file: what is accepted, and one bad file per complaint (tests/data/bad)."""

from __future__ import annotations

from pathlib import Path

import pytest

from enos_crdb import config, shipped
from enos_crdb.config.resources import plan_hosts
from enos_crdb.errors import ConfigurationError
from tests.unit.bad_files import expectation

BAD = Path(__file__).parents[1] / "data" / "bad"
CONFIGS = sorted(shipped.directory("configs").glob("*.yaml"))

SMALLEST = """\
name: small
provider: nspawn
machines: [{roles: [database, keystone, rally]}]
database: {backend: postgresql}
"""


@pytest.fixture
def smallest(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALLEST)
    return path


@pytest.mark.parametrize("path", sorted(BAD.glob("*.yml")), ids=lambda path: path.stem)
def test_a_bad_file_is_refused_with_its_message(path: Path) -> None:
    expected = expectation(path)
    with pytest.raises(ConfigurationError) as caught:
        config.load(path)
    assert expected.fullmatch(str(caught.value)), f"\nsaid:     {caught.value}\nexpected: {expected.pattern}"


def test_there_is_a_bad_file_for_every_section() -> None:
    names = {path.stem.split("-")[0] for path in BAD.glob("*.yml")}
    assert names >= set(config.Configuration.model_fields)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_configuration_loads(path: Path) -> None:
    assert config.load(path).name == path.stem


def test_a_shipped_file_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert config.load(Path("g5k.yaml")).name == "g5k"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        config.load(Path("elsewhere/g5k.yaml"))
    (tmp_path / "g5k.yaml").write_text((CONFIGS[0].parent / "local.yaml").read_text())
    assert config.load(Path("g5k.yaml")).name == "local", "a file that is here was passed over"


def test_the_three_configurations_of_the_first_result_are_shipped() -> None:
    assert {"local", "local-mariadb", "local-galera"} <= {path.stem for path in CONFIGS}


def test_a_missing_file_names_the_command_that_lists_examples(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"absent\.yaml: cannot be read \(No such file or directory\)"
    ) as caught:
        config.load(tmp_path / "absent.yaml")
    assert "`enos_crdb configs`" in str(caught.value)


def test_a_path_below_a_file_cannot_be_read(smallest: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        config.load(smallest / "below.yaml")


def test_a_directory_is_told_apart_from_an_experiment_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is a directory"):
        config.load(tmp_path)


def test_bytes_that_are_not_utf8_are_located(tmp_path: Path) -> None:
    path = tmp_path / "latin1.yaml"
    path.write_bytes(b"name: caf\xe9\n")
    with pytest.raises(ConfigurationError, match=r"is not UTF-8 text .* at byte 9"):
        config.load(path)


def test_a_file_nested_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text("a: " + "[" * 5000)
    with pytest.raises(ConfigurationError, match="nested too deeply"):
        config.load(path)


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "windows.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALLEST.replace("\n", "\r\n").encode())
    assert config.load(path).name == "small"


def test_aliases_and_merge_keys_work(tmp_path: Path) -> None:
    path = tmp_path / "merged.yaml"
    path.write_text(
        "name: merged\nprovider: nspawn\n"
        "machines:\n- &group {roles: [database], count: 3}\n- {<<: *group, roles: [keystone, rally], count: 2}\n"
        "database: {backend: galera}\n"
    )
    machines = config.load(path).machines
    assert [(group.roles, group.count) for group in machines] == [(["database"], 3), (["keystone", "rally"], 2)]


def test_a_document_in_memory_is_checked_the_same_way() -> None:
    with pytest.raises(ConfigurationError, match=r"^here: name: is missing"):
        config.check({"provider": "nspawn"}, source="here")


def test_a_resolved_configuration_can_be_loaded_again(smallest: Path) -> None:
    first = config.load(smallest)
    assert config.check(first.model_dump(mode="json"), source="state") == first


def test_a_configuration_never_changes(smallest: Path) -> None:
    loaded = config.load(smallest)
    with pytest.raises(ValueError, match="frozen"):
        loaded.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("role", ["database", "keystone", "rally"])
def test_hosts_are_counted_by_role(smallest: Path, role: str) -> None:
    assert config.load(smallest, ["machines.0.count=1"]).count(role) == 1


def test_defaults_are_those_of_devstack_and_of_the_2018_study(smallest: Path) -> None:
    loaded = config.load(smallest)
    keystone = loaded.openstack.keystone
    assert (keystone.cache, keystone.password_hash_rounds, keystone.token_provider) == ("memcached", 4, "fernet")
    assert len(loaded.bench.scenarios) == 7


# --set


@pytest.mark.parametrize(
    ("option", "path", "value"),
    [
        pytest.param("bench.times=20", "bench.times", 20, id="section-that-was-absent"),
        pytest.param("bench.concurrency= 3", "bench.concurrency", 3, id="space-after-equals"),
        pytest.param("machines.0.site=nantes", "machines.0.site", "nantes", id="entry-of-a-list"),
        pytest.param("machines[0].site=nantes", "machines.0.site", "nantes", id="entry-in-brackets"),
        pytest.param('openstack.release="2025.2"', "openstack.release", "2025.2", id="text-like-a-number"),
        pytest.param("bench.scenarios=[keystone/create-user]", "bench.scenarios", ["keystone/create-user"], id="list"),
        pytest.param("database.settings={work_mem: 4MB}", "database.settings", {"work_mem": "4MB"}, id="mapping"),
        pytest.param("database.settings.application_name=a=b", "database.settings", {"application_name": "a=b"},
                     id="equals-in-the-value"),
    ],
)  # fmt: skip
def test_set_replaces_one_leaf(smallest: Path, option: str, path: str, value: object) -> None:
    found: object = config.load(smallest, [option]).model_dump(mode="json")
    for part in path.split("."):
        found = found[int(part)] if isinstance(found, list) else found[part]  # type: ignore[index]
    assert found == value


def test_the_last_of_two_equal_options_wins(smallest: Path) -> None:
    assert config.load(smallest, ["bench.times=20", "bench.times=30"]).bench.times == 30


def test_a_section_left_empty_in_the_file_can_be_filled(tmp_path: Path) -> None:
    path = tmp_path / "empty-section.yaml"
    path.write_text(SMALLEST + "bench:\n")
    assert config.load(path, ["bench.times=20"]).bench.times == 20


@pytest.mark.parametrize(
    ("option", "message"),
    [
        pytest.param("bench.times", "expected path=value", id="no-equals"),
        pytest.param("=3", "expected path=value", id="no-path"),
        pytest.param("machines.1.count=2", "'1' does not name an entry of a list of 1; use a number from 0 to 0",
                     id="entry-out-of-range"),
        pytest.param("machines.first.count=2", "'first' does not name an entry of a list of 1", id="entry-by-name"),
        pytest.param("machines.-1.count=2", "'-1' does not name an entry", id="entry-from-the-end"),
        pytest.param("name.first=x", "'name' is 'small', a single value; nothing can be set below it",
                     id="below-a-value"),
        pytest.param("machines.0.roles.0.x=1", "'0' is 'database', a single value", id="below-a-value-in-a-list"),
        pytest.param("machines.0.roles.0.x.y=1", "'0' is 'database', a single value", id="far-below-a-value"),
        pytest.param("bench.times=[", "the value is not valid YAML", id="value-not-yaml"),
        pytest.param("bench.runner={type: rps, type: constant}", "the value is not valid YAML", id="value-key-twice"),
        pytest.param("bench.times=0", "bench.times: must be at least 1, found 0.", id="value-refused"),
        pytest.param("bench.time=3", "bench.time: unknown key. Did you mean `times`?", id="unknown-key"),
        pytest.param("benhc.times=3", "benhc: unknown key. Did you mean `bench`?", id="unknown-section"),
        pytest.param("openstack.release=2026.1", "openstack.release: 2026.1 is not allowed", id="number-for-text"),
    ],
)  # fmt: skip
def test_a_bad_option_is_named_in_its_complaint(smallest: Path, option: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        config.load(smallest, [option])
    assert str(caught.value).startswith(f"--set {option}: {message}")


def test_an_entry_of_an_empty_list_cannot_be_set(tmp_path: Path) -> None:
    path = tmp_path / "no-machines.yaml"
    path.write_text(SMALLEST.replace("[{roles: [database, keystone, rally]}]", "[]"))
    with pytest.raises(ConfigurationError, match="the list is empty"):
        config.load(path, ["machines.0.count=2"])


class TestPlannedHosts:
    def test_sites_are_taken_in_turn(self) -> None:
        machines = [
            {"roles": ["database", "keystone"], "count": 5, "site": ["rennes", "lyon"]},
            {"roles": ["rally"], "site": "nancy"},
        ]
        configuration = config.check(
            {"name": "a", "provider": "nspawn", "machines": machines, "database": {"backend": "galera"}}, source="test"
        )
        planned = plan_hosts(configuration.machines)
        assert [(host.name, host.site) for host in planned] == [
            ("database-1", "rennes"),
            ("database-2", "lyon"),
            ("database-3", "rennes"),
            ("database-4", "lyon"),
            ("database-5", "rennes"),
            ("rally-1", "nancy"),
        ]

    def test_how_many_are_enough(self) -> None:
        machines = [{"roles": ["database"], "count": 5, "min": 4}, {"roles": ["keystone", "rally"]}]
        configuration = config.check(
            {"name": "a", "provider": "nspawn", "machines": machines, "database": {"backend": "galera"}}, source="test"
        )
        assert configuration.at_least("database") == 4
        assert configuration.at_least("keystone") == 1
