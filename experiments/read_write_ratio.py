"""What writing costs: scenarios that only read, that write as often as they read, and that mostly write.

A Rally task runs one scenario, so the share of writes is varied by choosing scenarios. Every iteration also gets a
token before its own requests (rally-openstack 4.1.0), which reads; shares are of the requests besides that.
"""

from __future__ import annotations

from enos_crdb.campaign import Experiment, Factor, Repetitions

READS = ["keystone/authenticate-user-and-validate-token", "keystone/authenticate"]
HALF = ["keystone/create-and-list-tenants", "keystone/create-and-list-users", "keystone/create-and-get-role"]
WRITES = ["keystone/create-and-delete-role", "keystone/create-user-update-password", "keystone/create-delete-user"]
SITES = ("paris", "nantes", "lyon")
ALONE = {"machines.2.roles": ["rally"], "machines.3.roles": ["rally"]}
"""One database server, at the first site; the hosts at the other sites stay, without work."""

experiment = Experiment(
    experiment="read-write-ratio",
    title="What writing costs",
    description="Latency of Keystone's reads and writes on four databases whose nodes are 20 ms of round trip apart.",
    keywords=["OpenStack", "Keystone", "distributed databases", "replication"],
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
                {"between": [f"site:{one}", f"site:{other}"]}
                for one, other in (("paris", "nantes"), ("paris", "lyon"), ("nantes", "lyon"))
            ]
        },
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
        "delay_ms": Factor(
            levels={
                str(delay_ms): {f"emulation.constraints.{pair}.delay_ms": delay_ms for pair in range(3)}
                for delay_ms in (0, 10)
            }
        ),
        "writes": Factor(path="bench.scenarios", levels={"none": READS, "half": HALF, "most": WRITES}),
    },
    repetitions=Repetitions(deployments=3, runs=2),
    short={
        "configuration": {
            "machines": [{"roles": ["database"]}, {"roles": ["keystone", "rally"]}],
            "emulation": None,
            "bench": {"times": 10},
        },
        "factors": {
            "backend": {"levels": {"postgresql": {"database.backend": "postgresql"}}},
            "delay_ms": None,
            "writes": {"levels": {"none": READS[:1], "half": HALF[:1], "most": WRITES[:1]}},
        },
        "repetitions": {"deployments": 1, "runs": 1},
    },
)
