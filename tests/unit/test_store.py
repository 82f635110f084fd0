"""The store: atomic JSON, 0600, one command at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from enos_crdb import store
from enos_crdb.errors import StateError
from enos_crdb.model import Host, Network, Resources
from enos_crdb.store import Deployment, Store

RESOURCES = Resources(
    hosts=(
        Host(
            name="database-1",
            roles=("database", "keystone"),
            address="10.20.0.2",
            addresses={"control": "10.20.0.2", "database": "10.21.0.2"},
            site="nantes",
            port=22,
            keyfile="/keys/id",
            variables={"ansible_python_interpreter": "/usr/bin/python3"},
        ),
        Host(name="rally-1", roles=("rally",), address="10.20.0.3", addresses={"control": "10.20.0.3"}),
    ),
    networks=(Network(name="control", cidr="10.20.0.0/24", gateway="10.20.0.1"),),
)


@pytest.fixture
def results(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def deployment(results: Store) -> Deployment:
    return results.create("local", {"name": "local"})


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


# deployments


def test_a_new_deployment_is_the_current_one(results: Store, deployment: Deployment) -> None:
    assert results.current().directory == deployment.directory.resolve()
    assert (results.root / "current").is_symlink()


def test_the_link_survives_a_move_of_the_results(results: Store, deployment: Deployment, tmp_path: Path) -> None:
    moved = results.root.rename(tmp_path / "elsewhere")
    assert Store(moved).current().state == deployment.state


def test_two_deployments_of_the_same_second_have_directories_of_their_own(
    results: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "stamp", lambda: "20261122T100000Z")
    assert results.create("local", {}).directory != results.create("local", {}).directory


def test_everything_reads_back_as_it_was_saved(results: Store, deployment: Deployment) -> None:
    deployment.save(resources=RESOURCES, layers={"rally-1": "rally-0123"})
    deployment.mark_done("hosts", 1.23456)
    again = results.open(deployment.directory)
    assert again.state == deployment.state
    assert again.state.resources == RESOURCES
    assert again.state.done["hosts"]["seconds"] == 1.235


def test_only_the_owner_may_read(deployment: Deployment) -> None:
    deployment.add_secrets({"database_password": "s3cret"})
    assert mode(deployment.directory) == mode(deployment.logs) == mode(deployment.runs) == 0o700
    assert mode(deployment.directory / "deployment.json") == mode(deployment.directory / "secrets.json") == 0o600
    assert mode(deployment.new_run()) == 0o700


def test_a_saved_state_is_plain_json(deployment: Deployment) -> None:
    deployment.save(resources=RESOURCES)
    document = json.loads((deployment.directory / "deployment.json").read_text())
    assert document["schema_version"] == store.SCHEMA_VERSION
    assert document["resources"]["hosts"][0]["addresses"]["database"] == "10.21.0.2"


def test_without_a_deployment_the_message_says_how_to_make_one(results: Store) -> None:
    with pytest.raises(StateError, match="no current deployment") as caught:
        results.current()
    assert "enos_crdb deploy --env FILE" in str(caught.value)


def test_a_current_deployment_that_was_deleted_counts_as_none(results: Store, deployment: Deployment) -> None:
    (deployment.directory / "deployment.json").unlink()
    with pytest.raises(StateError, match="no current deployment"):
        results.current()


def test_the_newest_living_deployment_of_a_name_is_found(results: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for second in range(3):
        monkeypatch.setattr(store, "stamp", lambda second=second: f"20261122T10000{second}Z")
        made.append(results.create("local", {}))
    made[2].save(destroyed_at=store.now())
    found = results.alive("local")
    assert found is not None
    assert found.directory == made[1].directory


def test_a_name_that_begins_another_is_not_confused_with_it(results: Store) -> None:
    results.create("local-galera", {})
    assert results.alive("local") is None


# torn and foreign files


@pytest.mark.parametrize("text", ["", "{", "\x00\x00", '{"name": '], ids=["empty", "cut", "zeros", "cut-value"])
def test_a_torn_state_is_named(results: Store, deployment: Deployment, text: str) -> None:
    (deployment.directory / "deployment.json").write_text(text)
    with pytest.raises(StateError, match=r"deployment\.json is not valid JSON"):
        results.open(deployment.directory)


def test_bytes_that_are_no_text_are_a_torn_state(results: Store, deployment: Deployment) -> None:
    (deployment.directory / "deployment.json").write_bytes(b"\xff\xfe")
    with pytest.raises(StateError, match="not valid JSON"):
        results.open(deployment.directory)


@pytest.mark.parametrize("text", ["[]", "3", '"text"', "{}", '{"schema_version": 999}'])
def test_a_state_of_another_version_is_refused(results: Store, deployment: Deployment, text: str) -> None:
    (deployment.directory / "deployment.json").write_text(text)
    with pytest.raises(StateError, match="has schema version"):
        results.open(deployment.directory)


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"schema_version": 1}, id="keys-missing"),
        pytest.param(
            {"schema_version": 1, "name": "a", "created_at": "", "configuration": {}, "x": 1}, id="key-unknown"
        ),
        pytest.param(
            {"schema_version": 1, "name": "a", "created_at": "", "configuration": {}, "resources": {"hosts": [{}]}},
            id="host-without-name",
        ),
        pytest.param(
            {"schema_version": 1, "name": "a", "created_at": "", "configuration": {}, "resources": "x"},
            id="resources-text",
        ),
    ],
)
def test_a_state_changed_by_hand_is_refused(results: Store, deployment: Deployment, document: object) -> None:
    (deployment.directory / "deployment.json").write_text(json.dumps(document))
    with pytest.raises(StateError, match="does not hold what enos_crdb wrote"):
        results.open(deployment.directory)


def test_a_directory_that_is_no_deployment_is_named(results: Store, tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"deployment\.json cannot be read: No such file"):
        results.open(tmp_path)


# secrets


def test_secrets_stand_in_their_file_only(deployment: Deployment) -> None:
    deployment.add_secrets({"database_password": "s3cret"})
    found = [path.name for path in deployment.directory.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
    assert found == ["secrets.json"]


def test_a_secret_is_never_generated_anew(deployment: Deployment) -> None:
    deployment.add_secrets({"database_password": "first"})
    assert deployment.add_secrets({"database_password": "second", "more": "x"}) == {
        "database_password": "first",
        "more": "x",
    }
    assert deployment.secrets()["database_password"] == "first"


def test_there_are_no_secrets_at_first(deployment: Deployment) -> None:
    assert deployment.secrets() == {}


# runs


def test_the_last_run_is_the_one_that_began_last(deployment: Deployment) -> None:
    for name in ("20261122T100000Z-aaaa", "20261122T110000Z-bbbb"):
        (deployment.runs / name).mkdir()
    assert deployment.last_run().name == "20261122T110000Z-bbbb"


def test_the_first_run_is_asked_for(deployment: Deployment) -> None:
    with pytest.raises(StateError, match="has no run yet"):
        deployment.last_run()


def test_new_runs_have_names_of_their_own(deployment: Deployment) -> None:
    assert len({deployment.new_run() for _ in range(20)}) == 20


# one command at a time


def test_a_second_command_is_refused_and_told_whose_turn_it_is(results: Store, deployment: Deployment) -> None:
    with deployment.locked():
        other = results.open(deployment.directory)
        with pytest.raises(StateError, match=rf"in use by another enos_crdb \(process {os.getpid()}\)"), other.locked():
            pass


def test_the_lock_is_given_back(deployment: Deployment) -> None:
    with deployment.locked():
        pass
    with deployment.locked():
        pass


def test_the_lock_of_a_killed_process_is_free(deployment: Deployment) -> None:
    code = (
        "import os, sys; from pathlib import Path; from enos_crdb.store import Store\n"
        "path = Path(sys.argv[1])\n"
        "with Store(path.parent).open(path).locked(): print('held', flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(deployment.directory)], stdout=subprocess.PIPE, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("held\n", -9)
    with deployment.locked():
        pass


# files


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    store.write_json(path, ["x" * 100_000] * 10)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            store.write_json(path, ["y" * 100_000] * 10)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(100):
            assert len(store.read_json(path)) == 10
    finally:
        stop.set()
        writer.join()
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    store.write_json(path, {"old": True})
    with pytest.raises(UnicodeEncodeError):
        store.write_text(path, "half \ud800")
    assert store.read_json(path) == {"old": True}
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_a_value_that_is_no_json_is_refused_before_the_file_is_touched(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        store.write_json(tmp_path / "state.json", {"path": tmp_path})
    assert list(tmp_path.iterdir()) == []


def test_text_keeps_its_letters(tmp_path: Path) -> None:
    store.write_text(tmp_path / "note", "Île-de-France ✓\n", mode=0o644)
    assert (tmp_path / "note").read_text(encoding="utf-8") == "Île-de-France ✓\n"
    assert mode(tmp_path / "note") == 0o644


def test_times_are_utc_and_sort_as_text() -> None:
    assert store.now().endswith("+00:00")
    assert len(store.stamp()) == len("20261122T100000Z")


def test_a_command_waits_for_the_workers_that_a_killed_one_left(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import os, sys; from pathlib import Path; from enos_crdb.store import Store\n"
        "path = Path(sys.argv[1])\n"
        "with Store(path.parent).open(path).locked():\n"
        "    if os.fork() == 0: sys.stdin.read(); os._exit(0)\n"
        "    os.kill(os.getpid(), 9)"
    )
    waits: list[float] = []
    with subprocess.Popen([sys.executable, "-c", program, str(deployment.directory)], stdin=subprocess.PIPE) as engine:
        assert engine.wait() == -9
        assert engine.stdin is not None
        worker_ends = engine.stdin.close

        def let_the_worker_end(seconds: float) -> None:
            waits.append(seconds)
            worker_ends()

        monkeypatch.setattr("enos_crdb.store.time.sleep", let_the_worker_end)
        with deployment.locked():
            assert waits


def test_a_torn_deployment_of_another_name_is_nobody_s_business(results: Store) -> None:
    other = results.create("local-galera", {})
    (other.directory / "deployment.json").write_text("{")
    assert results.alive("local") is None
    with pytest.raises(StateError, match="not valid JSON"):
        results.alive("local-galera")


def test_a_journal_is_read_back_and_a_torn_last_line_is_told(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    assert store.read_lines(path) == ([], "")
    for number in (1, 2):
        store.append_json(path, {"item": number})
    assert store.read_lines(path) == ([{"item": 1}, {"item": 2}], "")
    with path.open("a") as stream:
        stream.write('{"item": 3, "sta')
    assert store.read_lines(path) == ([{"item": 1}, {"item": 2}], '{"item": 3, "sta')
    path.write_text('{"item": 1\n{"item": 2}\n')
    with pytest.raises(StateError, match=r"journal\.jsonl:1 is not valid JSON: it was changed by hand"):
        store.read_lines(path)
