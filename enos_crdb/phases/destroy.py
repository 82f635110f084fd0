"""Give the hosts back, or only clean them."""

from __future__ import annotations

from enos_crdb import events, inventory
from enos_crdb.errors import NetworkError
from enos_crdb.phases import emulate
from enos_crdb.phases.context import Context
from enos_crdb.store import now


def destroy(context: Context, *, keep_hosts: bool) -> None:
    """Release the hosts (or, with ``keep_hosts``, only remove data and configuration from them).

    Safe to repeat, and after a deployment that was interrupted anywhere. Runs, logs and the state file stay.
    """
    state = context.deployment.state
    if keep_hosts:
        with events.phase("remove", "Removing what Keystone, the database and Rally keep on the hosts"):
            emulate.clear(context)
            context.ansible.run(
                "remove.yml",
                context.resources.hosts,
                variables=inventory.variables(context.configuration),
            )
        context.deployment.save(done={"hosts": state.done["hosts"]})
        return
    with events.phase("destroy", "Giving the hosts back"):
        _release(context)
    for name in ("openrc", "clouds.yaml"):  # they open nothing any more
        (context.deployment.directory / name).unlink(missing_ok=True)
    context.deployment.save(destroyed_at=state.destroyed_at or now(), done={}, emulation=None)


def _release(context: Context) -> None:
    """Give the hosts back; rules that hosts keep in their kernels are removed first, as some hosts live on."""
    state = context.deployment.state
    if state.emulation is not None and state.emulation["emulator"] == "netem" and not state.destroyed_at:
        try:
            emulate.clear(context)
        except NetworkError as error:
            events.warn(f"the emulated network could not be removed from the hosts: {error}")
    context.provider.release()
