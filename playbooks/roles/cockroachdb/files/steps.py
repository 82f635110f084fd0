"""What a run asks of one CockroachDB node, by the functions of this Ansible role's modules; without Ansible.

    steps.py ready               status 0 when the node takes connections
    steps.py reset               brings the fresh state of Keystone's database back through this node
    steps.py counters            prints the node's counters, one JSON object
    steps.py export [cluster]    writes statistics to files; with `cluster`, what is the same on every node as well

The modules lie beside this file, with a package `ansible` that has nothing but the names they import.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))


def main() -> None:
    sys.path.insert(0, HERE)
    import cockroachdb_export as exports
    import cockroachdb_fresh as snapshots
    from ansible.module_utils.cockroachdb_client import Refused, client

    with open(os.path.join(HERE, "about.json")) as stream:
        about: dict[str, Any] = json.load(stream)
    node, keystone = client(about["node"]), about["keystone"]
    action = sys.argv[1]
    try:
        if action == "ready":
            sys.exit(0 if node.ready() else f"node {node.server} takes no connections")
        elif action == "reset":
            said = snapshots.fresh(snapshots.Database(node, keystone["database"]), {"keystone": keystone})
        elif action == "counters":
            said = exports.counters(exports.status_vars(node))
        else:
            asked = {**about["export"], "cluster": "cluster" in sys.argv[2:], "database": keystone["database"]}
            said = {"problems": exports.export(node, asked)}
    except (Refused, snapshots.Stale) as trouble:
        sys.exit(str(trouble))
    print(json.dumps(said))


if __name__ == "__main__":
    main()
