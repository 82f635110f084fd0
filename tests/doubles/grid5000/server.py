"""HTTP in front of `Platform`, as https://api.grid5000.fr/stable is in front of Grid'5000."""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.doubles.grid5000 import messages, oar
from tests.doubles.grid5000.platform import ApiError, Call, Fault, Platform
from tests.doubles.grid5000.reference import Json, Site
from tests.doubles.grid5000.wishes import Refused

PREFIX = "/stable"
Answer = tuple[int, Json]


class Server:
    """A running API; use it as a context manager."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(platform))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """``uri`` of ``~/.python-grid5000.yaml``."""
        return f"http://127.0.0.1:{self._http.server_port}{PREFIX}"

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def _handler(platform: Platform) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        fake = platform

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one packet: a second one would wait 40 ms for the client's acknowledgement
    fake: Platform

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def log_message(self, format: str, *arguments: Any) -> None:
        """Calls are kept by `Platform`, not printed."""

    def _serve(self, method: str) -> None:
        parts = urlsplit(self.path)
        path = parts.path.removeprefix(PREFIX) or "/"
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        sent = json.loads(body) if body else None
        call = Call(method=method, path=path, query=dict(parse_qsl(parts.query)), body=sent, user=self._user())
        with self.fake.lock:
            self.fake.calls.append(call)
            fault = _fault(self.fake, call)
        if fault is not None:
            self._fail(fault)
            return
        try:
            with self.fake.lock:
                self._authenticate()
                status, answer = route(self.fake, call)
        except ApiError as error:
            self._send(error.status, error.body.encode(), "text/plain; charset=utf-8")
            return
        self._send(status, json.dumps(answer).encode() if answer else b"", "application/json; charset=utf-8")

    def _fail(self, fault: Fault) -> None:
        time.sleep(fault.after_s)
        if fault.drop:
            self.close_connection = True
            self.connection.close()
            return
        self._send(fault.status, fault.body.encode(), "text/plain; charset=utf-8")

    def _credentials(self) -> tuple[str, str] | None:
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        try:
            name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return (name, password) if kind == "Basic" else None

    def _user(self) -> str | None:
        given = self._credentials()
        return given[0] if given else None

    def _authenticate(self) -> None:
        given = self._credentials()
        if given is None or self.fake.users.get(given[0]) != given[1]:
            raise ApiError(401, messages.UNAUTHORIZED)

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="Grid5000"')
        self.end_headers()
        self.wfile.write(content)


def _fault(platform: Platform, call: Call) -> Fault | None:
    for fault in platform.faults:
        if fault.times and re.search(fault.pattern, f"{call.method} {call.path}"):
            fault.times -= 1 if fault.times > 0 else 0
            return fault
    return None


def _collection(items: list[Json]) -> Json:
    return {"total": len(items), "offset": 0, "items": items, "links": []}


def route(platform: Platform, call: Call) -> Answer:
    """The answer to a request. Raises `ApiError`."""
    if call.path == "/sites":
        return 200, _collection([site.json() for site in platform.sites])
    found = re.fullmatch(r"/sites/([\w-]+)(?:/(.*))?", call.path)
    if found is None:
        raise ApiError(404, "Not Found")
    site = platform.site(found[1])
    words = (found[2] or "").split("/") if found[2] else []
    if not words:
        return 200, site.json()
    resource = _RESOURCES.get(words[0])
    if resource is None:
        raise ApiError(404, "Not Found")
    return resource(platform, site, words[1:], call)


def _clusters(platform: Platform, site: Site, words: list[str], call: Call) -> Answer:
    if not words:
        return 200, _collection([_cluster(site, cluster.uid) for cluster in site.clusters])
    cluster = site.cluster(words[0])
    if cluster is None:
        raise ApiError(404, "Not Found")
    nodes = {f"{cluster.uid}-{number}": number for number in range(1, cluster.nodes + 1)}
    match words[1:]:
        case []:
            return 200, _cluster(site, cluster.uid)
        case ["status"]:
            names = [f"{uid}.{site.uid}.grid5000.fr" for uid in nodes]
            return 200, {"uid": 1, "nodes": oar.status(platform, site, names, alive=site.node_names())}
        case ["nodes"]:
            return 200, _collection([cluster.node(number, site.uid) for number in nodes.values()])
        case ["nodes", uid] if uid in nodes:
            return 200, cluster.node(nodes[uid], site.uid)
        case _:
            raise ApiError(404, "Not Found")


def _cluster(site: Site, uid: str) -> Json:
    cluster = site.cluster(uid)
    assert cluster is not None
    return {
        "uid": uid,
        "type": "cluster",
        "exotic": cluster.exotic,
        "queues": list(cluster.queues),
        "nodes_count": cluster.nodes,
    }


def _jobs(platform: Platform, site: Site, words: list[str], call: Call) -> Answer:
    match (call.method, words):
        case ("GET", []):
            return 200, _collection(platform.list_jobs(site.uid, call.query))
        case ("POST", []):
            return 201, _submit(platform, site, call)
        case ("GET", [uid]):
            return 200, platform.show_job(site.uid, uid)
        case ("DELETE", [uid]):
            platform.delete_job(site.uid, uid, str(call.user))
            return 202, {}
        case _:
            raise ApiError(404, "Not Found")


def _submit(platform: Platform, site: Site, call: Call) -> Json:
    body = call.body if isinstance(call.body, dict) else {}
    if not body.get("command"):
        raise ApiError(
            400, "The job you are trying to submit is not valid: you must give a :command to execute on launch"
        )
    if "reservation" in body:
        try:
            messages.from_oar_date(str(body["reservation"]))
        except ValueError as error:
            raise ApiError(400, messages.DATE_FORMAT) from error
    try:
        job = oar.submit(platform, site, str(call.user), body)
    except Refused as refused:
        url = f"http://oar.{site.uid}/oarapi-priv/jobs.json"
        raise ApiError(400, messages.from_oar(str(refused), url=url)) from refused
    return job.json(resources=True)


def _deployments(platform: Platform, site: Site, words: list[str], call: Call) -> Answer:
    if call.method == "POST" and isinstance(call.body, dict):
        return 201, platform.deploy(site.uid, call.body, str(call.user)).json()
    if not words:
        return 200, _collection([one.json() for one in platform.deployments.values() if one.site == site.uid])
    return 200, platform.show_deployment(site.uid, words[0]).json()


def _vlans(platform: Platform, site: Site, words: list[str], call: Call) -> Answer:
    known = {uid: _vlan(site, uid) for uid in site.json()["kavlans"]}
    for other in platform.sites:  # a global VLAN is seen everywhere
        known.setdefault(other.global_vlan, {"uid": other.global_vlan, "type": "kavlan-global-remote"})
    if not words:
        return 200, _collection(list(known.values()))
    if words[0].lower() not in known:
        raise ApiError(404, "Not Found")
    if words[1:] == ["nodes"] and call.method == "POST":
        if not isinstance(call.body, list) or not call.body:
            raise ApiError(422, "Missing node list")
        owners = {
            job.user for job in platform.held() if words[0] in job.vlans and _seen(platform, job.site, site, words[0])
        }
        if call.user not in owners:
            raise ApiError(403, messages.FORBIDDEN)
        return 200, platform.attach(site, words[0], [str(name) for name in call.body])
    if words[1:] == ["nodes"]:
        inside = [name for name, vlan in platform.vlans.items() if vlan == words[0]]
        return 200, _collection([{"uid": name, "vlan": words[0]} for name in inside])
    return 200, known[words[0].lower()]


def _seen(platform: Platform, owner: str, site: Site, vlan: str) -> bool:
    """Whether a VLAN of the site `owner` is the one that `site` knows by its number."""
    return owner == site.uid or vlan == platform.site(owner).global_vlan


def _vlan(site: Site, uid: str) -> Json:
    if uid == "default":
        return {"uid": "DEFAULT", "type": "NULL"}
    if uid == site.global_vlan:
        return {"uid": uid, "type": "kavlan-global"}
    return {"uid": uid, "type": "kavlan-local" if int(uid) <= 3 else "kavlan"}


def _servers(platform: Platform, site: Site, words: list[str], call: Call) -> Answer:
    gateway = site.networks["default"][1]
    server = {"uid": "dns", "type": "server", "kind": "virtual", "network_adapters": {"default": {"ip": gateway}}}
    if not words:
        return 200, _collection([server])
    if words != ["dns"]:
        raise ApiError(404, "Not Found")
    return 200, server


def _status(platform: Platform, site: Site, words: list[str], call: Call) -> Answer:
    names = site.node_names(alive=False)
    return 200, {"uid": 1, "nodes": oar.status(platform, site, names, alive=site.node_names())}


def _environments(platform: Platform, site: Site, words: list[str], call: Call) -> Answer:
    named = [name for name in sorted(platform.environments) if call.query.get("name") in (None, name)]
    return 200, _collection([{"uid": f"{name}_2024031216_deploy", "name": name, "user": "deploy"} for name in named])


def _equipments(platform: Platform, site: Site, words: list[str], call: Call) -> Answer:
    return 200, _collection([{"uid": "gw", "type": "network_equipment", "kind": "router"}])


_RESOURCES: dict[str, Callable[[Platform, Site, list[str], Call], Answer]] = {
    "clusters": _clusters,
    "deployments": _deployments,
    "environments": _environments,
    "jobs": _jobs,
    "network_equipments": _equipments,
    "servers": _servers,
    "status": _status,
    "vlans": _vlans,
}
