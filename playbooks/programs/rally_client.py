"""Run Rally tasks through Rally's own API, in one process per client. Lives on the rally hosts.

    rally_client.py prepare  < clients      configuration, database and environment of each client; starts it
    rally_client.py start    < job          gives a job to each client; returns when all are ready to load
    rally_client.py go       < instant      the common start of clients that wait for each other
    rally_client.py wait     < job          returns when all have ended; packs what they wrote into one archive
    rally_client.py finish   < run          ends the clients of a run, whatever they do
    rally_client.py serve DIRECTORY         what the unit of a client executes (in Rally's virtualenv)

A client is a transient unit, so it outlives a lost connection. It imports Rally once (seconds) and forks for each job.
Everything is read from stdin, so no argument list ever holds a password. All files are private (umask 077).
"""

from __future__ import annotations

import gc
import itertools
import json
import math
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tarfile
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ENVIRONMENT = "keystone"
"""Name of Rally's environment in each client's own database."""
UNITS = "enos-crdb-rally-"
"""How the names of the units begin: then the run, then the client."""
IDLE_S = 1800.0
"""A client that nobody gives a job for so long ends: its run was abandoned."""
REPORTS = (("json", "report.json"), ("html-static", "report.html"))
"""Rally's exporters (the plain HTML report needs the Internet to be seen) and our names of their files."""
PLUGINS: list[Any] = []
"""Ours. Rally looks for plugins among the classes that are alive, so somebody must hold them."""
LATE = "Late starts"
"""Title of the output by which an iteration tells how long after its intended start it began (seconds)."""
FIRST_START_S = 0.5
"""From the beginning of an open loop to its first intended start: the time its processes take to be there."""
LOOK_S = 0.02
"""How often files are looked for that another process writes."""
ASK_S = 0.5
"""How often it is asked whether a unit is still there: that costs a process."""
ABORTED_S = 2.0
"""How often Rally looks whether a task is to be aborted."""
PACKED = ("status.json", "report.json", "report.html", "rally.log")
"""What of a scenario's directory goes back to the user."""


def main() -> int:
    os.umask(0o077)
    action = sys.argv[1]
    if action == "serve":
        serve(Path(sys.argv[2]))
        return 0
    answer = ACTIONS[action](json.load(sys.stdin))
    print(json.dumps(answer))
    return 0


# --- on behalf of the control side ---------------------------------------------------------------------------------


def prepare(request: dict[str, Any]) -> dict[str, Any]:
    """Start every client of this host; each makes its database first. Ends the clients of other runs."""
    wanted = {unit(request, client["name"]) for client in request["clients"]}
    for other in sorted(running() - wanted):
        subprocess.run(["systemctl", "stop", other], check=False)
    made = [client["name"] for client in request["clients"] if not alive(request, client["name"])]
    for client in request["clients"]:
        if client["name"] in made:
            directory = Path(request["directory"]) / client["name"]
            directory.mkdir(parents=True, exist_ok=True)
            write(directory / "rally.conf", configuration(directory, client["http_timeout_s"]))
            write(directory / "environment.json", json.dumps(client["environment"]))
            launch(request, client["name"])
    for name in made:
        directory = Path(request["directory"]) / name
        if not seen([directory / "environment.done"], partial(alive, request, name)):
            sys.exit(f"Rally's database for {name} could not be made:\n{last_words(directory / 'serve.log')}")
    return {"made": made}


def configuration(directory: Path, http_timeout_s: float) -> str:
    # rally-openstack 4.1.0 registers the timeout in DEFAULT (later ones may not), and ignores it elsewhere silently.
    return (
        f"[DEFAULT]\nopenstack_client_http_timeout = {http_timeout_s}\n"
        f"[database]\nconnection = sqlite:///{directory}/rally.sqlite\n"
    )


def start(request: dict[str, Any]) -> dict[str, Any]:
    """Give the job to each client unless that was done already (an earlier answer may have been lost)."""
    started = []
    for name in request["clients"]:
        directory = place(request, name)
        if not (directory / "job.json").exists():
            directory.mkdir(exist_ok=True)
            write(directory / "job.json", json.dumps(request["job"]))
            started.append(name)
            if not alive(request, name):  # the host was restarted, or a user stopped it
                launch(request, name)
    deadline = time.monotonic() + request["job"]["setup_s"]
    for name in request["clients"]:
        marks = [place(request, name) / mark for mark in ("ready", "status.json")]
        seen(marks, partial(alive, request, name), deadline=deadline)
    return {"started": started, "ready_at": time.time()}


def launch(request: dict[str, Any], name: str) -> None:
    directory = Path(request["directory"]) / name
    properties = {
        "Type": "exec",
        "UMask": "0077",
        "StandardOutput": f"append:{directory}/serve.log",
        "StandardError": f"append:{directory}/serve.log",
        "TimeoutStopSec": "10",
    }
    arguments = ["systemd-run", "--quiet", "--collect", f"--unit={unit(request, name)}"]
    arguments += [f"--property={key}={value}" for key, value in properties.items()]
    # ~/.rally belongs to a Unix user; two clients must not share it.
    arguments += [f"--setenv=HOME={directory}", f"--working-directory={directory}"]
    arguments += [sys.executable, os.path.abspath(__file__), "serve", str(directory)]
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
        if not seen([directory / "status.json"], partial(alive, request, name)):
            write(directory / "status.json", json.dumps(obituary(directory)))
        statuses[name] = json.loads((directory / "status.json").read_text())
    with tarfile.open(request["archive"], "w") as archive:
        for name in request["clients"]:
            for part in PACKED:
                if (place(request, name) / part).exists():
                    archive.add(place(request, name) / part, f"{name}/{part}")
    return {"clients": statuses}


def finish(request: dict[str, Any]) -> dict[str, Any]:
    """No load goes on after a run, nor after its interruption."""
    mine = sorted(name for name in running() if name.startswith(unit(request, "")))
    for name in mine:
        subprocess.run(["systemctl", "stop", name], check=False)
    return {"stopped": mine}


def seen(marks: list[Path], goes_on: Callable[[], bool], *, deadline: float = math.inf) -> bool:
    """Wait for one of these files; False when who should write it is gone, or time is up (monotonic seconds)."""
    ask_at = 0.0
    while not any(mark.exists() for mark in marks):
        now = time.monotonic()
        if now > deadline:
            return False
        if now > ask_at:
            if not goes_on():
                return any(mark.exists() for mark in marks)  # written at the very end
            ask_at = now + ASK_S
        time.sleep(LOOK_S)
    return True


def alive(request: dict[str, Any], name: str) -> bool:
    state = subprocess.run(["systemctl", "is-active", "--quiet", unit(request, name)], check=False)
    return state.returncode == 0


def running() -> set[str]:
    """Units of clients, of any run."""
    arguments = ["systemctl", "list-units", "--plain", "--no-legend", "--full", f"{UNITS}*"]
    listed = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {line.split()[0].removesuffix(".service") for line in listed.splitlines() if line.strip()}


def obituary(directory: Path) -> dict[str, Any]:
    """The status of a job that ended without leaving one: killed, or out of memory."""
    return {
        "status": "crashed",
        "message": "Rally ended without a result (killed, or it ran far beyond its time). "
        + " ".join(last_words(directory / "rally.log").split("\n"))[-500:],
        "started_at": None,
        "finished_at": None,
        **meant(directory),
    }


def last_words(log: Path) -> str:
    """The end of a log, without the lines that only say that all is well."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join([line for line in lines if line.strip() and " INFO " not in line][-8:])


def place(request: dict[str, Any], name: str) -> Path:
    return Path(request["directory"]) / str(name) / str(request["scenario"])


def unit(request: dict[str, Any], name: str) -> str:
    return f"{UNITS}{Path(request['directory']).name}-{name}"


def write(path: Path, text: str) -> None:
    """Write all of a file or nothing: others look for its existence."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text)
    temporary.replace(path)


# --- inside Rally's virtualenv -------------------------------------------------------------------------------------


def serve(home: Path) -> None:
    """Do the jobs that appear below `home`, each in a process of its own, until nobody has asked for long."""
    from rally import api, plugins

    rally = api.API(config_args=["--config-file", str(home / "rally.conf")], skip_db_check=True)
    plugins.load()
    gc.freeze()  # what is shared with the children stays shared
    if not (home / "environment.done").exists():
        fork(partial(make_environment, home), longest_s=IDLE_S)
    asked = time.monotonic()
    while (home / "environment.done").exists() and time.monotonic() - asked < IDLE_S:
        for directory in sorted(path.parent for path in home.glob("*/job.json")):
            if not (directory / "status.json").exists():
                job = json.loads((directory / "job.json").read_text())
                longest_s = job["setup_s"] + job["timeout_s"] + job["grace_s"]
                fork(partial(run, rally, job, directory), longest_s=longest_s)
                if not (directory / "status.json").exists():
                    write(directory / "status.json", json.dumps(obituary(directory)))
                asked = time.monotonic()
        time.sleep(LOOK_S)


def fork(act: Callable[[], None], *, longest_s: float) -> None:
    """Do `act` in a new process and wait for its end; after `longest_s`, kill it and what it started."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setsid()
            act()
            status = 0
        finally:
            traceback.print_exc() if status else None
            sys.stderr.flush()
            os._exit(status)
    deadline = time.monotonic() + longest_s
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return
        time.sleep(LOOK_S)


def run(api: Any, job: dict[str, Any], directory: Path) -> None:
    """Run the job of one scenario and write its status, whatever happens."""
    log = os.open(directory / "rally.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = {"status": "crashed", "message": "", "versions": versions(), "started_at": time.time()}
    try:
        status.update(execute(api, job, directory))
    except Exception as error:  # noqa: BLE001 - the one who waits must be told, and the log has the rest
        status["message"] = first_lines(f"{type(error).__name__}: {error}")
        traceback.print_exc()
    write(directory / "status.json", json.dumps({**status, **meant(directory), "finished_at": time.time()}))


def meant(directory: Path) -> dict[str, int]:
    """How many iterations an open loop meant to start."""
    path = directory / "intended"
    return {"intended": int(path.read_text())} if path.exists() else {}


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

    end_at_once()
    if not job["cleanup"]:
        switch_cleanup_off()
    uuid = api.task.create(deployment=ENVIRONMENT)["uuid"]
    end, refusal = End(), ""
    overdue = threading.Timer(job["timeout_s"], stop, args=(api, uuid, job["drain_s"], end))
    overdue.daemon = True
    # Time is counted from the load on: what comes before depends on the other clients, and has a limit of its own.
    PLUGINS.extend((start_together(directory, overdue.start), open_loop(directory, job["phases"])))
    try:
        api.task.start(deployment=ENVIRONMENT, config=job["task"], task=uuid)
    except (exceptions.InvalidTaskException, exceptions.ValidationError) as error:
        refusal = why_refused(str(error))
    except exceptions.RallyException as error:
        print(f"Rally ended the task: {type(error).__name__}: {error}", file=sys.stderr)
    finally:
        overdue.cancel()
        end.reached.set()
    for exporter, name in REPORTS:
        for path, text in api.task.export([uuid], exporter, str(directory / name))["files"].items():
            write(Path(path), text)
    status, message = ("invalid", refusal) if refusal else verdict(api.task.get(task_id=uuid, detailed=True))
    if end.overdue.is_set():
        lost = " Iterations in flight did not end and are not in the samples." if end.cut.is_set() else ""
        message = f"stopped after {job['timeout_s']:g} s (scenario_timeout_s).{lost} {message}".strip()
        status = "timeout"
    return {"status": status, "message": message, "task": uuid}


class End:
    """Of a task: ``reached``, by itself or not; ``overdue``, and so stopped; what was in flight ``cut`` off."""

    def __init__(self) -> None:
        self.reached, self.overdue, self.cut = threading.Event(), threading.Event(), threading.Event()


def stop(api: Any, uuid: str, drain_s: float, end: End) -> None:
    """Abort the task: no new iteration starts, and those in flight are given up if they do not end in `drain_s`.

    What had ended is kept either way: it is no longer with the processes that are ended here.
    """
    from rally import exceptions

    end.overdue.set()
    while not end.reached.is_set():
        try:
            api.task.abort(uuid)
        except exceptions.RallyException as error:  # it refuses while it checks the task
            print(f"not stopped yet: {error}", file=sys.stderr)
            end.reached.wait(1)
        else:
            break
    if not end.reached.wait(drain_s):
        for process in multiprocessing.active_children():
            end.cut.set()
            print(f"iterations in flight are given up: process {process.pid}", file=sys.stderr)
            process.kill()


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
    from rally_openstack.task.contexts.keystone import users

    manager.cleanup = lambda *_args, **_kwargs: None
    users.UserGenerator.cleanup = lambda *_args: None


def end_at_once() -> None:
    """Rally looks every two seconds whether a task is to be aborted, and sleeps through the end of its load.

    `rally.task.engine.ResultConsumer.wait_and_abort` of rally 5.1.1 does: each task lasts a second longer on average.
    """
    from rally import consts
    from rally.task import engine

    def wait_and_abort(consumer: Any) -> None:
        while not consumer.is_done.wait(ABORTED_S):
            if consumer.is_task_in_aborting_status(consumer.task["uuid"], check_soft=False):
                consumer.runner.abort()
                consumer.task.update_status(consts.TaskStatus.ABORTED)
                return

    engine.ResultConsumer.wait_and_abort = wait_and_abort


def start_together(directory: Path, begin: Callable[[], None]) -> Any:
    """A Rally context, the last before the load: say that this client is ready and wait for the common instant.

    `begin` is called then.
    """
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
            begin()

        def cleanup(self) -> None:
            """Nothing was made."""

    return StartTogether


# --- the open loop -------------------------------------------------------------------------------------------------


OPEN_LOOP = {
    "type": "object",
    "properties": {
        "rate_per_s": {"type": "number", "exclusiveMinimum": 0},
        "times": {"type": "integer", "minimum": 1},
        "duration_s": {"type": "number", "exclusiveMinimum": 0},
        "arrivals": {"enum": ["even", "poisson"]},
        "seed": {"type": "integer"},
        "concurrency": {"type": "integer", "minimum": 1},
    },
    "required": ["rate_per_s", "arrivals", "seed", "concurrency"],
    "additionalProperties": False,
}


def open_loop(directory: Path, phases: dict[str, float]) -> Any:
    """A Rally runner that starts iterations at intended instants, whatever the answers.

    `concurrency` slots, dealt to Rally's processes, take the intended starts in their order: an iteration begins late
    only when no slot is free (or no processor), and tells how late. Rally's ``timestamp`` is the real start.
    """
    from rally.common import utils
    from rally.task import runner

    @runner.configure(name="open_loop")
    class OpenLoop(runner.ScenarioRunner):  # type: ignore[misc,unused-ignore]
        CONFIG_SCHEMA = OPEN_LOOP

        def _run_scenario(self, cls: Any, method_name: str, context: Any, args: Any) -> None:
            client = directory.parent.name
            intended = starts(self.config, name=f"{client} {directory.name}", phase=phases.get(client, 0.0))
            write(directory / "intended", str(len(intended)))
            slots = min(self.config["concurrency"], len(intended))
            processes = min(multiprocessing.cpu_count(), slots)
            results: multiprocessing.Queue[Any] = multiprocessing.Queue()
            events: multiprocessing.Queue[Any] = multiprocessing.Queue()
            taken = utils.RAMInt(slots)
            first_at = time.time() + FIRST_START_S

            def iterate(number: int) -> Callable[[float], None]:
                """Everything that can be done before the start; the answer does the rest."""
                copy = runner._get_scenario_context(number, context)

                def load(at: float) -> None:
                    result = runner._run_scenario_once(cls, method_name, copy, args, events)
                    result["output"]["additive"].append(late(result["timestamp"] - at))
                    results.put(result)

                return load

            def process(info: dict[str, int]) -> None:
                mine = range(info["processes_counter"], slots, processes)
                fill(mine, taken, [first_at + start for start in intended], iterate, self.aborted)

            pool = self._create_process_pool(processes, process, itertools.repeat(()))
            self._join_processes(pool, results, events)

    return OpenLoop


def starts(config: dict[str, Any], *, name: str, phase: float) -> list[float]:
    """Intended starts in seconds, ascending. ``even``: the first at `phase` of the time between two.

    ``poisson``: exponential gaps after a start at 0; the seed and `name` decide them.
    """
    rate, duration_s, times = config["rate_per_s"], config.get("duration_s"), config.get("times", 0)
    if config["arrivals"] == "even":
        count = times if duration_s is None else max(1, math.ceil(duration_s * rate - 1e-9))
        return [(number + phase) / rate for number in range(count)]
    draw = random.Random(f"{config['seed']} {name}")
    gaps = itertools.chain([0.0], iter(lambda: draw.expovariate(rate), None))
    instants = itertools.accumulate(gaps)
    if duration_s is None:
        return list(itertools.islice(instants, times))
    return list(itertools.takewhile(lambda instant: instant < duration_s, instants))


def late(seconds: float) -> dict[str, Any]:
    """An output of an iteration, as Rally's reports understand it."""
    return {"title": LATE, "chart_plugin": "StatsTable", "data": [["after the intended start", seconds]]}


def fill(
    numbers: Any, taken: Any, intended: list[float], iterate: Callable[[int], Callable[[float], None]], aborted: Any
) -> None:
    """The slots of one process: each does the intended start of its number, then the next that nobody took."""
    over = threading.Event()

    def slot(number: int) -> None:
        while number < len(intended):
            load = iterate(number)
            if over.wait(max(0.0, intended[number] - time.time())):
                return
            load(intended[number])
            number = next(taken)

    threads = [threading.Thread(target=slot, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            if aborted.is_set():
                over.set()
            thread.join(0.05)


ACTIONS = {"prepare": prepare, "start": start, "go": go, "wait": wait, "finish": finish}

if __name__ == "__main__":
    sys.exit(main())
