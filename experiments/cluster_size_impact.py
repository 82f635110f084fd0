"""What size costs: 3, 9 and 45 sites, each with a Keystone and, on a cluster, a node of the database.

The 2018 study's second question. Galera certifies every commit on every node; CockroachDB keeps three copies of a range
however many nodes there are; a single server has 45 Keystones as clients. All of Keystone's tables fit in one range
each, so more nodes of CockroachDB do not make it faster: what changes is where a leaseholder is.
"""

from __future__ import annotations

from enos_crdb.campaign import Experiment, Factor, Repetitions

ALONE = {"machines.1.roles": ["keystone"], "machines.2.roles": ["keystone"]}
"""One database server, at the first site."""


def sites(count: int) -> dict[str, int]:
    """One at paris, the others half and half at nantes and lyon."""
    return {"machines.1.count": (count - 1) // 2, "machines.2.count": (count - 1) // 2}


experiment = Experiment(
    experiment="cluster-size-impact",
    title="What size costs",
    description="Latency of Keystone on four databases at 3, 9 and 45 sites.",
    keywords=["OpenStack", "Keystone", "distributed databases", "scalability"],
    configuration={
        "provider": "nspawn",
        "machines": [
            {"roles": ["database", "keystone"], "site": "paris"},
            {"roles": ["database", "keystone"], "site": "nantes"},
            {"roles": ["database", "keystone"], "site": "lyon"},
            {"roles": ["rally"], "site": "paris"},
        ],
        "database": {"backend": "galera"},
        "openstack": {"keystone": {"password_hash_rounds": 4}},
        "bench": {"times": 100, "concurrency": 2},
    },
    factors={
        "backend": Factor(
            levels={
                "mariadb": {"database.backend": "mariadb", **ALONE},
                "galera": {"database.backend": "galera"},
                "cockroachdb": {"database.backend": "cockroachdb"},
            }
        ),
        "sites": Factor(levels={str(count): sites(count) for count in (3, 9, 45)}),
        "load": Factor(path="bench.load", levels=["light", "heavy"]),
    },
    repetitions=Repetitions(deployments=3, runs=2),
    short={
        "configuration": {"bench": {"scenarios": ["keystone/create-and-list-tenants"], "times": 10}},
        "factors": {
            "backend": {"levels": {"galera": {"database.backend": "galera"}}},
            "sites": {"levels": {"3": sites(3), "5": sites(5)}},
            "load": None,
        },
        "repetitions": {"deployments": 1, "runs": 1},
    },
)
