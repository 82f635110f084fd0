"""Give the hosts back, or only clean them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from enos_crdb import events, inventory
from enos_crdb.config import Configuration
from enos_crdb.errors import DeploymentError, NetworkError, StateError
from enos_crdb.phases import emulate
from enos_crdb.phases.context import Context, bare_provider
from enos_crdb.providers import LeasedProvider
from enos_crdb.store import now


def destroy(context: Context, *, keep_hosts: bool) -> None:
    """Release the hosts (or, with ``keep_hosts``, only remove data and configuration from them).

    Safe to repeat, and after a deployment that was interrupted anywhere. Runs, logs and the state file stay.
    """
    state = context.deployment.state
    if keep_hosts:
        with events.phase("remove", "Removing what Keystone, the database and Rally keep on the hosts"):
            _clean(context)
        context.door.close()  # what it left on the hosts is gone
        context.deployment.save(done={"hosts": state.done["hosts"]})
        return
    if not context.provider.owns_hosts and state.resources is not None and not state.destroyed_at:
        _leave(context)
    context.door.close()
    with events.phase("destroy", "Giving the hosts back"):
        context.provider.release()
    for name in ("openrc", "clouds.yaml"):  # they open nothing any more
        (context.deployment.directory / name).unlink(missing_ok=True)
    context.deployment.save(destroyed_at=state.destroyed_at or now(), done={}, emulation=None, lease=None)


def destroy_request(configuration: Configuration) -> None:
    """Give back what a provider holds for a deployment file, without the deployment that asked for it.

    Raises `StateError` for a provider that knows its hosts from the deployment only.
    """
    with tempfile.TemporaryDirectory() as directory, events.phase("destroy", "Giving the hosts back"):
        provider = bare_provider(configuration, Path(directory))
        if not isinstance(provider, LeasedProvider):
            raise StateError(
                f"there is no living deployment of '{configuration.name}' here, and hosts of provider "
                f"'{configuration.provider}' cannot be found without it.\n"
                "Give the results directory where it was deployed (--results), or its own (--deployment)."
            )
        provider.release()


def _clean(context: Context) -> None:
    emulate.clear(context)
    _remove(context)


def _remove(context: Context) -> None:
    context.ansible.run("remove.yml", context.resources.hosts, variables=inventory.variables(context.configuration))


def _leave(context: Context) -> None:
    """Clean hosts that live on; one that is dead must not keep the others."""
    with events.phase("remove", "Removing what Keystone, the database and Rally keep on the hosts"):
        for part in (emulate.clear, _remove):
            try:
                part(context)
            except (DeploymentError, NetworkError) as error:
                events.warn(f"not everything could be removed from the hosts: {error}")
