"""The steps of a deployment, on doubles."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from enos_crdb import config, events, inventory, software
from enos_crdb.ansible import TaskFailure
from enos_crdb.config import Configuration
from enos_crdb.config.fixed import unlike
from enos_crdb.errors import ConfigurationError, DeploymentError, NetworkError, StateError
from enos_crdb.model import Host, Resources
from enos_crdb.phases import deploy as phase
from enos_crdb.phases.context import Context
from enos_crdb.phases.destroy import destroy
from enos_crdb.providers.contract import LayeringProvider
from enos_crdb.store import Deployment, Store
from enos_crdb.testing import (
    SYSTEM,
    FakeLeasedProvider,
    FakeProvider,
    Played,
    RecordingAnsible,
    RecordingDoor,
    RecordingRunner,
)

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enos_crdb.wheelhouse.ensure", lambda lock, **_: Path("/wheels") / lock.stem)
    monkeypatch.setattr("enos_crdb.wheelhouse.archive", lambda wheelhouse: wheelhouse.with_suffix(".tar"))
    monkeypatch.setattr("enos_crdb.keystone_wheel.ensure", lambda cache, runner: cache / "keystone_crdb.whl")


def a_context(directory: Path, name: str = "local.yaml", *overrides: str) -> Context:
    configuration = config.load(CONFIGS / name, overrides)
    deployment = Store(directory).create(configuration.name, configuration.model_dump(mode="json"))
    deployment.add_secrets(inventory.new_secrets())
    return Context(
        configuration=configuration,
        deployment=deployment,
        provider=FakeProvider(configuration=configuration),
        ansible=RecordingAnsible(),
        door=RecordingDoor(),
        runner=RecordingRunner(),
        cache=directory / "cache",
    )


def recorded(context: Context) -> RecordingAnsible:
    assert isinstance(context.ansible, RecordingAnsible)
    return context.ansible


def saved(context: Context) -> Deployment:
    return Store(context.deployment.directory.parent).open(context.deployment.directory)


def test_every_step_is_done_in_order_and_recorded(tmp_path: Path) -> None:
    context = a_context(tmp_path)
    phase.deploy(context)
    assert recorded(context).playbooks == ["install.yml", "database.yml", "keystone.yml", "rally.yml"]
    assert list(saved(context).state.done) == [step.name for step in phase.STEPS]


def test_a_failing_step_stops_there_and_a_second_deploy_goes_on(tmp_path: Path) -> None:
    failure = TaskFailure(host="database-1", task="keystone : Schema", message="no route to host")
    context = replace(a_context(tmp_path), ansible=RecordingAnsible(failures={"keystone.yml": (failure,)}))
    with pytest.raises(DeploymentError, match=r"(?s)database-1 failed at «keystone : Schema».*no route.*Full log"):
        phase.deploy(context)
    assert "database" in saved(context).state.done
    assert "keystone" not in saved(context).state.done
    with pytest.raises(StateError, match="step 'verify' was not reached"):
        context.require("verify")

    again = replace(context, ansible=RecordingAnsible(), deployment=saved(context))
    phase.deploy(again)
    assert "verify" in saved(again).state.done


def test_the_user_is_left_credentials_that_only_they_can_read(tmp_path: Path) -> None:
    context = a_context(tmp_path, "local-galera.yaml")
    phase.deploy(context)
    for name in ("openrc", "clouds.yaml"):
        path = context.deployment.directory / name
        assert path.stat().st_mode & 0o777 == 0o600
        assert context.secrets["keystone_admin_password"] in path.read_text()
    destroy(context, keep_hosts=False)
    assert not (context.deployment.directory / "openrc").exists()


def test_passwords_are_in_host_variables_and_in_no_other_file_of_the_store(tmp_path: Path) -> None:
    context = a_context(tmp_path)
    phase.deploy(context)
    played = recorded(context).played[-1]
    password = context.secrets["database_password"]
    assert password in json.dumps(played.host_variables)
    assert password not in json.dumps(played.variables)
    assert password not in (context.deployment.directory / "deployment.json").read_text()


def test_secrets_are_generated_once(tmp_path: Path) -> None:
    context = a_context(tmp_path)
    before = context.secrets
    context.deployment.add_secrets(inventory.new_secrets())
    assert context.secrets == before
    assert (context.deployment.directory / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_one_step_alone(tmp_path: Path) -> None:
    context = a_context(tmp_path)
    with pytest.raises(StateError, match="has no hosts yet"):
        phase.deploy(context, only="rally")
    phase.deploy(context)
    recorded(context).played.clear()
    phase.deploy(context, only="rally")
    assert recorded(context).playbooks == ["rally.yml"]
    with pytest.raises(ConfigurationError, match=r"no step 'raly'.*rally"):
        phase.check_step("raly")


@pytest.mark.parametrize(
    ("overrides", "difference"),
    [
        ((), None),
        (("bench.times=50", "database.max_connections=100", "openstack.keystone.workers=4"), None),
        (("machines.1.count=2",), "machines"),
        (('openstack.release="2026.2"',), "openstack.release"),
        (("networks.control.cidr=10.3.0.0/24",), "networks"),
        (("database={backend: mariadb}",), "database.backend"),
        (("openstack.keystone.password_hash_rounds=12",), "openstack.keystone.password_hash_rounds"),
    ],
    ids=["same", "reconverged", "machines", "release", "network", "backend", "hash"],
)
def test_what_cannot_be_changed_on_a_living_deployment(overrides: tuple[str, ...], difference: str | None) -> None:
    def document(*changes: str) -> dict[str, object]:
        return config.load(CONFIGS / "local.yaml", changes).model_dump(mode="json")

    assert unlike(document(), document(*overrides)) == difference


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        pytest.param("version=v26.2.1", "database.version", id="release"),
        pytest.param("binary=/srv/cockroach", "database.binary", id="binary"),
        pytest.param("haproxy=true", "database.haproxy", id="proxy"),
        pytest.param("cache_mb=77", None, id="an-option-that-a-restart-changes"),
    ],
)
def test_another_binary_needs_another_deployment(change: str, difference: str | None) -> None:
    file = CONFIGS / "local-cockroachdb.yaml"
    asked = config.load(file, [f"database.{change}"]).model_dump(mode="json")
    assert unlike(config.load(file).model_dump(mode="json"), asked) == difference


def test_destroy_releases_the_hosts_and_keeps_the_runs(tmp_path: Path) -> None:
    context = a_context(tmp_path)
    phase.deploy(context)
    run = context.deployment.new_run()
    destroy(context, keep_hosts=False)
    assert isinstance(context.provider, FakeProvider)
    assert context.provider.calls[-1] == "release"
    assert run.is_dir()
    with pytest.raises(StateError, match="was destroyed at"):
        _ = context.resources
    destroy(context, keep_hosts=False)


def test_hosts_that_are_not_ours_are_cleaned_before_they_are_let_go(tmp_path: Path) -> None:
    context = a_context(tmp_path)
    assert isinstance(context.provider, FakeProvider)
    context.provider.owns_hosts = False
    phase.deploy(context)
    destroy(context, keep_hosts=False)
    assert recorded(context).playbooks[-1] == "remove.yml"
    assert context.provider.calls[-1] == "release"
    destroy(context, keep_hosts=False)
    assert recorded(context).playbooks.count("remove.yml") == 1, "they are not ours any more"


def test_a_host_that_does_not_answer_is_let_go_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failure = TaskFailure(host="database-1", task="Stop", message="no route to host", unreachable=True)
    context = replace(a_context(tmp_path), ansible=RecordingAnsible(failures={"remove.yml": (failure,)}))
    assert isinstance(context.provider, FakeProvider)
    context.provider.owns_hosts = False
    phase.deploy(context)
    warned: list[str] = []
    with events.listening(lambda event: warned.append(event.text) if event.kind == "warning" else None):
        destroy(context, keep_hosts=False)
    assert "no route to host" in warned[0]
    assert context.provider.calls[-1] == "release"


def test_a_network_that_cannot_be_cleared_keeps_nothing_else_on_the_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Context) -> None:
        raise NetworkError("database-1 does not answer")

    context = a_context(tmp_path)
    assert isinstance(context.provider, FakeProvider)
    context.provider.owns_hosts = False
    phase.deploy(context)
    monkeypatch.setattr("enos_crdb.phases.emulate.clear", refuse)
    destroy(context, keep_hosts=False)
    assert recorded(context).playbooks[-1] == "remove.yml"
    assert context.provider.calls[-1] == "release"


class TestReservations:
    def context(self, tmp_path: Path, seconds: float) -> Context:
        context = a_context(tmp_path)
        provider = FakeLeasedProvider(configuration=context.configuration, seconds=seconds)
        return replace(context, provider=provider)

    def test_it_is_kept_with_the_hosts_and_forgotten_with_them(self, tmp_path: Path) -> None:
        context = self.context(tmp_path, 7200)
        phase.deploy(context)
        lease = saved(context).state.lease
        assert lease is not None
        assert lease.jobs == ("rennes: 1234567",)
        assert 7000 < lease.remaining_s(time.time()) <= 7200
        context.require_lease()
        destroy(context, keep_hosts=False)
        assert saved(context).state.lease is None

    def test_users_are_warned_before_its_end(self, tmp_path: Path) -> None:
        context = self.context(tmp_path, 300)
        phase.deploy(context)
        warned: list[str] = []
        with events.listening(lambda event: warned.append(event.text)):
            context.require_lease()
        assert warned == ["the reservation of the hosts ends in 5 minutes"]

    def test_after_its_end_nothing_is_measured(self, tmp_path: Path) -> None:
        context = self.context(tmp_path, -120)
        phase.deploy(context)
        with pytest.raises(StateError, match="over since 2 minutes: its hosts are gone"):
            context.require_lease()


def test_hosts_that_only_they_can_tell_of_are_asked(tmp_path: Path) -> None:
    context = a_context(tmp_path)
    told = (
        "system debian 12 bookworm\nmachine x86_64\npython 3.11\nuid 0\n"
        "address eth0 10.0.1.{0}/24\naddress eth1 10.0.2.{0}/24\n"
    )
    answers = {name: {"Survey": {"stdout": told.format(n)}} for name, n in (("database-1", 11), ("rally-1", 12))}
    ansible = RecordingAnsible(outputs={"survey.yml": answers})
    provider = UnknownHosts(configuration=context.configuration, system=None, sees_binds=False)
    context = replace(context, ansible=ansible, provider=provider)
    phase.deploy(context)
    found = saved(context).state.resources
    assert found is not None
    assert found.hosts[1].addresses == {"control": "10.0.1.12", "database": "10.0.2.12"}
    assert found.hosts[0].system == SYSTEM
    install = next(played for played in ansible.played if played.playbook == "install.yml")
    assert install.host_variables["rally-1"]["rally_wheelhouse_archive"].endswith(".tar")


class UnknownHosts(FakeProvider):
    """Hosts of which the provider knows where ssh reaches them, and nothing else."""

    def acquire(self, layers: Mapping[str, str]) -> Resources:
        given = super().acquire(layers)
        return replace(given, hosts=tuple(replace(host, addresses={}, system=None) for host in given.hosts))


def test_destroy_can_keep_the_hosts(tmp_path: Path) -> None:
    context = a_context(tmp_path)
    phase.deploy(context)
    destroy(context, keep_hosts=True)
    assert recorded(context).playbooks[-1] == "remove.yml"
    assert isinstance(context.provider, FakeProvider)
    assert "release" not in context.provider.calls
    assert list(saved(context).state.done) == ["hosts"]


def test_hosts_that_a_layer_prepared_are_not_installed_again(tmp_path: Path) -> None:
    context = a_context(tmp_path)
    context.deployment.save(layers={"database-1": "postgresql-1"})
    phase.deploy(context)
    assert recorded(context).played[0].hosts == ("rally-1",)


def test_rally_is_added_to_living_hosts_that_another_placement_asks_for(tmp_path: Path) -> None:
    context = a_context(tmp_path)
    layers = {name: layer_of(context.configuration, roles) for name, roles in HOSTS.items()}
    context.deployment.save(layers=layers)
    phase.deploy(context)
    assert "install.yml" not in recorded(context).playbooks

    moved = config.load(CONFIGS / "local.yaml", ["bench.placement=keystone"])
    assert unlike(context.configuration.model_dump(), moved.model_dump()) is None
    context = replace(context, configuration=moved, ansible=RecordingAnsible())
    phase.deploy(context)
    first = recorded(context).played[0]
    assert (first.playbook, first.hosts) == ("install.yml", ("database-1",))


HOSTS: dict[str, tuple[str, ...]] = {"database-1": ("database", "keystone"), "rally-1": ("rally",)}
"""Of configs/local.yaml."""


@pytest.mark.parametrize(
    ("placement", "database_1"),
    [("rally", ("database", "keystone")), ("keystone", ("database", "keystone", "load"))],
)
def test_a_new_deployment_has_rally_where_it_will_run(
    tmp_path: Path, placement: str, database_1: tuple[str, ...]
) -> None:
    context = a_context(tmp_path)
    placed = config.load(CONFIGS / "local.yaml", [f"bench.placement={placement}"])
    context = replace(context, configuration=placed)
    phase.deploy(context)
    assert context.resources.host("database-1").roles == database_1
    assert context.resources.host("rally-1").roles[0] == "rally"
    wanted = software.ansible_roles(placed, database_1)
    assert software.layered(layer_of(placed, database_1)) == wanted
    assert ("rally" in wanted) == (placement == "keystone")
    resources = context.deployment.state.resources
    assert resources is not None
    assert "load" not in {role for host in resources.hosts for role in host.roles}  # not a fact about the host


def test_the_placement_moves_the_load_and_not_the_proxy(tmp_path: Path) -> None:
    overrides = ["database.haproxy=true", "bench.placement=database"]
    configuration = config.load(CONFIGS / "local-cockroachdb.yaml", overrides)
    assert "haproxy" not in software.ansible_roles(configuration, ("database", "load"))
    assert software.ansible_roles(configuration, ("rally",)) == ("rally", "haproxy")


def test_every_shipped_configuration_deploys_on_doubles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)  # a third of a second each
    monkeypatch.setattr("enos_crdb.certificates.rsa.generate_private_key", lambda **_: key)
    for file in sorted(CONFIGS.glob("*.yaml")):
        context = a_context(tmp_path, file.name, "emulation.constraints=[]")  # test_emulate_phase has that step
        phase.deploy(context)
        host_variables = recorded(context).played[-1].host_variables
        assert set(host_variables) == {host.name for host in context.resources.hosts}


def layer_of(configuration: Configuration, roles: tuple[str, ...]) -> str:
    locks = tuple(inventory.lock_files(configuration).values())
    return software.layer_key(configuration, roles, locks, "bookworm")


def test_a_layer_is_shared_by_hosts_with_the_same_software_only() -> None:
    here = config.load(CONFIGS / "local.yaml")
    later = config.load(CONFIGS / "local.yaml", ['openstack.release="2026.2"'])
    other = config.load(CONFIGS / "local-mariadb.yaml")
    tuned = config.load(CONFIGS / "local.yaml", ["database.max_connections=99"])
    roles = ("database", "keystone")
    assert layer_of(here, roles) == layer_of(tuned, roles), "options are configured, not installed"
    keys = {layer_of(here, roles), layer_of(later, roles), layer_of(other, roles), layer_of(here, ("rally",))}
    assert len(keys) == 4


PLAYBOOKS = ("install.yml", "database.yml", "keystone.yml", "rally.yml")


class PressedProvider(FakeProvider):
    """Somebody presses Ctrl-C while the hosts are started."""

    def acquire(self, layers: Mapping[str, str]) -> Resources:
        signal.raise_signal(signal.SIGINT)
        return super().acquire(layers)


@pytest.mark.parametrize("playbook", [None, *PLAYBOOKS])
def test_ctrl_c_ends_every_step(tmp_path: Path, playbook: str | None) -> None:
    def press(played: Played) -> None:
        if played.playbook == playbook:
            signal.raise_signal(signal.SIGINT)

    context = replace(a_context(tmp_path), ansible=RecordingAnsible(effect=press))
    if playbook is None:
        context = replace(context, provider=PressedProvider(configuration=context.configuration))
    heard = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        phase.deploy(context)
    assert signal.getsignal(signal.SIGINT) is heard
    assert recorded(context).playbooks == list(PLAYBOOKS[: PLAYBOOKS.index(playbook) + 1 if playbook else 0])
    assert "verify" not in saved(context).state.done


class LateProvider(FakeProvider):
    """Whose layers another run installs while this one waits for them."""

    def layer_exists(self, key: str) -> bool:
        return False

    @contextmanager
    def building(self, keys: Mapping[str, tuple[str, ...]]) -> Iterator[dict[str, Host]]:
        assert keys, "something was missing when this run looked"
        yield {}


def test_layers_that_another_run_installed_meanwhile_are_used(tmp_path: Path) -> None:
    context = a_context(tmp_path)
    context = replace(context, provider=LateProvider(configuration=context.configuration))
    assert isinstance(context.provider, LayeringProvider)
    phase.build_layers(context)
    assert recorded(context).playbooks == [], "there is no host to install anything on"
    assert set(context.deployment.state.layers) == {"database-1", "rally-1"}
