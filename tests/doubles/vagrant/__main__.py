"""`vagrant`, as far as EnOSlib and the engine call it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from tests.doubles.vagrant.machines import Machine, open_machines, read

ORDERS = Path(os.environ["FAKE_VAGRANT"])
PLACE = Path(os.environ.get("VAGRANT_CWD") or Path.cwd())
PROVIDER = os.environ.get("VAGRANT_DEFAULT_PROVIDER", "virtualbox")

interruptions: list[int] = []


def main(argv: Sequence[str]) -> int:
    record(argv)
    command, *words = argv
    return COMMANDS[command](words)


def record(argv: Sequence[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name.startswith("VAGRANT_")}
    with (ORDERS / "calls.jsonl").open("a") as stream:
        stream.write(json.dumps({"argv": list(argv), "cwd": str(Path.cwd()), "environment": environment}) + "\n")


def order(name: str) -> str | None:
    file = ORDERS / name
    return file.read_text() if file.exists() else None


def up(words: Sequence[str]) -> int:
    signal.signal(signal.SIGINT, interrupt)
    machines, hosts = read(PLACE / "Vagrantfile"), open_machines(PLACE)
    print(f"Bringing machine '{machines[0].name}' up with '{PROVIDER}' provider...", flush=True)
    for machine in machines:
        if hosts.runs(machine):
            say(machine, "Machine already provisioned.")
            continue
        say(machine, "Creating image (snapshot of base box volume).")
        say(machine, f" -- Memory:            {machine.memory_mb}M")
        wait(float(order("slow") or 0))
        if interruptions:
            (ORDERS / "cleaned-up").touch()
            put("==> vagrant: Vagrant exited after cleanup due to external interrupt.")
            return 1
        hosts.boot(machine)
        if (refusal := failure(machine)) is not None:
            hosts.kill(machine)
            print(refusal, file=sys.stderr, flush=True)
            return 1
        say(machine, "Machine booted and ready!")
    return 0


def failure(machine: Machine) -> str | None:
    name, _, text = (order("fail") or "").partition("\n")
    return text if name == machine.name else None


def interrupt(number: int, frame: FrameType | None) -> None:
    if interruptions:
        os._exit(1)  # the second time, Vagrant does not clean up
    interruptions.append(number)
    put("==> vagrant: Waiting for cleanup before exiting...")


def wait(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not interruptions:
        time.sleep(0.05)


def say(machine: Machine, text: str) -> None:
    put(f"==> {machine.name}: {text}")


def put(text: str) -> None:
    """Print, also when nobody listens any more, as Vagrant does."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def provision(words: Sequence[str]) -> int:
    hosts = open_machines(PLACE)
    for machine in read(PLACE / "Vagrantfile"):
        say(machine, "Running provisioner: shell...")
        hosts.provision(machine)
    return 0


def ssh_config(words: Sequence[str]) -> int:
    hosts = open_machines(PLACE)
    (machine,) = (machine for machine in read(PLACE / "Vagrantfile") if machine.name == words[0])
    if not hosts.runs(machine):
        print("The provider for this Vagrant-managed machine is reporting that it is not yet ready", file=sys.stderr)
        return 1
    address, port, key = hosts.ssh(machine)
    print(f"Host {machine.name}\n  HostName {address}\n  User vagrant\n  Port {port}\n  IdentityFile {key}\n")
    return 0


def status(words: Sequence[str]) -> int:
    hosts = open_machines(PLACE)
    for machine in read(PLACE / "Vagrantfile"):
        state = "running" if hosts.runs(machine) else "not_created"
        print(f"1700000000,{machine.name},provider-name,{PROVIDER}")
        print(f"1700000000,{machine.name},state,{state}")
    return 0


def destroy(words: Sequence[str]) -> int:
    assert list(words) == ["--force"], "it would ask"
    if (refusal := order("fail-destroy")) is not None:
        print(refusal, file=sys.stderr, flush=True)
        return 1
    hosts = open_machines(PLACE)
    for machine in reversed(read(PLACE / "Vagrantfile")):
        say(machine, "Removing domain..." if hosts.runs(machine) else "Domain is not created.")
    hosts.destroy()
    return 0


def plugin(words: Sequence[str]) -> int:
    print("No plugins installed." if order("no-plugin") is not None else "vagrant-libvirt (0.11.2, system)")
    return 0


def box(words: Sequence[str]) -> int:
    print("debian/bookworm64 (libvirt, 12.20250126.1)\ndebian/bookworm64 (virtualbox, 12.20250126.1)")
    return 0


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "up": up,
    "provision": provision,
    "ssh-config": ssh_config,
    "status": status,
    "destroy": destroy,
    "plugin": plugin,
    "box": box,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
