"""A fake Grid'5000: its REST API, its scheduler OAR and its deployment tool kadeploy, for tests without an account.

It is not Grid'5000, and nothing that runs on it is a measurement. What it keeps is what EnOSlib's provider reads and
meets: sites, clusters and nodes of the reference API, jobs and their states, kadeploy and nodes that fail, VLANs, and
the errors in the words of the real services. Sources, read and not copied:

- the API itself, grid5000/g5k-api: fields and order of jobs (lib/oar/job.rb), status of nodes (lib/oar/resource.rb),
  errors as plain text (app/controllers/application_controller.rb, app/helpers/application_helper.rb),
  deployments (app/models/grid5000/deployment.rb), VLANs (app/controllers/vlans_nodes_controller.rb);
- OAR, oar-team/oar: what `oarsub`, the scheduler and `oardel` say (see `messages`);
- the reference data, grid5000/reference-repository: network adapters, networks of a site, clusters and their sizes.

Parts: `Platform` is the state and what happens to it, `Server` its HTTP side, `Account` a home directory with
credentials and the environment of a process that uses it, `patience` shortens EnOSlib's waits. `Hardware` is what
becomes of the nodes: nothing here; `nodes` makes them containers.
"""

from __future__ import annotations

from tests.doubles.grid5000.account import Account
from tests.doubles.grid5000.hardware import Hardware, NoHardware
from tests.doubles.grid5000.platform import Fault, Platform
from tests.doubles.grid5000.reference import Cluster, Site
from tests.doubles.grid5000.server import Server

__all__ = ["Account", "Cluster", "Fault", "Hardware", "NoHardware", "Platform", "Server", "Site"]
