"""One example for each section of the deployment file and of an experiment, as YAML, for the reference.

A section is named by its key path; for a member of a union, the value that selects it follows in parentheses.
"""

from __future__ import annotations

from collections.abc import Mapping

CONFIGURATION: Mapping[str, str] = {
    "": """\
name: small
provider: nspawn
machines:
  - {roles: [database, keystone]}
  - {roles: [rally]}
database: {backend: postgresql}
""",
    "nspawn": "nspawn: {suite: trixie, layers: false}\n",
    "g5k": """\
g5k:
  site: nantes
  cluster: ecotype
  walltime: "04:00:00"
  env_name: debian12-min
""",
    "g5k.places": """\
g5k:
  places:
    rennes: {site: rennes, cluster: paradoxe}
    lyon: {servers: [nova-1.lyon.grid5000.fr, nova-2.lyon.grid5000.fr]}
""",
    "g5k.networks": """\
g5k:
  env_name: debian12-min
  networks: {database: kavlan}
""",
    "vagrant": "vagrant: {backend: libvirt, box: debian/bookworm64}\n",
    "static": """\
static:
  user: root
  keyfile: ~/.ssh/id_ed25519
  hosts:
    - {address: 192.0.2.11}
    - {address: 192.0.2.12}
""",
    "static.hosts": """\
static:
  hosts:
    - {address: db.example.org, user: admin, port: 2222, site: paris}
""",
    "static.hosts.addresses": """\
static:
  hosts:
    - {address: 192.0.2.11, addresses: {control: 192.0.2.11, database: 198.51.100.11}}
""",
    "machines": """\
machines:
  - {roles: [database, keystone], count: 3, site: [paris, nantes, lyon]}
  - {roles: [rally], site: paris, cpus: 2, memory_mb: 2048}
""",
    "networks": """\
networks:
  control: {cidr: 10.20.0.0/24}
  database: {cidr: 10.20.1.0/24}
""",
    "networks.control": "networks: {control: {cidr: 10.20.0.0/24}}\n",
    "networks.database": "networks: {database: {cidr: 10.20.1.0/24}}\n",
    "database(postgresql)": """\
database:
  backend: postgresql
  max_connections: 300
  settings: {random_page_cost: 1.1}
""",
    "database(mariadb)": """\
database:
  backend: mariadb
  innodb_buffer_pool_mb: 1024
  settings: {innodb_io_capacity: 2000}
""",
    "database(galera)": """\
machines:
  - {roles: [database, keystone], count: 3}
  - {roles: [rally]}
database:
  backend: galera
  wsrep_sync_wait: 1
  provider_options: {evs.suspect_timeout: PT10S}
""",
    "database(cockroachdb)": """\
machines:
  - {roles: [database, keystone], count: 3, site: [paris, nantes, lyon]}
  - {roles: [rally], site: paris}
database:
  backend: cockroachdb
  lease_regions: [paris]
  isolation: read committed
""",
    "database.multi_region": """\
machines:
  - {roles: [database, keystone], count: 3, site: [paris, nantes, lyon]}
  - {roles: [rally], site: paris}
database:
  backend: cockroachdb
  multi_region: {primary: paris, survive: region, global_tables: [project, role]}
""",
    "openstack": """\
openstack:
  release: "2026.1"
  keystone: {workers: 4}
""",
    "openstack.devstack": """\
openstack:
  installer: devstack
  devstack: {branch: stable/2026.1, timeout_s: 5400}
""",
    "openstack.keystone": """\
openstack:
  keystone:
    workers: 4
    cache: request
    settings: {token: {expiration: 7200}}
""",
    "bench": """\
bench:
  scenarios: [keystone/get-entities, keystone/create-and-list-users]
  times: 200
  concurrency: 4
  load: heavy
""",
    "bench.runner(constant)": "bench:\n  runner: {type: constant}\n  times: 200\n  concurrency: 4\n",
    "bench.runner(constant_for_duration)": "bench:\n  runner: {type: constant_for_duration, duration_s: 60}\n",
    "bench.runner(rps)": "bench:\n  runner: {type: rps, rps: 5}\n",
    "bench.runner(open_loop)": """\
bench:
  runner: {type: open_loop, rate_per_s: 4, duration_s: 120, arrivals: poisson}
  concurrency: 50
""",
    "emulation": """\
machines:
  - {roles: [database]}
  - {roles: [keystone]}
  - {roles: [rally]}
database: {backend: postgresql}
emulation:
  constraints:
    - {between: [database, keystone], delay_ms: 25}
  mismatch: label
  tolerance_percent: 10
""",
    "emulation.constraints": """\
machines:
  - {roles: [database, keystone], count: 3, site: [paris, nantes, lyon]}
  - {roles: [rally], site: paris}
emulation:
  constraints:
    - {between: [database, database], delay_ms: 25, across_sites: true}
    - {between: ["site:paris", "site:lyon"], network: control, loss_percent: 0.1, rate: 1gbit}
""",
}

EXPERIMENT: Mapping[str, str] = {
    "": """\
experiment: my-study
configuration: local.yaml
factors:
  load: {path: bench.load, levels: [light, heavy]}
""",
    "authors": """\
authors:
  - {name: Ada Lovelace, orcid: 0000-0002-1825-0097, affiliation: Example University}
""",
    "factors": """\
factors:
  cache: {path: openstack.keystone.cache, levels: [memcached, none]}
  backend:
    levels:
      postgresql: {database.backend: postgresql}
      galera: {database.backend: galera, machines.0.count: 3}
""",
    "repetitions": "repetitions: {deployments: 2, runs: 5}\n",
    "adaptive": "adaptive: {relative_width: 0.05, most_runs: 20, metric: p95}\n",
    "retries": "retries: {network: 2, hosts: 0}\n",
    "budget": "budget: {hours: 8}\n",
    "hosts": "hosts: {at_end: keep}\n",
}
