"""What local hosts inherit from the machine, and where their packages come from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from enos_crdb.errors import ConfigurationError
from enos_crdb.providers.nspawn import settings
from enos_crdb.providers.nspawn.settings import HostFile
from enos_crdb.providers.nspawn.suite import (
    Source,
    choose_suite,
    format_sources,
    own_sources,
    parse_deb822,
    parse_list,
    parse_os_release,
    suite_sources,
)
from enos_crdb.providers.nspawn.urls import reachable

GATEWAY = "10.91.0.1"


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("http://proxy.example:3128/", "http://proxy.example:3128/"),
        ("http://localhost:3142", "http://10.91.0.1:3142"),
        ("http://user:secret@127.0.0.1:3142/x?y=1", "http://user:secret@10.91.0.1:3142/x?y=1"),
        ("http://[::1]/", "http://10.91.0.1/"),
    ],
)
def test_loopback_of_the_machine_is_asked_at_the_gateway(url: str, seen: str) -> None:
    assert reachable(url, GATEWAY) == seen


class TestSuite:
    @pytest.mark.parametrize(
        ("asked", "own", "chosen"),
        [
            (None, "trixie", "trixie"),
            (None, "noble", "noble"),
            (None, "jammy", "bookworm"),
            (None, "", "bookworm"),
            ("trixie", "bookworm", "trixie"),
        ],
    )
    def test_choice(self, asked: str | None, own: str, chosen: str) -> None:
        assert choose_suite(asked, {"VERSION_CODENAME": own}) == chosen

    def test_unsupported(self) -> None:
        with pytest.raises(ConfigurationError, match="Allowed: bullseye, bookworm, trixie, jammy, noble"):
            choose_suite("buster", {})

    def test_os_release(self) -> None:
        assert parse_os_release('ID=debian\nVERSION_CODENAME="trixie"\n# x\n')["VERSION_CODENAME"] == "trixie"


class TestSources:
    def test_one_line_format_without_third_parties(self) -> None:
        found = parse_list(
            "# deb http://old.example/debian bookworm main\n"
            "deb http://mirror.example/debian/ bookworm main contrib # comment\n"
            "deb-src http://mirror.example/debian bookworm main\n"
            "deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
            "https://sec.example/debian-security bookworm-security main\n"
            "deb [signed-by=/etc/apt/keyrings/docker.asc] https://docker.example/debian bookworm main\n"
            "deb http://tools.example/apt bookworm stable\n"
            "deb file:/srv/packages bookworm main\n"
        )
        assert found == [
            Source(uri="http://mirror.example/debian", suite="bookworm", components=("main",)),
            Source(uri="https://sec.example/debian-security", suite="bookworm-security", components=("main",)),
        ]

    def test_deb822_format(self) -> None:
        found = parse_deb822(
            "Types: deb deb-src\n# a comment\nURIs: http://mirror.example/ubuntu\nSuites: noble\n noble-updates\n"
            "Components: main universe restricted\nSigned-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg\n"
            "\n"
            "Types: deb\nURIs: http://x.example\nSuites: noble\nComponents: main\nEnabled: no\n"
            "\n"
            "Types: deb\nURIs: http://y.example\nSuites: noble\nComponents: main\nSigned-By:\n -----BEGIN PGP\n .\n"
        )
        assert [(source.uri, source.suite, source.components) for source in found] == [
            ("http://mirror.example/ubuntu", "noble", ("main", "universe")),
            ("http://mirror.example/ubuntu", "noble-updates", ("main", "universe")),
        ]

    def test_both_formats_are_read_from_a_machine(self, tmp_path: Path) -> None:
        (tmp_path / "sources.list.d").mkdir()
        (tmp_path / "sources.list").write_text("deb http://a.example/debian bookworm main\n")
        (tmp_path / "sources.list.d/b.list").write_text("deb http://a.example/debian bookworm main\n")
        (tmp_path / "sources.list.d/c.sources").write_text(
            "Types: deb\nURIs: http://c.example\nSuites: bookworm-updates\nComponents: main\nTrusted: yes\n"
        )
        (tmp_path / "sources.list.d/d.list.disabled").write_text("deb http://d.example bookworm main\n")
        found = own_sources(tmp_path)
        assert [source.uri for source in found] == ["http://a.example/debian", "http://c.example"]
        assert format_sources(found, GATEWAY).splitlines()[1] == (
            "deb [trusted=yes] http://c.example bookworm-updates main"
        )

    def test_own_mirror_serves_the_other_suites_of_its_distribution(self) -> None:
        own = [
            Source(uri="http://mirror.example/debian", suite="bookworm", components=("main",)),
            Source(uri="http://fixes.example/debian", suite="bookworm-security", components=("main",)),
        ]
        assert suite_sources("bookworm", None, own) == own
        assert [(source.uri, source.suite) for source in suite_sources("trixie", None, own)] == [
            ("http://mirror.example/debian", "trixie"),
            ("http://fixes.example/debian", "trixie-security"),
        ]

    @pytest.mark.parametrize(("suite", "own"), [("noble", "bookworm"), ("bookworm", "noble"), ("bookworm", "jammy")])
    def test_a_suite_of_the_other_distribution_needs_a_named_mirror(self, suite: str, own: str) -> None:
        sources = [Source(uri="http://mirror.example/linux", suite=own, components=("main",))]
        with pytest.raises(ConfigurationError, match="no archive for"):
            suite_sources(suite, None, sources)
        assert suite_sources(suite, "http://near.example/linux", sources)[0].suite == suite

    def test_named_mirror_replaces_the_main_archive(self) -> None:
        own = [
            Source(uri="http://mirror.example/debian", suite="bookworm", components=("main",)),
            Source(uri="http://fixes.example/debian", suite="bookworm-security", components=("main",)),
        ]
        uris = [source.uri for source in suite_sources("bookworm", "http://near.example/debian", own)]
        assert uris == ["http://near.example/debian", "http://near.example/debian", "http://fixes.example/debian"]
        assert len(suite_sources("bookworm", "http://near.example/debian", [])) == 2


class TestApt:
    def test_how_things_are_fetched_is_kept_and_nothing_else(self) -> None:
        dump = (
            'Acquire::http::Proxy "http://127.0.0.1:3142";\n'
            'Acquire::https::CAInfo "/etc/ssl/own.pem";\n'
            'Acquire::Check-Valid-Until "false";\n'
            'Acquire::https::SslKey "/etc/ssl/private/key";\n'
            'Acquire::IndexTargets::deb::Packages::MetaKey "x";\n'
            'APT::Update::Post-Invoke:: "rm -rf /";\n'
            'Dir::Cache::pkgcache "";\n'
        )
        lines = settings.apt_settings(dump, {}, GATEWAY).splitlines()
        assert 'Acquire::http::Proxy "http://10.91.0.1:3142";' in lines
        assert f'Acquire::https::CAInfo "{settings.BUNDLE}";' in lines
        assert 'Acquire::Check-Valid-Until "false";' in lines
        assert not [line for line in lines if "SslKey" in line or "Invoke" in line or "Index" in line or "Dir" in line]

    def test_proxy_of_the_environment(self) -> None:
        text = settings.apt_settings("", {"https_proxy": "http://p.example:1"}, GATEWAY)
        assert 'Acquire::https::Proxy "http://p.example:1";' in text

    def test_own_proxy_wins_over_the_environment(self) -> None:
        dump = 'Acquire::http::Proxy "http://apt.example:1";'
        assert "env.example" not in settings.apt_settings(dump, {"http_proxy": "http://env.example"}, GATEWAY)


class TestPip:
    MACHINE = "[global]\nindex-url = https://old.example/simple\ncert = /etc/own.pem\ntimeout = 30\n"
    USER = (
        "[global]\nindex_url = https://user:pw@index.example/simple?a=%20\nfind-links = /srv/wheels\n"
        "extra-index-url =\n    file:///srv/wheels\n    https://more.example/simple\n"
        "[download]\ntimeout = 3\n[install]\ntrusted-host = index.example\n"
    )

    def test_settings_that_make_sense_in_a_host(self) -> None:
        values = settings.pip_values([self.MACHINE, self.USER, "no section"], {"PIP_TIMEOUT": "60", "HOME": "/x"})
        found = settings.pip_settings(values, GATEWAY)
        assert found == {
            "index-url": ["https://user:pw@index.example/simple?a=%20"],
            "extra-index-url": ["https://more.example/simple"],
            "timeout": ["60"],
            "trusted-host": ["index.example"],
        }
        assert "cert = /etc/ssl/certs/ca-certificates.crt" in settings.pip_configuration(found)
        assert 'index-url = "https://user:pw@index.example/simple?a=%20"' in settings.uv_configuration(found)

    def test_index_on_the_machine_itself(self) -> None:
        found = settings.pip_settings({"index-url": "http://localhost:3141/root/pypi/+simple/"}, GATEWAY)
        assert found == {"index-url": ["http://10.91.0.1:3141/root/pypi/+simple/"]}


class TestEnvironment:
    def test_nothing_to_say(self) -> None:
        assert settings.environment_file({}, gateway=GATEWAY, direct=["x"], own_certificates=False) == ""

    def test_proxies_spare_the_deployment(self) -> None:
        text = settings.environment_file(
            {"HTTP_PROXY": "http://localhost:3128", "no_proxy": "intra.example"},
            gateway=GATEWAY,
            direct=["10.91.0.0/24", "database-1"],
            own_certificates=True,
        )
        assert 'http_proxy="http://10.91.0.1:3128"' in text
        assert 'no_proxy="intra.example,localhost,127.0.0.1,10.91.0.0/24,database-1"' in text
        assert f'REQUESTS_CA_BUNDLE="{settings.BUNDLE}"' in text


def test_name_servers_a_host_can_reach() -> None:
    stub = "nameserver 127.0.0.53\nsearch lab.example\n"
    real = "# x\nnameserver 192.0.2.53\nnameserver 127.0.0.1\nsearch lab.example\n"
    assert settings.resolver([stub, real]) == "nameserver 192.0.2.53\nsearch lab.example\n"
    assert settings.resolver([stub]) is None


def test_certificates_of_the_administrator(tmp_path: Path) -> None:
    added, certs = tmp_path / "usr/local/share/ca-certificates", tmp_path / "etc/ssl/certs"
    certs.mkdir(parents=True)
    (certs / "ca-certificates.crt").write_text("all")
    assert settings.local_certificates(tmp_path) == []
    added.mkdir(parents=True)
    (added / "own.crt").write_text("own")
    (certs / "own.pem").symlink_to(added / "own.crt")
    (certs / "0a1b2c3d.0").symlink_to("own.pem")
    (certs / "other.pem").symlink_to("/usr/share/ca-certificates/other.crt")
    found = {file.path: file for file in settings.local_certificates(tmp_path)}
    assert set(found) == {
        "usr/local/share/ca-certificates/own.crt",
        "etc/ssl/certs/ca-certificates.crt",
        "etc/ssl/certs/own.pem",
        "etc/ssl/certs/0a1b2c3d.0",
    }
    assert found["etc/ssl/certs/0a1b2c3d.0"].link == "own.pem"


def test_tree_of_settings(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    settings.write_tree(
        tree,
        [
            *settings.ssh_files(authorized_key="ssh-ed25519 A\n", host_key="secret", host_key_public="public"),
            HostFile(path="etc/link", link="target"),
        ],
    )
    modes = {path: (tree / path).stat().st_mode & 0o777 for path in ("root", "root/.ssh", "etc", "etc/ssh")}
    assert modes == {"root": 0o700, "root/.ssh": 0o700, "etc": 0o755, "etc/ssh": 0o755}
    assert (tree / "etc/ssh/ssh_host_ed25519_key").stat().st_mode & 0o777 == 0o600
    assert os.readlink(tree / "etc/link") == "target"


def test_files_are_not_written_through_links(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / "resolv.conf").symlink_to(victim)
    settings.write_files(tmp_path, [HostFile(path="resolv.conf", content="new")])
    assert victim.read_text() == "untouched"
    assert (tmp_path / "resolv.conf").read_text() == "new"
