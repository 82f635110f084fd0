"""What Keystone itself costs, before any database: its cache, the rounds of its password hash, its processes.

A study of databases that leaves Keystone at its defaults measures bcrypt: at 12 rounds a hash takes a quarter of a
second of CPU time, and each login checks one. The cache decides how many statements a request sends at all.
"""

from __future__ import annotations

from enos_crdb.campaign import Experiment, Factor, Repetitions

experiment = Experiment(
    experiment="cache-and-hash",
    title="What Keystone itself costs",
    description="Latency of Keystone on one PostgreSQL server under its own options.",
    keywords=["OpenStack", "Keystone", "cache", "bcrypt"],
    configuration={
        "provider": "nspawn",
        "machines": [{"roles": ["database"]}, {"roles": ["keystone"]}, {"roles": ["rally"]}],
        "database": {"backend": "postgresql"},
        "bench": {
            "scenarios": [
                "keystone/authenticate-user-and-validate-token",
                "keystone/get-entities",
                "keystone/create-user-update-password",
            ],
            "times": 100,
            "concurrency": 2,
        },
    },
    factors={
        "cache": Factor(path="openstack.keystone.cache", levels=["memcached", "request", "none"]),
        "rounds": Factor(path="openstack.keystone.password_hash_rounds", levels=[4, 8, 12]),
        "workers": Factor(path="openstack.keystone.workers", levels=[1, 2, 4]),
    },
    repetitions=Repetitions(deployments=3, runs=1),
    short={
        "configuration": {
            "machines": [{"roles": ["database", "keystone"]}, {"roles": ["rally"]}],
            "bench": {"scenarios": ["keystone/authenticate-user-and-validate-token"], "times": 10},
        },
        "factors": {"cache": {"levels": ["memcached", "none"]}, "rounds": {"levels": [4]}, "workers": None},
        "repetitions": {"deployments": 1, "runs": 1},
    },
)
