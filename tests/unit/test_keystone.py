"""Keystone as values, its configuration as it reaches a host, and the programs its Ansible role sends there."""

from __future__ import annotations

import configparser
import grp
import http.server
import json
import os
import pwd
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from enos_crdb import keystone, shipped
from enos_crdb.backends import Connection, File
from enos_crdb.config.openstack import Keystone, OpenStack
from enos_crdb.model import Host, Resources
from tests.unit.role_files import PLAYBOOKS, program, python

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROLE = shipped.directory("playbooks") / "roles" / "keystone"
PASSWORD = 'it\'s a "pass" $word'


def host(name: str, number: int, *roles: str) -> Host:
    addresses = {"control": f"10.0.1.{number}", "database": f"10.0.2.{number}"}
    return Host(name=name, roles=roles, address=addresses["control"], addresses=addresses)


RESOURCES = Resources(
    hosts=(
        host("keystone-2", 2, "keystone"),
        host("keystone-1", 1, "keystone", "database"),
        host("rally-1", 3, "rally"),
        host("database-2", 4, "database"),
    ),
    networks=(),
)
SECRETS = {"keystone_admin_password": PASSWORD, "database_password": "x", **keystone.new_keys()}
CONNECTIONS = {
    "keystone-1": Connection(
        url="cockroachdb+psycopg2://keystone:a$b@10.0.2.1/keystone",
        parameters={"crdb_isolation": "READ_COMMITTED"},
        schema_parameters={"crdb_isolation": "AUTOCOMMIT", "crdb_set_application_name": "a b&c"},
        files=(File(path="/etc/keystone/cockroachdb/ca.crt", content="CERTIFICATE"),),
    ),
    "keystone-2": Connection(url="mysql://two"),
}


def variables(**options: Any) -> dict[str, dict[str, Any]]:
    openstack = OpenStack(release="2026.2", keystone=Keystone(**options))
    return keystone.variables(openstack, RESOURCES, SECRETS, CONNECTIONS, backend="postgresql")


class TestKeys:
    def test_are_what_keystone_reads(self) -> None:
        keys = keystone.new_keys()
        for name in ("fernet_0", "fernet_1", "credential_0", "credential_1"):
            Fernet(keys[f"keystone_{name}"])  # raises for a malformed key
        private = load_pem_private_key(keys["keystone_jws_private"].encode(), None)
        assert private.curve.name == "secp256r1"  # type: ignore[union-attr]
        assert "PUBLIC KEY" in keys["keystone_jws_public"]

    def test_are_never_the_same(self) -> None:
        first, second = keystone.new_keys(), keystone.new_keys()
        assert len({*first.values(), *second.values()}) == 2 * len(first)


class TestVariables:
    def test_are_for_hosts_of_keystone_and_rally_only(self) -> None:
        assert sorted(variables()) == ["keystone-1", "keystone-2", "rally-1"]

    def test_one_region_per_host_and_the_same_catalogue_everywhere(self) -> None:
        by_host = variables()
        catalogue = [
            {"region": "keystone-2", "url": "http://10.0.1.2:5000/v3"},
            {"region": "keystone-1", "url": "http://10.0.1.1:5000/v3"},
        ]
        assert [by_host[name]["keystone_endpoints"] for name in sorted(by_host)] == [catalogue] * 3
        assert by_host["keystone-1"]["keystone_region"] == "keystone-1"
        assert by_host["keystone-1"]["keystone_url"] == "http://10.0.1.1:5000/v3"
        assert by_host["keystone-1"]["keystone_listen_address"] == "10.0.1.1"

    def test_the_bootstrap_host_does_not_depend_on_the_order_of_hosts(self) -> None:
        turned = Resources(hosts=RESOURCES.hosts[::-1], networks=())
        assert keystone.bootstrap_host(RESOURCES) == keystone.bootstrap_host(turned) == "keystone-1"

    def test_each_keystone_has_its_own_connection_and_the_same_keys(self) -> None:
        by_host = variables()
        assert by_host["keystone-2"]["keystone_database_url"] == "mysql://two"
        assert by_host["keystone-1"]["keystone_keys"] == by_host["keystone-2"]["keystone_keys"]
        assert by_host["keystone-1"]["keystone_keys"]["fernet_1"] == SECRETS["keystone_fernet_1"]

    def test_a_rally_host_gets_no_key_and_no_connection(self) -> None:
        assert not {"keystone_keys", "keystone_database_url"} & variables()["rally-1"].keys()

    def test_a_host_of_both_roles_gets_both(self) -> None:
        both = Resources(hosts=(host("all-1", 9, "keystone", "rally"),), networks=())
        connections = {"all-1": Connection(url="url")}
        given = keystone.variables(OpenStack(), both, SECRETS, connections, backend="galera")["all-1"]
        assert {"rally_clouds", "keystone_keys"} <= given.keys()

    def test_without_cache_memcached_does_not_run(self) -> None:
        assert variables(cache="none")["keystone-1"]["memcached_enabled"] is False
        assert variables()["keystone-1"]["memcached_enabled"] is True

    @pytest.mark.parametrize("installer", ["pypi", "devstack"])
    def test_every_variable_is_one_of_the_roles(self, installer: Literal["pypi", "devstack"]) -> None:
        known: set[str] = set()
        for role in ("keystone", "memcached", "rally", "devstack"):
            known |= yaml.safe_load((ROLE.parent / role / "defaults" / "main.yml").read_text()).keys()
        wheels = keystone.Wheels(directory="/srv/w")
        openstack = OpenStack(installer=installer)
        by_host = keystone.variables(openstack, RESOURCES, SECRETS, CONNECTIONS, backend="mariadb")
        given = [*by_host["keystone-1"], *by_host["rally-1"]]
        given += keystone.install_variables(openstack, keystone_crdb="/here/keystone_crdb.whl")
        given += keystone.wheel_variables({"keystone": wheels, "rally": wheels})
        assert set(given) - known == set()


class TestCredentials:
    def test_a_shell_reads_openrc(self) -> None:
        text = keystone.openrc(keystone.endpoints("pypi", RESOURCES), PASSWORD)
        shell = subprocess.run(["sh", "-c", f"{text}\nenv"], capture_output=True, text=True, check=True)
        environment = dict(line.split("=", 1) for line in shell.stdout.splitlines() if line.startswith("OS_"))
        assert environment["OS_PASSWORD"] == PASSWORD
        assert environment["OS_AUTH_URL"] == "http://10.0.1.2:5000/v3"
        assert "# keystone-1: OS_AUTH_URL=http://10.0.1.1:5000/v3" in text

    def test_clouds_yaml_has_every_region_and_a_default(self) -> None:
        clouds = yaml.safe_load(keystone.clouds_yaml(keystone.endpoints("pypi", RESOURCES), PASSWORD))["clouds"]
        assert list(clouds) == ["enos_crdb", "keystone-2", "keystone-1"]
        assert clouds["enos_crdb"] == clouds["keystone-2"]
        assert clouds["keystone-1"]["auth"]["auth_url"] == "http://10.0.1.1:5000/v3"
        assert clouds["keystone-1"]["auth"]["password"] == PASSWORD

    def test_the_openstack_command_line_holds_no_password(self) -> None:
        command = keystone.openstack_command(("user", "list"), cloud="keystone-1")
        assert command[-2:] == ("user", "list")
        assert "OS_CLOUD=keystone-1" in command
        assert "PASS" not in shlex.join(command)


def rendered(template: str, **options: Any) -> str:
    """A template of the role as Ansible renders it for keystone-1."""
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar

    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    internal = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
    given = {**defaults, **internal, **variables(**options)["keystone-1"], "ansible_managed": "managed"}
    text: str = Templar(DataLoader(), variables=given).template((ROLE / "templates" / template).read_text())
    return text


def keystone_crdb_groups() -> list[str]:
    """The sections that keystone_crdb has drivers for, read from its metadata: one entry point each."""
    metadata = tomllib.loads((shipped.directory("keystone_crdb") / "pyproject.toml").read_text())
    names = {
        "keystone.identity.id_mapping": "identity_mapping",
        "keystone.identity.shadow_users": "shadow_users",
        "keystone.resource.domain_config": "domain_config",
    }
    spaces = [space for space in metadata["project"]["entry-points"] if space.startswith("keystone.")]
    return [names.get(space, space.removeprefix("keystone.")) for space in spaces]


def keystone_conf(**options: Any) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, default_section="none")
    parser.read_string(rendered("keystone.conf.j2", **options))
    return parser


class TestConfiguration:
    def test_defaults_are_written_out(self) -> None:
        conf = keystone_conf()
        assert conf["cache"]["enabled"] == "True"
        assert conf["cache"]["backend"] == "oslo_cache.memcache_pool"
        assert conf["identity"]["password_hash_rounds"] == "4"
        assert conf["token"]["provider"] == "fernet"
        assert conf["database"]["max_pool_size"] == "20"
        assert conf["DEFAULT"]["debug"] == "False"

    @pytest.mark.parametrize(
        ("options", "section", "option", "value"),
        [
            ({"cache": "none"}, "cache", "enabled", "False"),
            ({"cache": "request"}, "cache", "enabled", "True"),
            ({"cache": "request"}, "cache", "backend", "dogpile.cache.null"),
            ({"cache": "memcached"}, "cache", "backend", "oslo_cache.memcache_pool"),
            ({"password_hash_rounds": 12}, "identity", "password_hash_rounds", "12"),
            ({"token_provider": "jws"}, "token", "provider", "jws"),
            ({"token_provider": "jws"}, "DEFAULT", "max_token_size", "4096"),
            ({"debug": True}, "DEFAULT", "debug", "True"),
            ({"max_pool_size": 7}, "database", "max_pool_size", "7"),
            ({"settings": {"token": {"expiration": 60}}}, "token", "expiration", "60"),
            ({"settings": {"cache": {"backend": "dogpile.cache.memory"}}}, "cache", "backend", "dogpile.cache.memory"),
            ({"settings": {"trust": {"max": 1.5}}}, "trust", "max", "1.5"),
        ],
    )
    def test_options_reach_keystone_conf(self, options: dict[str, Any], section: str, option: str, value: str) -> None:
        assert keystone_conf(**options)[section][option] == value

    def test_a_setting_leaves_its_neighbours_alone(self) -> None:
        assert keystone_conf(settings={"token": {"expiration": 60}})["token"]["provider"] == "fernet"

    def test_a_dollar_in_the_connection_is_not_a_substitution(self) -> None:
        assert keystone_conf()["database"]["connection"] == CONNECTIONS["keystone-1"].url.replace("$", "$$")

    @pytest.mark.parametrize(
        ("options", "line"),
        [
            ({"workers": 5}, "processes = 5"),
            ({"threads": 3}, "threads = 3"),
            ({}, "http-socket = 10.0.1.1:5000"),
            ({}, "disable-logging = true"),
            ({"trace_requests": True}, "log-format = %(method) %(uri) %(status) %(msecs) ms"),
        ],
    )
    def test_options_reach_uwsgi(self, options: dict[str, Any], line: str) -> None:
        assert line in rendered("uwsgi.ini.j2", **options).splitlines()

    def test_every_option_reaches_a_file(self) -> None:
        """A new option of config/openstack.py that no template reads would silently do nothing."""
        templates = "".join(path.read_text() for path in (ROLE / "templates").iterdir())
        names = [{"keystone_crdb": "compatibility"}.get(name, name) for name in Keystone.model_fields]
        assert [name for name in names if f"keystone_{name}" not in templates] == []

    def test_keystone_crdb_replaces_every_sql_driver(self) -> None:
        conf = keystone_conf()
        assert conf["database"]["connection_parameters"] == "plugin=keystone_crdb&crdb_isolation=READ_COMMITTED"
        drivers = {name for name in conf.sections() if conf[name].get("driver") == "sql_retry"}
        assert drivers == set(keystone_crdb_groups())
        assert conf["identity"]["password_hash_rounds"] == "4"

    def test_with_the_plugin_alone_the_drivers_are_keystones(self) -> None:
        conf = keystone_conf(keystone_crdb="plugin")
        assert conf["database"]["connection_parameters"].startswith("plugin=keystone_crdb")
        assert [name for name in conf.sections() if "driver" in conf[name]] == []

    def test_without_keystone_crdb_nothing_names_it(self) -> None:
        assert "keystone_crdb" not in rendered("keystone.conf.j2", keystone_crdb="off")
        assert "sql_retry" not in rendered("keystone.conf.j2", keystone_crdb="off")

    def test_db_sync_has_parameters_of_its_own(self) -> None:
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(rendered("db_sync.conf.j2"))
        assert parser["database"]["connection_parameters"] == (
            "plugin=keystone_crdb&crdb_isolation=AUTOCOMMIT&crdb_set_application_name=a%20b%26c"
        )

    def test_the_cache_is_emptied_before_each_start(self) -> None:
        assert "flush_all" in rendered("keystone.service.j2")
        assert "11211" not in rendered("keystone.service.j2", cache="none")


class FakeKeystone(http.server.BaseHTTPRequestHandler):
    """Answers like Keystone, as far as the check goes: tokens start with the key of their issuer's group."""

    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        key = self.server.key  # type: ignore[attr-defined]
        valid = self.path == "/v3" or self.headers.get("X-Subject-Token", "").startswith(key)
        self.send_response(200 if valid else 401)
        self.end_headers()

    def do_POST(self) -> None:
        user = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["auth"]["identity"]
        good = user["password"]["user"]["password"] == PASSWORD
        self.send_response(201 if good else 401)
        self.send_header("X-Subject-Token", f"{self.server.key}-token")  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def fake_keystones(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Addresses of Keystones whose tokens are valid where the key is the same."""
    servers = []
    for key in request.param:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FakeKeystone)
        server.key = key  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
    yield [f"http://127.0.0.1:{server.server_port}/v3" for server in servers]
    for server in servers:
        server.shutdown()
        server.server_close()


crossing = program("crossing")


def cross(
    urls: list[str],
    capsys: pytest.CaptureFixture[str],
    password: str = PASSWORD,
    issuing: tuple[str, ...] | None = None,
) -> dict[str, Any]:
    regions = [{"region": f"r{number}", "url": url} for number, url in enumerate(urls)]
    issuers = [keystone["region"] for keystone in regions if issuing is None or keystone["region"] in issuing]
    request = {"username": "admin", "password": password, "keystones": regions, "issuers": issuers, "timeout_s": 0}
    crossing.cross(request)
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


class TestCrossing:
    @pytest.mark.parametrize("fake_keystones", ["aa"], indirect=True)
    def test_tokens_are_issued_one_after_the_other(
        self, fake_keystones: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        issue, threads = crossing._issue, list[threading.Thread]()

        def from_a_thread(url: str, body: dict[str, Any]) -> Any:
            threads.append(threading.current_thread())
            return issue(url, body)

        monkeypatch.setattr(crossing, "_issue", from_a_thread)
        cross(fake_keystones, capsys)
        assert len(threads) == 2
        assert len({*threads}) == 1, "on several Galera nodes at once, Keystone's write of the day would conflict"

    @pytest.mark.parametrize("fake_keystones", ["aa"], indirect=True)
    def test_tokens_cross(self, fake_keystones: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        answer = cross(fake_keystones, capsys)
        assert answer == {"matrix": {"r0": {"r0": "ok", "r1": "ok"}, "r1": {"r0": "ok", "r1": "ok"}}, "failures": []}

    @pytest.mark.parametrize("fake_keystones", ["aa"], indirect=True)
    def test_each_host_has_its_share(self, fake_keystones: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        urls = [*fake_keystones, "http://127.0.0.1:9/v3"]
        answer = cross(urls, capsys, issuing=("r1",))
        assert answer["matrix"].keys() == {"r1"}
        assert answer["matrix"]["r1"].keys() == {"r0", "r1", "r2"}
        (failure,) = answer["failures"]
        assert failure.startswith("Keystone r2 (http://127.0.0.1:9/v3) does not answer: "), "others are waited for, too"

    @pytest.mark.parametrize("fake_keystones", ["ab"], indirect=True)
    def test_other_keys_are_named_by_pair(self, fake_keystones: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert cross(fake_keystones, capsys)["failures"] == [
            "a token from r0 is not valid at r1: HTTP 401 Unauthorized",
            "a token from r1 is not valid at r0: HTTP 401 Unauthorized",
        ]

    @pytest.mark.parametrize("fake_keystones", ["a"], indirect=True)
    def test_a_keystone_that_is_down_is_reported_once(
        self, fake_keystones: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        (failure,) = cross([*fake_keystones, "http://127.0.0.1:9/v3"], capsys)["failures"]
        assert failure.startswith("Keystone r1 (http://127.0.0.1:9/v3) does not answer: ")

    @pytest.mark.parametrize("fake_keystones", ["a"], indirect=True)
    def test_a_refused_password_is_not_printed(
        self, fake_keystones: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        (failure,) = cross(fake_keystones, capsys, password="wrong horse")["failures"]
        assert "gives no token: HTTP 401" in failure
        assert "wrong horse" not in failure


class TestSchema:
    REQUEST = {"username": "admin", "password": PASSWORD, "endpoints": [], "memcached": ""}

    def test_the_password_is_in_no_argument(self) -> None:
        arguments = python("keystone/files/schema.py")._bootstrap_arguments(
            self.REQUEST, {"region": "r", "url": "http://k/v3"}
        )
        assert arguments[0] == "bootstrap"
        assert "--bootstrap-region-id=r" in arguments
        assert "--bootstrap-public-url=http://k/v3" in arguments
        assert PASSWORD not in " ".join(arguments)

    @pytest.mark.parametrize(
        ("ending", "status"),
        [("sys.exit(3)", "3"), ("sys.exit('no')", "1"), ("raise ValueError(os.environ['OS_BOOTSTRAP_PASSWORD'])", "1")],
    )
    def test_a_failing_command_is_told_with_the_password_masked(self, tmp_path: Path, ending: str, status: str) -> None:
        (tmp_path / "cli.py").write_text(
            "import os, sys\ndef main(argv):\n"
            f"    print('did', argv[1], os.environ['OS_BOOTSTRAP_PASSWORD'])\n    {ending}\n"
        )
        text = f"""
import importlib.metadata, sys
sys.path[:0] = [{str(ROLE / "files")!r}, {str(tmp_path)!r}]
import cli, schema
schema._manage(cli, ["db_sync"], {PASSWORD!r})
"""
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
        assert f"keystone-manage db_sync ended with status {status}" in done.stderr
        assert "did db_sync ********" in done.stderr
        assert PASSWORD not in done.stderr

    def test_a_command_that_ends_well_is_quiet(self, tmp_path: Path) -> None:
        (tmp_path / "cli.py").write_text("def main(argv):\n    print('a warning nobody needs')\n")
        text = f"import sys; sys.path[:0] = [{str(ROLE / 'files')!r}, {str(tmp_path)!r}]\nimport cli, schema\n"
        text += "schema._manage(cli, ['db_sync'], 'secret')"
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    @pytest.mark.parametrize("change", ["request", "state"])
    def test_the_seal_breaks_when_the_request_or_the_database_changes(
        self, change: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        schema = python("keystone/files/schema.py")
        monkeypatch.setattr(schema.importlib.metadata, "version", lambda name: "30.0.0")
        changed = {**self.REQUEST, "endpoints": [{"region": "r", "url": "u"}]}
        state = [["role", "('id', 'admin')"]]
        other = schema._seal(changed, state) if change == "request" else schema._seal(self.REQUEST, [["role"]])
        assert schema._seal(self.REQUEST, state) == schema._seal(dict(self.REQUEST), [list(state[0])])
        assert other != schema._seal(self.REQUEST, state)


class TestWrittenFiles:
    """The Ansible module that writes configuration and keys, run as Ansible runs it."""

    def run(self, directory: Path, content: str, mode: str = "0600") -> list[str]:
        file = {
            "path": str(directory / "keys" / "0"),
            "content": content,
            "owner": pwd.getpwuid(os.getuid()).pw_name,
            "group": grp.getgrgid(os.getgid()).gr_name,
            "mode": mode,
        }
        arguments = {"files": [file], "only": [str(directory / "keys")], "_ansible_remote_tmp": str(directory)}
        module = PLAYBOOKS / "library" / "written_files.py"
        request = json.dumps({"ANSIBLE_MODULE_ARGS": arguments})
        done = subprocess.run([sys.executable, module], input=request, capture_output=True, text=True, check=True)
        answer = json.loads(done.stdout)
        assert answer["changed"] == bool(answer["paths"])
        return [Path(path).name for path in answer["paths"]]

    def test_writes_what_differs_and_nothing_twice(self, tmp_path: Path) -> None:
        assert self.run(tmp_path, "one") == ["0", "keys"]
        assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
        assert self.run(tmp_path, "one") == []
        assert self.run(tmp_path, "two") == ["0"]
        written = tmp_path / "keys" / "0"
        assert (written.read_text(), written.stat().st_mode & 0o777) == ("two", 0o600)

    def test_repairs_permissions_and_removes_withdrawn_keys(self, tmp_path: Path) -> None:
        self.run(tmp_path, "one")
        (tmp_path / "keys" / "0").chmod(0o644)
        (tmp_path / "keys" / "9").write_text("withdrawn")
        assert self.run(tmp_path, "one") == ["0", "9"]
        assert [path.name for path in (tmp_path / "keys").iterdir()] == ["0"]
        assert (tmp_path / "keys" / "0").stat().st_mode & 0o777 == 0o600
