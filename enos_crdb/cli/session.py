"""What a command works on: the store, the current deployment, and how events are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from enos_crdb import command, config, events
from enos_crdb.cli import show
from enos_crdb.cli.display import showing
from enos_crdb.config import Configuration
from enos_crdb.config.bench import Bench
from enos_crdb.errors import BenchError, ConfigurationError, StateError
from enos_crdb.phases.context import Context, open_context
from enos_crdb.store import Deployment, Store


@dataclass(frozen=True, kw_only=True)
class Session:
    """Options common to all commands, and the calls they make."""

    results: Path
    directory: Path | None
    verbose: bool
    console: Console

    def deployment(self) -> Deployment:
        """The deployment that the command is about. Raises `StateError`."""
        store = Store(self.results.resolve())
        return store.open(self.directory.resolve()) if self.directory else store.current()

    @contextmanager
    def opened(self) -> Iterator[Context]:
        """The current deployment, locked for this process, its events shown."""
        deployment = self.deployment()
        with deployment.locked(), showing(self.console, verbose=self.verbose):
            yield open_context(deployment)

    def deploy(self, configuration: Configuration, *, only: str | None = None, announce: bool = True) -> None:
        from enos_crdb.phases import deploy as phase

        phase.check_step(only)
        deployment = self._deployment_for(configuration)
        with deployment.locked(), showing(self.console, verbose=self.verbose):
            events.note(f"deployment {deployment.directory.name}")
            context = phase.open_for_deploy(deployment, configuration)
            phase.deploy(context, only=only)
        if announce:
            show.facts(self.console, show.gather(deployment))

    def _deployment_for(self, configuration: Configuration) -> Deployment:
        """The deployment to continue, or a new one. Raises `StateError` when what is there does not fit."""
        from enos_crdb.config.fixed import unlike

        store = Store(self.results.resolve())
        if self.directory:
            found: Deployment | None = store.open(self.directory.resolve())
        else:
            found = store.alive(configuration.name)
        document = configuration.model_dump(mode="json")
        if found is None or found.state.destroyed_at:
            return store.create(configuration.name, document)
        if difference := unlike(found.state.configuration, document):
            raise StateError(
                f"{found.directory.name} is deployed with another `{difference}` than the file asks for now.\n"
                "Destroy it first (`enos_crdb destroy`), or give the file another `name`."
            )
        store.point_at(found)
        return found

    def bench_section(
        self, overrides: Sequence[str], options: Mapping[str, Any], configuration: Configuration | None = None
    ) -> Bench:
        """The ``bench`` section with the command line's values in place. Raises `ConfigurationError`."""
        document = (
            configuration.model_dump(mode="json") if configuration else dict(self.deployment().state.configuration)
        )
        given = {name: value for name, value in options.items() if value not in (None, ())}
        if "scenarios" in given:
            given["scenarios"] = list(given["scenarios"])
        document["bench"] = {**document["bench"], **given}
        foreign = [item for item in overrides if item.partition(".")[0].strip() != "bench"]
        if foreign:
            raise ConfigurationError(
                f"--set {foreign[0]}: a bench measures what is deployed; only values of `bench` can be replaced here.\n"
                "Change the others in the deployment file, or with `enos_crdb deploy --set`, and deploy first."
            )
        return config.check(config.override(document, overrides), source="command line").bench

    def bench(self, section: Bench) -> None:
        from enos_crdb import run

        with self.opened() as context:
            directory = run.measure(context, section)
        failure = show.run(self.console, directory)
        if failure:
            raise BenchError(failure)

    def collect(self, run: str) -> None:
        from enos_crdb.loading import run_of
        from enos_crdb.phases.collect import collect

        with self.opened() as context:
            directory = run_of(context.deployment.directory, run) if run else context.deployment.last_run()
            collect(context, directory)
        self.console.print(f"Collected into {directory / 'hosts'}")

    def info(self) -> dict[str, Any]:
        return show.gather(self.deployment())

    def ssh(self, host: str, arguments: Sequence[str]) -> int:
        from enos_crdb.phases.remote import ssh_command

        return command.replace_process(ssh_command(open_context(self.deployment()), host, arguments))

    def openstack(self, arguments: Sequence[str], region: str | None) -> int:
        from enos_crdb.phases.remote import openstack_command

        return command.replace_process(openstack_command(open_context(self.deployment()), arguments, region))

    def check(self, configuration: Configuration) -> None:
        from enos_crdb.phases.deploy import problems

        with showing(self.console, verbose=self.verbose):
            found = problems(configuration)
        show.problems(self.console, found)

    def destroy_request(self, configuration: Configuration, *, keep_hosts: bool) -> None:
        """The living deployment of a deployment file, or, where there is none, what its provider finds by name."""
        from enos_crdb.phases.destroy import destroy_request

        found = Store(self.results.resolve()).alive(configuration.name)
        if found is not None:
            replace(self, directory=found.directory).destroy(keep_hosts=keep_hosts)
            return
        if keep_hosts:
            raise StateError(
                f"there is no living deployment of '{configuration.name}' here: what is on its hosts is not known.\n"
                "Only `--hosts release` works without it."
            )
        with showing(self.console, verbose=self.verbose):
            destroy_request(configuration)
        self.console.print("Nothing of it is reserved any more")

    def destroy(self, *, keep_hosts: bool) -> None:
        from enos_crdb.phases.destroy import destroy

        with self.opened() as context:
            destroy(context, keep_hosts=keep_hosts)
        kept = "The hosts are kept. " if keep_hosts else ""
        self.console.print(f"{kept}Runs and logs stay in {context.deployment.directory}")
