"""The command line of ``cockroach``, as far as the Ansible role and the tests use it.

A flag that CockroachDB's documentation does not name is refused, so that a typing error in a unit file is seen.
"""

from __future__ import annotations

import argparse
import csv
import os
import pkgutil
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from tests.doubles.cockroachdb_wire import Client, ConnectionEnded
from tests.doubles.cockroachdb_wire.statements import split
from tests.doubles.standin import DISTRIBUTION, Stopped, certificates, flags, peers, trust
from tests.doubles.standin.trust import Trust

Arguments = argparse.Namespace


class SQLError(Exception):
    """The server refused a statement."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"ERROR: {message}", file=sys.stderr)
        sys.exit(1)


def version() -> str:
    """The version this stand-in was built to announce, such as ``v25.4.11``."""
    found = pkgutil.get_data("tests.doubles.standin", "version.txt")
    assert found is not None
    return found.decode().strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit status."""
    parser = _Parser(prog="cockroach", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    _clients(commands)
    _servers(commands)
    _certificates(commands)
    chosen = parser.parse_args(arguments)
    act: Callable[[Arguments], int] = chosen.act
    try:
        return act(chosen)
    except trust.CertificateError as error:
        hint = "Check your certificate settings, set --certs-dir, or use --insecure for insecure clusters."
        return _fail(f"cannot load certificates.\n{hint}\n\n{error}")
    except trust.Unreachable as error:
        hint = "If the node is running, check your --host and --port flags (and --certs-dir or --insecure)."
        return _fail(f"cannot dial server.\nIs the server running?\n{hint}\n\n{error}")
    except ConnectionEnded as error:
        return _fail(f"connection lost.\n\n{error}")
    except (peers.Refused, SQLError, Stopped, flags.BadFlag) as error:
        return _fail(str(error))


def _fail(text: str) -> int:
    print(f"ERROR: {text}\nFailed running {sys.argv[1] if len(sys.argv) > 1 else ''!r}", file=sys.stderr, flush=True)
    return 1


def _command(commands: argparse._SubParsersAction[_Parser], name: str, act: Callable[[Arguments], int]) -> _Parser:
    parser: _Parser = commands.add_parser(name, allow_abbrev=False)
    parser.set_defaults(act=act)
    return parser


def _clients(commands: argparse._SubParsersAction[_Parser]) -> None:
    _command(commands, "version", _version).add_argument("--build-tag", action="store_true")
    _connection(_command(commands, "init", _init)).add_argument("--cluster-name", default="")
    nodes = commands.add_parser("node", allow_abbrev=False).add_subparsers(required=True, parser_class=_Parser)
    status = _connection(_command(nodes, "status", _status))
    for flag in ("ranges", "stats", "decommission", "all"):
        status.add_argument(f"--{flag}", action="store_true")
    status.add_argument("--format", choices=("csv", "tsv"), default="tsv")
    status.add_argument("--timeout")
    sql = _connection(_command(commands, "sql", _sql))
    sql.add_argument("--execute", "-e", action="append", default=[])
    sql.add_argument("--database", "-d", default="defaultdb")
    sql.add_argument("--user", "-u", default="root")
    sql.add_argument("--format", choices=("csv", "tsv"), default="tsv")


def _servers(commands: argparse._SubParsersAction[_Parser]) -> None:
    for name in ("start", "start-single-node"):
        parser = _command(commands, name, _start)
        parser.set_defaults(single=name == "start-single-node")
        _trust(parser)
        for flag in flags.DOCUMENTED:
            parser.add_argument(flag, default="")
        parser.add_argument("--store", "-s", default="cockroach-data")
        if name == "start":
            parser.add_argument("--join", "-j", action="append", required=True)


def _certificates(commands: argparse._SubParsersAction[_Parser]) -> None:
    kinds = commands.add_parser("cert", allow_abbrev=False).add_subparsers(required=True, parser_class=_Parser)
    for name, act in (
        ("create-ca", certificates.create_ca),
        ("create-node", certificates.create_node),
        ("create-client", certificates.create_client),
    ):
        parser = _command(kinds, name, act)
        parser.add_argument("names", nargs="*")
        parser.add_argument("--certs-dir", required=True, type=Path)
        parser.add_argument("--ca-key", required=True, type=Path)
        parser.add_argument("--lifetime", default="87600h")
        parser.add_argument("--key-size", default="2048")
        parser.add_argument("--overwrite", action="store_true")
        parser.add_argument("--allow-ca-key-reuse", action="store_true")


def _trust(parser: _Parser) -> _Parser:
    parser.add_argument("--certs-dir", type=Path, default=os.environ.get("COCKROACH_CERTS_DIR"))
    parser.add_argument("--insecure", action="store_true", default=os.environ.get("COCKROACH_INSECURE") == "true")
    return parser


def _connection(parser: _Parser) -> _Parser:
    parser.add_argument("--host", default=os.environ.get("COCKROACH_HOST", "localhost:26257"))
    parser.add_argument("--port", "-p", default="")
    return _trust(parser)


def _trusted(chosen: Arguments) -> Trust:
    if chosen.insecure:
        return Trust(None)
    return Trust(Path(chosen.certs_dir or Path.home() / ".cockroach-certs"))


def _address(chosen: Arguments) -> str:
    return f"{chosen.host}:{chosen.port}" if chosen.port else str(chosen.host)


def _version(chosen: Arguments) -> int:
    if chosen.build_tag:
        print(version())
        return 0
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    lines = {
        "Build Tag": version(),
        "Build Time": "1970/01/01 00:00:00",
        "Distribution": DISTRIBUTION,
        "Platform": f"linux {machine}",
        "Go Version": "none",
        "C Compiler": "none",
        "Build Commit ID": "none",
        "Build Type": "stand-in",
    }
    print("".join(f"{name + ':':<17} {value}\n" for name, value in lines.items()), end="")
    return 0


def _init(chosen: Arguments) -> int:
    peers.call(_address(chosen), _trusted(chosen), {"call": "init"}, user="root", timeout_s=120)
    print("Cluster successfully initialized")
    return 0


def _status(chosen: Arguments) -> int:
    table = peers.call(_address(chosen), _trusted(chosen), {"call": "status"}, user="root")
    names = ["id", "address", "sql_address", "build", "started_at", "updated_at", "locality", "is_available", "is_live"]
    if chosen.ranges or chosen.all:
        names += ["replicas_leaders", "replicas_leaseholders", "ranges", "ranges_unavailable", "ranges_underreplicated"]
    if chosen.stats or chosen.all:
        names += ["live_bytes", "key_bytes", "value_bytes", "range_key_bytes", "range_value_bytes", "intent_bytes"]
        names += ["system_bytes"]
    if chosen.decommission or chosen.all:
        names += ["gossiped_replicas", "is_decommissioning", "membership", "is_draining"]
    _print_table(names, [[_cell(name, entry) for name in names] for entry in table], chosen.format)
    return 0


def _cell(name: str, entry: dict[str, object]) -> str:
    known = {
        "sql_address": entry["address"],
        "is_available": str(entry["live"]).lower(),
        "is_live": str(entry["live"]).lower(),
        "replicas_leaders": entry["ranges"],
        "replicas_leaseholders": entry["ranges"],
        "ranges_unavailable": entry["unavailable"],
        "ranges_underreplicated": entry["underreplicated"],
        "gossiped_replicas": entry["ranges"],
        "is_decommissioning": "false",
        "membership": "active",
        "is_draining": str(entry["draining"]).lower(),
    }
    return str(known.get(name, entry.get(name, 0)))


def _sql(chosen: Arguments) -> int:
    texts = chosen.execute or [sys.stdin.read()]
    wire = trust.connect(_address(chosen), _trusted(chosen), chosen.user)
    client = Client(wire, user=chosen.user, database=chosen.database, application_name="$ cockroach sql")
    _no_error(client.refused)
    for statement in [one for text in texts for one in split(text)]:
        reply = client(statement.sql)
        _no_error(reply.error)
        if reply.columns:
            _print_table(reply.columns, reply.rows, chosen.format)
        else:
            print(reply.tag, flush=True)
    client.close()
    return 0


def _no_error(fields: Mapping[str, str]) -> None:
    if fields:
        raise SQLError(f"{fields['M']}\nSQLSTATE: {fields['C']}")


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str | None]], form: str) -> None:
    writer = csv.writer(sys.stdout, delimiter="\t" if form == "tsv" else ",", lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([["NULL" if cell is None else cell for cell in row] for row in rows])
    sys.stdout.flush()


def _start(chosen: Arguments) -> int:
    from tests.doubles.standin.node import Node, Settings  # half of what the other commands would load for nothing

    given = {flag: getattr(chosen, flag.strip("-").replace("-", "_")) for flag in flags.DOCUMENTED}
    flags.check(given)
    path, in_memory = flags.store(chosen.store)
    if in_memory:
        name = f"standin-{os.getuid()}-{given['--listen-addr'].replace(':', '-')}"
        path = Path(os.environ.get("RUNTIME_DIRECTORY") or tempfile.gettempdir()) / name
    join = [address for text in getattr(chosen, "join", []) for address in text.split(",") if address]
    node = Node(
        Settings(
            version=version(),
            store=path.resolve(),
            in_memory=in_memory,
            trust=_trusted(chosen),
            listen=given["--listen-addr"] or ":26257",
            advertise=given["--advertise-addr"],
            http=given["--http-addr"] or ":8080",
            join=tuple(join),
            locality=given["--locality"],
            single=chosen.single,
            logs=flags.logs(given["--log"], path.resolve()),
            url_file=Path(given["--listening-url-file"]) if given["--listening-url-file"] else None,
            pid_file=Path(given["--pid-file"]) if given["--pid-file"] else None,
        )
    )
    node.run()
    return 0
