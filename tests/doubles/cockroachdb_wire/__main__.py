"""The double as a program: ``python3 -m cockroachdb_wire --listen 127.0.0.1:26257 --backend 127.0.0.1:5432 ...``."""

from __future__ import annotations

import argparse
import json
import signal
import threading
from pathlib import Path

from .double import Address, Double, Tls
from .faults import KINDS, Faults


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    faults = Faults(seed=options.seed, limit=options.limit, **{kind: getattr(options, kind) for kind in KINDS})
    files = (options.tls_cert, options.tls_key, options.tls_ca)
    tls = Tls(certificate=files[0], key=files[1], authority=files[2]) if all(files) else None
    double = Double(
        backend=options.backend,
        version=options.version,
        listen=options.listen,
        faults=faults,
        tls=tls,
        log=options.log,
        log_statements=options.log_statements,
    )
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with double:
        print("ready", *double.address, flush=True)
        stopped.wait()
    text = json.dumps(double.statistics, indent=1)
    if options.statistics:
        options.statistics.write_text(text + "\n")
    else:
        print(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cockroachdb_wire", description=__doc__)
    parser.add_argument("--listen", type=_host_and_port, default=("127.0.0.1", 26257), metavar="HOST:PORT")
    parser.add_argument("--backend", type=_address, required=True, metavar="HOST:PORT|SOCKET")
    parser.add_argument("--version", required=True, help="of CockroachDB, like 25.4.11")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, help="at most so many faults")
    for kind in KINDS:
        parser.add_argument(f"--{kind.replace('_', '-')}", type=float, default=0, metavar="P", help="from 0 to 1")
    for name in ("--tls-cert", "--tls-key", "--tls-ca", "--log", "--statistics"):
        parser.add_argument(name, type=Path, metavar="FILE")
    parser.add_argument("--log-statements", action="store_true")
    return parser


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _address(text: str) -> Address:
    """A path is a unix socket, or the directory of PostgreSQL's usual one."""
    if not text.startswith("/"):
        return _host_and_port(text)
    return str(Path(text) / ".s.PGSQL.5432") if Path(text).is_dir() else text


if __name__ == "__main__":
    main()
