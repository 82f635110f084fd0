"""Run Rally tasks through Rally's own API, in one process per client. Lives on the rally hosts.

    rally_client.py prepare  < clients      directories, configuration, database and environment of each client
    rally_client.py start    < job          one transient unit per client; returns when all are ready to load
    rally_client.py go       < instant      the common start of clients that wait for each other
    rally_client.py wait     < job          returns when all have ended; packs what they wrote into one archive
    rally_client.py run DIRECTORY           what a unit executes (in Rally's virtualenv)

Every `rally` command costs more than a second of imports, and starting a scenario takes five of them.
Everything is read from stdin, so no argument list ever holds a password. All files are private (umask 077).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

ENVIRONMENT = "keystone"
"""Name of Rally's environment in each client's own database."""
REPORTS = (("json", "report.json"), ("html-static", "report.html"))
"""Rally's exporters (the plain HTML report needs the Internet to be seen) and our names of their files."""
PLUGINS: list[Any] = []
"""Ours. Rally looks for plugins among the classes that are alive, so somebody must hold them."""
PACKED = ("status.json", "report.json", "report.html", "rally.log")
"""What of a scenario's directory goes back to the user."""


def main() -> int:
    os.umask(0o077)
    action = sys.argv[1]
    if action == "run":
        return run(Path(sys.argv[2]))
    answer = {"prepare": prepare, "start": start, "go": go, "wait": wait}[action](json.load(sys.stdin))
    print(json.dumps(answer))
    return 0


# --- on behalf of the control side ---------------------------------------------------------------------------------


def prepare(request: dict[str, Any]) -> dict[str, Any]:
    """Make what each client needs once per run; the databases are made side by side."""
    pending: list[tuple[str, subprocess.Popen[str]]] = []
    made: list[str] = []
    for client in request["clients"]:
        directory = Path(request["directory"]) / client["name"]
        if (directory / "environment.done").exists():
            continue
        directory.mkdir(parents=True, exist_ok=True)
        write(directory / "rally.conf", configuration(directory, client["http_timeout_s"]))
        write(directory / "environment.json", json.dumps(client["environment"]))
        made.append(client["name"])
        arguments = [sys.executable, os.path.abspath(__file__), "run", str(directory)]
        pending.append((client["name"], subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)))
    for name, process in pending:
        _, errors = process.communicate()
        if process.returncode:
            sys.exit(f"Rally's database for {name} could not be made:\n" + "\n".join(errors.splitlines()[-12:]))
    return {"made": made}


def configuration(directory: Path, http_timeout_s: float) -> str:
    return (
        f"[database]\nconnection = sqlite:///{directory}/rally.sqlite\n"
        f"[openstack]\nopenstack_client_http_timeout = {http_timeout_s}\n"
    )


def start(request: dict[str, Any]) -> dict[str, Any]:
    """Start a unit per client unless that was done already (an earlier answer may have been lost)."""
    started = []
    for name in request["clients"]:
        directory = place(request, name)
        if not (directory / "job.json").exists():
            directory.mkdir(parents=True, exist_ok=True)
            write(directory / "job.json", json.dumps(request["job"]))
            launch(request, name, directory)
            started.append(name)
    deadline = time.time() + request["job"]["setup_s"]
    while request["job"]["together"] and time.time() < deadline:
        if all(settled(request, name) for name in request["clients"]):
            break
        time.sleep(0.05)
    return {"started": started, "ready_at": time.time()}


def launch(request: dict[str, Any], name: str, directory: Path) -> None:
    job = request["job"]
    properties = {
        "Type": "exec",
        "UMask": "0077",
        "StandardOutput": f"append:{directory}/rally.log",
        "StandardError": f"append:{directory}/rally.log",
        "RuntimeMaxSec": str(job["setup_s"] + job["timeout_s"] + job["grace_s"]),
        "TimeoutStopSec": "10",
    }
    arguments = ["systemd-run", "--quiet", f"--unit={unit(request, name)}"]
    arguments += [f"--property={key}={value}" for key, value in properties.items()]
    arguments += [f"--setenv=HOME={directory.parent}", f"--working-directory={directory}"]
    arguments += [sys.executable, os.path.abspath(__file__), "run", str(directory)]
    subprocess.run(arguments, check=True)


def go(request: dict[str, Any]) -> dict[str, Any]:
    """Tell the clients of this host when to begin (seconds since the epoch)."""
    for name in request["clients"]:
        write(place(request, name) / "go", str(request["at"]))
    return {"at": request["at"], "late_s": max(0.0, time.time() - request["at"])}


def wait(request: dict[str, Any]) -> dict[str, Any]:
    """Wait for every client of this host, then pack the results. A unit that died leaves a status all the same."""
    statuses = {}
    for name in request["clients"]:
        directory = place(request, name)
        while not (directory / "status.json").exists():
            if not alive(request, name) and not (directory / "status.json").exists():
                write(directory / "status.json", json.dumps(obituary(directory)))
            else:
                time.sleep(0.2)
        statuses[name] = json.loads((directory / "status.json").read_text())
    with tarfile.open(request["archive"], "w") as archive:
        for name in request["clients"]:
            for part in PACKED:
                if (place(request, name) / part).exists():
                    archive.add(place(request, name) / part, f"{name}/{part}")
    return {"clients": statuses}


def settled(request: dict[str, Any], name: str) -> bool:
    directory = place(request, name)
    return any((directory / mark).exists() for mark in ("ready", "status.json")) or not alive(request, name)


def alive(request: dict[str, Any], name: str) -> bool:
    state = subprocess.run(["systemctl", "is-active", "--quiet", unit(request, name)], check=False)
    return state.returncode == 0


def obituary(directory: Path) -> dict[str, Any]:
    """The status of a client that ended without leaving one: killed, or out of memory."""
    log = directory / "rally.log"
    last = log.read_text(errors="replace").strip().splitlines()[-5:] if log.exists() else []
    return {
        "status": "crashed",
        "message": "Rally ended without a result (killed, or it ran far beyond its time). " + " ".join(last)[-500:],
        "started_at": None,
        "finished_at": None,
    }


def place(request: dict[str, Any], name: str) -> Path:
    return Path(request["directory"]) / str(name) / str(request["scenario"])


def unit(request: dict[str, Any], name: str) -> str:
    return f"enos-crdb-rally-{Path(request['directory']).name}-{request['scenario']}-{name}"


def write(path: Path, text: str) -> None:
    """Write all of a file or nothing: others look for its existence."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text)
    temporary.replace(path)


# --- inside Rally's virtualenv -------------------------------------------------------------------------------------


def run(directory: Path) -> int:
    """Make a client's database and environment, or run the job of one scenario and write its status."""
    home = directory if (directory / "rally.conf").exists() else directory.parent
    os.environ["HOME"] = str(home)  # ~/.rally belongs to a Unix user; two clients must not share it
    api = rally_api(home)
    if home == directory:
        make_environment(home)
        return 0
    started_at = time.time()
    status = {"status": "crashed", "message": "", "versions": versions()}
    try:
        status.update(execute(api, json.loads((directory / "job.json").read_text()), directory))
    except Exception as error:  # whatever happens, the one who waits is told
        status["message"] = f"{type(error).__name__}: {error}"
        raise
    finally:
        write(directory / "status.json", json.dumps({**status, "started_at": started_at, "finished_at": time.time()}))
    return 0


def rally_api(home: Path) -> Any:
    from rally import api, plugins

    rally = api.API(config_args=["--config-file", str(home / "rally.conf")], skip_db_check=True)
    plugins.load()
    return rally


def make_environment(home: Path) -> None:
    from rally.common.db import schema
    from rally.env import env_mgr

    (home / "rally.sqlite").unlink(missing_ok=True)
    schema.schema_create()
    env_mgr.EnvManager.create(ENVIRONMENT, json.loads((home / "environment.json").read_text()))
    write(home / "environment.done", "")


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("rally", "rally-openstack", "python-keystoneclient", "keystoneauth1")}


def execute(api: Any, job: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Run the task, keep Rally's reports, and say how it ended."""
    from rally import exceptions

    PLUGINS.append(start_together(directory))
    if not job["cleanup"]:
        switch_cleanup_off()
    uuid = api.task.create(deployment=ENVIRONMENT)["uuid"]
    began = time.monotonic()
    overdue = threading.Timer(job["timeout_s"], stop, args=(api, uuid))
    overdue.daemon = True
    overdue.start()
    refusal = ""
    try:
        api.task.start(deployment=ENVIRONMENT, config=job["task"], task=uuid)
    except (exceptions.InvalidTaskException, exceptions.ValidationError) as error:
        refusal = why_refused(str(error))
    except exceptions.RallyException as error:
        print(f"Rally ended the task: {type(error).__name__}: {error}", file=sys.stderr)
    finally:
        timed_out = time.monotonic() - began > job["timeout_s"]
        overdue.cancel()
    for exporter, name in REPORTS:
        for path, text in api.task.export([uuid], exporter, str(directory / name))["files"].items():
            write(Path(path), text)
    status, message = ("invalid", refusal) if refusal else verdict(api.task.get(task_id=uuid, detailed=True))
    if timed_out:
        status, message = "timeout", f"stopped after {job['timeout_s']:g} s (scenario_timeout_s). {message}".strip()
    return {"status": status, "message": message, "task": uuid}


def stop(api: Any, uuid: str) -> None:
    """Abort the task: iterations in flight end, no new one starts. Rally refuses while it checks the task."""
    from rally import exceptions

    while True:
        try:
            api.task.abort(uuid)
        except exceptions.RallyException as error:
            print(f"not stopped yet: {error}", file=sys.stderr)
            time.sleep(1)
        else:
            return


def why_refused(message: str) -> str:
    """The reason, which Rally writes below the whole task or only into its log."""
    from rally.env import env_mgr

    if "Reason(s):" in message:
        return first_lines(message.partition("Reason(s):")[2])
    health = env_mgr.EnvManager.get(ENVIRONMENT).check_health()
    return first_lines("; ".join(state["message"] for state in health.values() if not state["available"]) or message)


def verdict(task: dict[str, Any]) -> tuple[str, str]:
    """(status, why it is not ``ok``), from what Rally stored of a task."""
    if not task["subtasks"]:
        return "crashed", first_lines(str(task["validation_result"].get("msg") or f"the task is {task['status']}"))
    for workload in (one for subtask in task["subtasks"] for one in subtask["workloads"]):
        for context in workload["contexts_results"]:
            if context["setup"]["error"]:
                kind, message = context["setup"]["error"]["etype"], context["setup"]["error"]["msg"]
                return "crashed", first_lines(f"{context['plugin_name']} failed: {kind}: {message}")
        if not workload["pass_sla"]:
            missed = [rule["detail"] for rule in workload["sla_results"]["sla"] if not rule["success"]]
            return "sla", first_lines("; ".join(missed))
    return ("ok", "") if task["status"] == "finished" else ("crashed", f"Rally calls the task {task['status']}")


def first_lines(text: str) -> str:
    return " ".join(line.strip() for line in text.strip().splitlines()[:8])[:800]


def switch_cleanup_off() -> None:
    """Rally has no option for this: its cleanup contexts are hidden and cannot be named in a task file."""
    from rally_openstack.task.cleanup import manager

    manager.cleanup = lambda *_args, **_kwargs: None


def start_together(directory: Path) -> Any:
    """A Rally context, the last before the load: say that this client is ready and wait for the common instant."""
    from rally.task import context

    @context.configure(name="start_together", order=sys.maxsize - 2)
    class StartTogether(context.Context):  # type: ignore[misc,unused-ignore]
        CONFIG_SCHEMA = {"type": "object", "properties": {"longest_wait_s": {"type": "number"}}}

        def setup(self) -> None:
            write(directory / "ready", str(time.time()))
            deadline = time.time() + self.config["longest_wait_s"]
            while not (directory / "go").exists():
                if time.time() > deadline:
                    raise TimeoutError("the other clients were not ready in time")
                time.sleep(0.01)
            time.sleep(max(0.0, float((directory / "go").read_text()) - time.time()))

        def cleanup(self) -> None:
            """Nothing was made."""

    return StartTogether


if __name__ == "__main__":
    sys.exit(main())
