"""Where to be: the client and its Keystone at the site of the data, or at another one.

Keystone prefers a database node of its own site. What it finds there differs: Galera's node answers reads itself and
asks the others at a commit; CockroachDB's node asks the leaseholder, which may be elsewhere, unless the leases are kept
at a site (`cockroachdb-leases`: at paris); a single server is at paris, for everybody.
"""

from __future__ import annotations

from enos_crdb.campaign import Experiment, Factor, Repetitions

ALONE = {"machines.2.roles": ["rally"], "machines.3.roles": ["rally"]}
"""One database server, at paris; the hosts at the other sites stay, without work."""
DELAY_MS = 10
SITES = ("paris", "nantes", "lyon")

experiment = Experiment(
    experiment="locality",
    title="Where to be",
    description="Latency of Keystone at the site of the data and at another one, 20 ms of round trip away.",
    keywords=["OpenStack", "Keystone", "distributed databases", "locality"],
    configuration={
        "provider": "nspawn",
        "machines": [
            {"roles": ["keystone", "rally"], "site": "paris"},
            *({"roles": ["database"], "site": site} for site in SITES),
        ],
        "database": {"backend": "mariadb"},
        "openstack": {"keystone": {"password_hash_rounds": 4}},
        "emulation": {
            "constraints": [
                {"between": [f"site:{one}", f"site:{other}"], "delay_ms": DELAY_MS}
                for one, other in (("paris", "nantes"), ("paris", "lyon"), ("nantes", "lyon"))
            ]
        },
        "bench": {"times": 100, "concurrency": 2},
    },
    factors={
        "backend": Factor(
            levels={
                "mariadb": {"database": {"backend": "mariadb"}, **ALONE},
                "galera": {"database": {"backend": "galera"}},
                "cockroachdb": {"database": {"backend": "cockroachdb"}},
                "cockroachdb-leases": {"database": {"backend": "cockroachdb", "lease_regions": ["paris"]}},
            }
        ),
        "client": Factor(path="machines.0.site", levels=["paris", "lyon"]),
    },
    repetitions=Repetitions(deployments=3, runs=3),
    short={
        "configuration": {
            "machines": [
                {"roles": ["keystone", "rally"], "site": "paris"},
                {"roles": ["database"], "site": "paris"},
                {"roles": ["rally"], "site": "lyon"},
            ],
            "emulation": {"constraints": [{"between": ["site:paris", "site:lyon"], "delay_ms": DELAY_MS}]},
            "bench": {"scenarios": ["keystone/authenticate-user-and-validate-token"], "times": 10},
        },
        "factors": {"backend": {"levels": {"mariadb": {"database": {"backend": "mariadb"}}}}},
        "repetitions": {"deployments": 1, "runs": 1},
    },
)
