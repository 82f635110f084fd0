"""What distance costs: the same load while the database, or the nodes of its cluster, move apart.

The 2018 study's question, with its delays (0, 50 and 150 ms) and loads. There is a Keystone at each of three sites. A
cluster has a node beside each of them; a single server is at the first site, and the other Keystones reach it through
the delay. With the light load only the first Keystone is used, so a single server pays nothing: that is the point.
"""

from __future__ import annotations

from enos_crdb.campaign import Experiment, Factor, Repetitions

ALONE = {"machines.1.roles": ["keystone"], "machines.2.roles": ["keystone"]}
"""One database server, at the first site."""

experiment = Experiment(
    experiment="latency-impact",
    title="What distance costs",
    description="Latency of Keystone on four databases while the delay between three sites grows.",
    keywords=["OpenStack", "Keystone", "distributed databases", "latency"],
    configuration={
        "provider": "nspawn",
        "machines": [
            {"roles": ["database", "keystone"], "site": "paris"},
            {"roles": ["database", "keystone"], "site": "nantes"},
            {"roles": ["database", "keystone"], "site": "lyon"},
            {"roles": ["rally"], "site": "paris"},
        ],
        "database": {"backend": "mariadb"},
        "openstack": {"keystone": {"password_hash_rounds": 4}},
        "emulation": {"constraints": [{"between": ["keystone", "database"], "across_sites": True}]},
        "bench": {"times": 100, "concurrency": 2},
    },
    factors={
        "backend": Factor(
            levels={
                "mariadb": {"database.backend": "mariadb", **ALONE},
                "postgresql": {"database.backend": "postgresql", **ALONE},
                "galera": {"database.backend": "galera"},
                "cockroachdb": {"database.backend": "cockroachdb"},
            }
        ),
        "delay_ms": Factor(path="emulation.constraints.0.delay_ms", levels=[0, 50, 150]),
        "load": Factor(path="bench.load", levels=["light", "heavy"]),
    },
    repetitions=Repetitions(deployments=3, runs=2),
    # One server, and Keystone at another site, so that every statement pays the delay.
    short={
        "configuration": {
            "machines": [
                {"roles": ["database"], "site": "paris"},
                {"roles": ["keystone", "rally"], "site": "nantes"},
            ],
            "bench": {"scenarios": ["keystone/authenticate-user-and-validate-token"], "times": 10},
        },
        "factors": {
            "backend": {"levels": {"postgresql": {"database.backend": "postgresql"}}},
            "delay_ms": {"levels": [0, 10]},
            "load": None,
        },
        "repetitions": {"deployments": 1, "runs": 1},
    },
)
