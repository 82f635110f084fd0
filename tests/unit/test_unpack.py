"""What hosts sent, unpacked without the secrets in it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from enos_crdb.errors import StateError
from enos_crdb.masking import masked
from enos_crdb.phases.unpack import unpack

SECRET = 'p"ss/w0rd-of-sql'


def pack(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o777
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        pytest.param(f"password = {SECRET}\n", "password = ********\n", id="as-it-is"),
        pytest.param(r'{"password": "p\"ss/w0rd-of-sql"}', '{"password": "********"}', id="json"),
        pytest.param("mysql://keystone:p%22ss%2Fw0rd-of-sql@db/", "mysql://keystone:********@db/", id="url"),
        pytest.param("postgresql://k:p%22ss/w0rd-of-sql@db/", "postgresql://k:********@db/", id="url-with-slash"),
    ],
)
def test_a_secret_is_masked_however_it_is_written(written: str, kept: str) -> None:
    assert masked(written.encode(), ("", SECRET)) == kept.encode()


def test_files_are_unpacked_masked_and_private(tmp_path: Path) -> None:
    files = {"files/etc/keystone.conf": SECRET.encode(), "journal/keystone.log": b"\xff\x00 " + SECRET.encode()}
    archive = pack(tmp_path / "x.tar.gz", files)
    unpack(archive, tmp_path / "host", (SECRET,))
    assert (tmp_path / "host/files/etc/keystone.conf").read_bytes() == b"********"
    assert (tmp_path / "host/journal/keystone.log").read_bytes() == b"\xff\x00 ********"
    assert (tmp_path / "host/files/etc/keystone.conf").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "host/link").exists()
    assert not archive.exists()


@pytest.mark.parametrize("name", ["../outside", "files/../../outside", "/outside"])
def test_nothing_is_written_elsewhere(tmp_path: Path, name: str) -> None:
    unpack(pack(tmp_path / "x.tar.gz", {name: b"x"}), tmp_path / "host", ())
    assert not list(tmp_path.rglob("outside"))


def test_an_archive_that_did_not_arrive_whole(tmp_path: Path) -> None:
    archive = pack(tmp_path / "x.tar.gz", {"a": b"first", "b": bytes(range(256)) * 4000})
    archive.write_bytes(archive.read_bytes()[:-600])
    with pytest.raises(StateError, match="could not be unpacked whole"):
        unpack(archive, tmp_path / "host", ())
    assert (tmp_path / "host/a").read_bytes() == b"first"
    assert not archive.exists()


def test_unpacking_again_replaces(tmp_path: Path) -> None:
    unpack(pack(tmp_path / "x.tar.gz", {"a": b"a longer first"}), tmp_path / "host", ())
    unpack(pack(tmp_path / "x.tar.gz", {"a": b"second"}), tmp_path / "host", ())
    assert (tmp_path / "host/a").read_bytes() == b"second"
