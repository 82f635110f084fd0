"""From a deployment file to a Keystone that answers: steps that are safe to repeat, in order."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from enos_crdb import events, inventory, keystone, keystone_wheel, software, survey, wheelhouse
from enos_crdb.config import Configuration
from enos_crdb.errors import ConfigurationError, DeploymentError
from enos_crdb.keystone import Wheels
from enos_crdb.model import LOAD, Host, Resources, System, placed
from enos_crdb.phases import emulate
from enos_crdb.phases.context import WHEELS_ON_HOSTS, Context, bare_provider, open_context
from enos_crdb.phases.reset import cross
from enos_crdb.providers import LayeringProvider, LeasedProvider, plan_hosts
from enos_crdb.store import Deployment, write_text


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a deployment. ``needs_hosts``: it cannot be done alone before the hosts exist."""

    name: str
    title: str
    act: Callable[[Context], None]
    needs_hosts: bool = True


def open_for_deploy(deployment: Deployment, configuration: Configuration) -> Context:
    """Generate what secrets are missing, save the (possibly changed) configuration, and open the context."""
    deployment.add_secrets(inventory.new_secrets())
    deployment.save(configuration=configuration.model_dump(mode="json"))
    return open_context(deployment, configuration)


def deploy(context: Context, *, only: str | None = None) -> None:
    """Do every step (or ``only`` one), recording each in the state file as it ends.

    Raises `PrerequisiteError`, `ProviderError`, `DeploymentError`.
    """
    for step in STEPS:
        if only in (None, step.name):
            if step.needs_hosts:
                _ = context.resources
            started = time.monotonic()
            with events.phase(step.name, step.title):
                step.act(context)
            context.deployment.mark_done(step.name, time.monotonic() - started)


def check_step(name: str | None) -> None:
    """Raise `ConfigurationError` when no step is called `name`."""
    if name is not None and name not in {step.name for step in STEPS}:
        known = ", ".join(step.name for step in STEPS)
        raise ConfigurationError(f"--phase: there is no step '{name}' in a deployment; the steps are: {known}.")


def prepare_machine(context: Context) -> None:
    """Base image and wheelhouses, side by side: one waits for the disk, the other for the network."""
    context.cache.mkdir(parents=True, exist_ok=True)
    system = context.provider.system
    with ThreadPoolExecutor(max_workers=2) as pool:
        image = pool.submit(context.provider.prepare)
        wheels = pool.submit(_wheels, context, system) if system else None
        image.result()
        if wheels:
            wheels.result()


def _wheels(context: Context, system: System) -> dict[str, Wheels]:
    """The wheelhouses, as hosts of that system find them; fetched first if they are not on this machine."""
    found = {}
    for name, lock in inventory.lock_files(context.configuration).items():
        directory = _wheelhouse(context, lock, system)
        archive = "" if context.provider.sees_binds else str(wheelhouse.archive(directory))
        found[name] = Wheels(directory=f"{WHEELS_ON_HOSTS}/{directory.name}", archive=archive)
    return found


def _wheelhouse(context: Context, lock: Path, system: System) -> Path:
    return wheelhouse.ensure(
        lock,
        python_version=system.python,
        machine=system.machine,
        cache_dir=context.cache,
        runner=context.runner,
        notify=events.note,
    )


def build_layers(context: Context) -> None:
    """Install each set of software once, on a host of its own, and keep the result for all hosts."""
    provider = context.provider
    if not context.configuration.nspawn.layers or not isinstance(provider, LayeringProvider):
        return
    if context.deployment.state.resources is not None:
        return  # the hosts exist; what they were started from does not change any more
    wanted = _layers(context)
    missing = {key: roles for key, roles in wanted.values() if not provider.layer_exists(key)}
    if missing:
        with provider.building(missing) as builders:
            if builders:  # none, when another run has installed them while this one waited for it
                _install(context, tuple(builders.values()))
    context.deployment.save(layers={name: key for name, (key, _) in wanted.items()})


def _layers(context: Context) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Host name -> (layer key, roles)."""
    locks = tuple(inventory.lock_files(context.configuration).values())
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    system = context.provider.system
    assert system is not None, "layers are made of hosts whose system is known"
    for host in plan_hosts(context.configuration):
        roles = placed(tuple(host.group.roles), context.configuration.bench.placement)
        key = software.layer_key(context.configuration, roles, locks, system.codename)
        found[host.name] = (key, roles)
    return found


def acquire_hosts(context: Context) -> None:
    """Start or reserve the hosts, and keep who they are."""
    provider = context.provider
    resources = _surveyed(context, provider.acquire(context.deployment.state.layers))
    lease = provider.lease() if isinstance(provider, LeasedProvider) else None
    context.deployment.save(resources=resources, lease=lease)
    context.deployment.add_secrets(inventory.host_secrets(context.configuration, resources, context.secrets))


def _surveyed(context: Context, resources: Resources) -> Resources:
    """The same hosts; those of which something is not known were asked."""
    unknown = survey.incomplete(resources)
    if not unknown:
        return resources
    result = context.ansible.run("survey.yml", unknown, variables={"survey_script": survey.SCRIPT})
    told = {name: survey.read(name, outputs["Survey"]["stdout"]) for name, outputs in result.outputs.items()}
    return survey.complete(resources, told)


def install(context: Context) -> None:
    """Install on the hosts that were not booted with everything installed."""
    layers = context.deployment.state.layers
    wanting: list[Host] = []
    for host in context.resources.hosts:
        if host.name not in layers:
            wanting.append(host)
        elif LOAD in host.roles and "rally" not in software.layered(layers[host.name]):
            # All else that decides what is installed is fixed; `bench.placement` may be another one than before.
            wanting.append(replace(host, roles=(LOAD,)))
    if wanting:
        _install(context, tuple(wanting))


def _install(context: Context, hosts: tuple[Host, ...]) -> None:
    # A host of the database alone needs none, and may have a Python that is too old for them.
    virtual = [host for host in hosts if {"keystone", "rally", LOAD} & set(host.roles)]
    wheels = {system: _wheels(context, system) for system in {_system(host) for host in virtual}}
    context.ansible.run(
        "install.yml",
        hosts,
        variables=inventory.install_variables(
            context.configuration, keystone_wheel.ensure(context.cache, context.runner)
        ),
        host_variables={host.name: keystone.wheel_variables(wheels[_system(host)]) for host in virtual},
    )


def _system(host: Host) -> System:
    assert host.system is not None, f"{host.name} was not asked what it runs"
    return host.system


def configure(playbook: str) -> Callable[[Context], None]:
    """A step that runs one of the playbooks that configure the hosts."""

    def act(context: Context) -> None:
        context.play(playbook)

    return act


def verify(context: Context) -> None:
    """A token of every Keystone validates at every other; then leave the credentials for the user."""
    if failures := cross(context):
        raise DeploymentError("the Keystones do not work together.\n" + "\n".join(failures))
    for name, text in inventory.credentials(context.configuration, context.resources, context.secrets).items():
        write_text(context.deployment.directory / name, text)


def problems(configuration: Configuration) -> list[str]:
    """What this machine lacks for the configuration, a sentence each.

    Raises `ConfigurationError` for a file of this machine that is to be installed and cannot.
    """
    inventory.installation(configuration)
    return bare_provider(configuration, Path()).problems()  # nothing is written there


STEPS = (
    Step(name="machine", title="Preparing this machine", act=prepare_machine, needs_hosts=False),
    Step(name="layers", title="Installing the software once", act=build_layers, needs_hosts=False),
    Step(name="hosts", title="Starting the hosts", act=acquire_hosts, needs_hosts=False),
    Step(name="install", title="Installing on the hosts", act=install),
    Step(name="database", title="Configuring the database", act=configure("database.yml")),
    Step(name="keystone", title="Configuring Keystone", act=configure("keystone.yml")),
    Step(name="rally", title="Configuring Rally", act=configure("rally.yml")),
    Step(name="verify", title="Checking every Keystone against every other", act=verify),
    Step(name="emulate", title="Setting the network", act=emulate.apply_file),
)
