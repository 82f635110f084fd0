"""Run DevStack's stack.sh in a unit of its own, follow it, and say why it failed. Lives on the Keystone hosts.

    stacking.py begin  < request    start stack.sh, unless it would change nothing
    stacking.py follow < request    return when there is news of it, or that it ended
    stacking.py remove < request    stop, and unstack or clean what an earlier run made

The request is JSON on stdin, the answer JSON on stdout. Standard library only; run by root, stack.sh by its own user.

home          home of that user: DevStack, its clones and its logs are there
software      files and directories that decide what is installed: without a change, stack.sh runs OFFLINE
configuration files and directories that decide how it is configured
timeout_s     stack.sh is ended when it takes longer
patience_s    how long `follow` waits for news
clean         `remove` runs clean.sh instead of unstack.sh
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

STATE = Path("/var/lib/enos_crdb/devstack")
UNIT = "enos-crdb-stack.service"
KEYSTONE = "devstack@keystone.service"
USER = "stack"
CLONES = ("requirements", "keystone", "rally-openstack")
"""What stack.sh clones to ``home``, once: with other branches in local.conf it would go on with what is there, and with
an empty one that a lost connection left."""
OUTPUT = STATE / "stack.out"
"""What stack.sh prints before it opens its log, and its milestones."""
MEMORY_SHARING = Path("/sys/kernel/mm/ksm")
ENDED = ("exited", "failed", "dead")
"""Sub-states of a unit that does nothing any more; ``dead`` also when there is none."""
REMOVAL_S = 600
REASON_LINES = 15
DATE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \| ")
COLOUR = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|\([A-Z])")
TRACED = re.compile(r"^\++ ")
AFTERMATH = re.compile(r"^(Error on exit|\++ .*\bexit_trap$|.* failed: full log in )")
"""The first line of what stack.sh prints because it fails: a dump of the whole system follows."""
COMPLAINT = re.compile(r"^(\[ERROR\]|ERROR|E: |fatal: |Error\b)|(Error|Exception): |Permission denied|No space left")


def main() -> int:
    os.umask(0o077)
    STATE.mkdir(parents=True, exist_ok=True)
    answer = {"begin": begin, "follow": follow, "remove": remove}[sys.argv[1]](json.load(sys.stdin))
    print(json.dumps(answer))
    return 0


# --- what Ansible asks for ---------------------------------------------------------------------------------------


def begin(request: dict[str, Any]) -> dict[str, Any]:
    """Start stack.sh unless it runs already with these files, or did so successfully and Keystone can be started."""
    wanted = {what: digest(request[what]) for what in ("software", "configuration")}
    done = read("done")
    if unit()["SubState"] not in ENDED and read("wanted") == wanted:
        write("told", 0)
        return {"stacking": True, "because": "it runs already"}
    if done == wanted and call("systemctl", "start", "apache2.service", KEYSTONE).returncode == 0:
        return {"stacking": False, "because": "nothing changed"}
    offline = done is not None and done["software"] == wanted["software"]
    end_unit()
    if Path(f"/etc/systemd/system/{KEYSTONE}").exists():
        as_user(request, "unstack.sh")
    forget("done", "told")
    write("wanted", wanted)
    hide_memory_sharing()
    if not offline:
        for clone in (Path(request["home"]) / name for name in CLONES):
            if clone.exists():
                shutil.rmtree(clone)
    launch(request, offline=offline)
    return {"stacking": True, "because": because(done, offline=offline)}


def follow(request: dict[str, Any]) -> dict[str, Any]:
    """The milestones since the last call; at the end also whether stack.sh succeeded, and if not, why."""
    until = time.monotonic() + request["patience_s"]
    told = read("told") or 0
    while True:
        state = unit()  # before the milestones: those of an ended run are complete
        news = milestones(log(request, ".summary"))[told:]
        ended = state["SubState"] in ENDED
        if news or ended or time.monotonic() > until:
            break
        time.sleep(1)
    write("told", told + len(news))
    succeeded = state["SubState"] == "exited" and state["Result"] == "success"
    if succeeded:
        write("done", read("wanted"))
    return {
        "ended": ended,
        "succeeded": succeeded,
        "milestones": news,
        "reason": reason(request, state) if ended and not succeeded else "",
    }


def remove(request: dict[str, Any]) -> dict[str, Any]:
    """Stop stack.sh and everything it started. The software stays unless `clean`."""
    end_unit()
    begun, done = read("wanted"), read("done")
    credentials = Path("/etc/openstack")
    was_there = credentials.exists()
    if begun is not None:
        as_user(request, "clean.sh" if request["clean"] else "unstack.sh")
    if was_there:
        credentials.mkdir(exist_ok=True)  # clean.sh removes it, and it is not DevStack's alone
    for output in STATE.glob("*.out"):  # stack.sh ends with telling the administrator's password
        output.unlink()
    forget("done", "wanted", "told")
    if done is not None and not request["clean"]:
        write("done", {**done, "configuration": ""})  # the next stack.sh finds its software
    return {"changed": begun is not None}


def because(done: dict[str, Any] | None, *, offline: bool) -> str:
    if done is None:
        return "it was never done here"
    return "the configuration changed; nothing is downloaded" if offline else "what is to be installed changed"


# --- stack.sh ----------------------------------------------------------------------------------------------------


def launch(request: dict[str, Any], *, offline: bool) -> None:
    """Start stack.sh where no lost connection ends it; it may run for as long as the request says."""
    home = request["home"]
    OUTPUT.unlink(missing_ok=True)
    log(request, ".summary").unlink(missing_ok=True)
    log(request).unlink(missing_ok=True)
    properties = {
        "RemainAfterExit": "yes",
        "RuntimeMaxSec": str(request["timeout_s"]),
        "TimeoutStopSec": "15",
        "StandardInput": "null",
        "StandardOutput": f"append:{OUTPUT}",
        "StandardError": f"append:{OUTPUT}",
        "EnvironmentFile": "-/etc/environment",  # proxies: units do not have them
    }
    environment = {"HOME": home, "USER": USER, "LOGNAME": USER, "OFFLINE": str(offline)}
    check(
        call(
            "systemd-run",
            "--quiet",
            f"--unit={UNIT}",
            f"--uid={USER}",
            f"--gid={USER}",
            f"--working-directory={home}/devstack",
            *(f"--setenv={name}={value}" for name, value in environment.items()),
            *(f"--property={name}={value}" for name, value in properties.items()),
            f"{home}/devstack/stack.sh",  # systemd wants an absolute path
        )
    )


def end_unit() -> None:
    for action in ("stop", "reset-failed"):  # either fails when there is nothing to do
        call("systemctl", action, UNIT)


def as_user(request: dict[str, Any], script: str) -> None:
    """Run one of DevStack's scripts to its end; what it prints is kept. Ends this program when it fails."""
    home = request["home"]
    words = ["runuser", f"--user={USER}", "--", "env", f"HOME={home}", f"USER={USER}", f"{home}/devstack/{script}"]
    with open(STATE / f"{script}.out", "w", encoding="utf-8") as output:
        done = subprocess.run(
            ["timeout", f"{REMOVAL_S}", *words],
            cwd=f"{home}/devstack",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        text = (STATE / f"{script}.out").read_text(encoding="utf-8", errors="replace")
        sys.exit(f"{script} ended with status {done.returncode}.\n{last_words(text)}")


def hide_memory_sharing() -> None:
    """DevStack writes to the kernel's page sharing even when told not to; a container must not, and it gives up."""
    switch = MEMORY_SHARING / "run"
    if switch.exists() and not os.access(switch, os.W_OK):
        check(call("mount", "-t", "tmpfs", "-o", "ro,size=4k", "tmpfs", str(MEMORY_SHARING)))


def unit() -> dict[str, str]:
    """SubState, Result and ExecMainStatus of the unit; a unit that is gone is ``dead``."""
    shown = call("systemctl", "show", UNIT, "--property=SubState,Result,ExecMainStatus").stdout
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


def log(request: dict[str, Any], ending: str = "") -> Path:
    """DevStack's own link to its newest log."""
    return Path(request["home"]) / "logs" / f"stack.sh.log{ending}"


# --- texts -------------------------------------------------------------------------------------------------------


def milestones(path: Path) -> list[str]:
    """What stack.sh says for people, without times."""
    lines = (plain(line) for line in text_of(path).splitlines())
    return [line for line in lines if line and not line.startswith("stack.sh log ")]


def reason(request: dict[str, Any], state: dict[str, str]) -> str:
    """Why stack.sh ended without success, as short as it can be said."""
    if state["Result"] == "timeout":
        said = f"stack.sh was ended after {request['timeout_s']} s."
    elif state["SubState"] == "dead":
        said = "stack.sh is gone: the host was restarted, or somebody stopped it."
    else:
        said = f"stack.sh ended with status {state['ExecMainStatus']}."
    text = text_of(log(request)) or text_of(OUTPUT)
    return f"{said}\n{last_words(text)}"


def last_words(text: str) -> str:
    """The complaints in a log of a shell that traces, its last command, and the last lines that are no trace."""
    lines = [plain(line) for line in text.splitlines()]
    end = next((number for number, line in enumerate(lines) if AFTERMATH.match(line)), len(lines))
    before = lines[:end]
    said = [line for line in before if line and not TRACED.match(line)]
    last = said[-REASON_LINES:]
    complaints = [line for line in said[:-REASON_LINES][-200:] if COMPLAINT.search(line)][-3:]
    command = next((line for line in reversed(before) if TRACED.match(line)), "")
    return "\n".join([*complaints, *last, *([f"The last command was: {command.lstrip('+ ')}"] if command else [])])


def plain(line: str) -> str:
    return COLOUR.sub("", DATE.sub("", line)).strip()


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


# --- state -------------------------------------------------------------------------------------------------------


def digest(paths: list[str]) -> str:
    """Of names and contents of all files at or below `paths`; what git keeps for itself is left out."""
    found = hashlib.sha256()
    for path in map(Path, paths):
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and ".git" not in file.parts:
                found.update(f"{file} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()[:16]


def read(name: str) -> Any:
    path = STATE / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def write(name: str, value: Any) -> None:
    partial = STATE / f".{name}.json"
    partial.write_text(json.dumps(value))
    partial.replace(STATE / f"{name}.json")


def forget(*names: str) -> None:
    for name in names:
        (STATE / f"{name}.json").unlink(missing_ok=True)


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def check(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        sys.exit(f"{' '.join(done.args)} ended with status {done.returncode}.\n{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
