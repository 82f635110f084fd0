"""Make Identity API requests to Keystone inside this process, and check every answer.

Runs with Keystone's Python: ``python api_script.py keystone.conf --rounds=3 --threads=8 --seed=1``; the administrator's
password is in the environment variable ADMIN_PASSWORD. The last line of the output is one JSON object.

An answer is *unexpected* when its status is not what the API promises there, and *wrong* when its status is right and
its content is not. Each round makes its own objects, whose names derive from seed, thread and round, and compares
lists with exactly the rows that must be in them; some objects are shared by all threads, so that transactions collide.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

DEFAULT_DOMAIN = {"id": "default"}
KEPT = 40  # details of this many bad answers; their number is always exact


class Abandoned(Exception):
    """An answer that the rest of the chapter depends on is missing; why is already recorded."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """A response. ``status`` 0: an exception left the application."""

    status: int
    body: Any
    token: str | None
    request: str


class OfThisThread:
    """An attribute with a value for each thread.

    Keystone (28 to 30) keeps the token it has validated in its middleware, of which all threads share one instance:
    two requests at once may get each other's roles. That is its own fault, on every database, and hides the others.
    """

    def __init__(self) -> None:
        self._local = threading.local()

    def __get__(self, instance: object, owner: type) -> Any:
        return getattr(self._local, "value", None)

    def __set__(self, instance: object, value: Any) -> None:
        self._local.value = value


class Record:
    """What was seen, by all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.codes: dict[str, collections.Counter[int]] = collections.defaultdict(collections.Counter)
        self.unexpected: list[dict[str, Any]] = []
        self.wrong: list[dict[str, Any]] = []
        self.raced: collections.Counter[str] = collections.Counter()

    def status(self, operation: str, status: int) -> None:
        with self._lock:
            self.codes[operation][status] += 1

    def won(self, name: str) -> None:
        with self._lock:
            self.raced[name] += 1

    def bad(self, kind: list[dict[str, Any]], **details: Any) -> None:
        with self._lock:
            kind.append({**details, "thread": threading.current_thread().name, "at_s": round(time.time(), 3)})

    @property
    def requests(self) -> int:
        return sum(sum(codes.values()) for codes in self.codes.values())


class Api:
    """Requests of one thread, with the token of one user."""

    def __init__(self, application: Callable[..., Any], record: Record) -> None:
        from werkzeug.test import Client

        self._application = application
        self._client = Client(application)
        self.record = record
        self.token: str | None = None

    def acting_as(self, token: str | None) -> Api:
        """The same with another token."""
        other = Api(self._application, self.record)
        other.token = token
        return other

    def __call__(
        self,
        operation: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        expect: Collection[int] = (200,),
        subject: str | None = None,
    ) -> Answer:
        """Make a request; raises `Abandoned` when its status is not in `expect`."""
        headers = {"X-Auth-Token": self.token, "X-Subject-Token": subject}
        present = {name: value for name, value in headers.items() if value}
        request = f"{method} {path} {json.dumps(body) if body else ''}".strip()
        try:
            response = self._client.open(f"/v3{path}", method=method, json=body, headers=present)
        except Exception:  # noqa: BLE001 - whatever leaves the application is the finding
            self.record.status(operation, 0)
            text = traceback.format_exc()
            self.record.bad(self.record.unexpected, operation=operation, request=request, status=0, answer=text[-3000:])
            raise Abandoned(operation) from None
        self.record.status(operation, response.status_code)
        if response.status_code not in expect:
            text = response.get_data(as_text=True)[:1500]
            details = {"operation": operation, "request": request, "status": response.status_code}
            self.record.bad(self.record.unexpected, **details, expected=sorted(expect), answer=text)
            raise Abandoned(operation)
        content = response.get_json(silent=True)
        return Answer(response.status_code, content, response.headers.get("X-Subject-Token"), request)

    def same(self, operation: str, answer: Answer, seen: object, wanted: object) -> None:
        """Record a wrong answer unless `seen` is `wanted`."""
        if seen != wanted:
            details = {"operation": operation, "request": answer.request, "wanted": wanted, "seen": seen}
            self.record.bad(self.record.wrong, **details, answer=json.dumps(answer.body)[:1500])

    def rows(self, operation: str, path: str, collection: str, wanted: Sequence[str], *, exact: bool = True) -> Answer:
        """List; the ids must be exactly `wanted`, or contain them when others make such objects meanwhile."""
        answer = self(operation, "GET", path)
        seen = [row["id"] for row in answer.body[collection]]
        if len(set(seen)) != len(seen):
            self.same(operation, answer, sorted(seen), sorted(set(seen)))
        found = sorted(seen) if exact else sorted(set(seen) & set(wanted))
        self.same(operation, answer, found, sorted(wanted))
        return answer

    def fields(self, operation: str, path: str, wanted: Mapping[str, object]) -> Answer:
        """Show one object; the fields named in `wanted` must have its values."""
        answer = self(operation, "GET", path)
        shown = next(iter(answer.body.values()))
        self.same(operation, answer, {name: shown.get(name) for name in wanted}, dict(wanted))
        return answer

    def create(self, kind: str, path: str, fields: Mapping[str, Any], *, expect: int = 201) -> dict[str, Any]:
        """Create an object and compare what comes back with `fields` (a password never does)."""
        answer = self(f"{kind}.create", "POST", path, {kind: fields}, expect=(expect,))
        made = dict(answer.body[kind])
        visible = {name: value for name, value in fields.items() if name not in {"password", "roles"}}
        self.same(f"{kind}.create", answer, {name: made.get(name) for name in visible}, visible)
        return made

    def refused(self, kind: str, path: str, fields: Mapping[str, Any]) -> None:
        """Creating a duplicate is a conflict."""
        self(f"{kind}.create(duplicate)", "POST", path, {kind: fields}, expect=(409,))

    def delete(self, kind: str, path: str) -> None:
        """Delete an object; afterwards it is gone."""
        self(f"{kind}.delete", "DELETE", path, expect=(204,))
        self(f"{kind}.show(gone)", "GET", path, expect=(404,))

    def change(self, kind: str, path: str, fields: Mapping[str, Any]) -> None:
        """Update an object, and read it again."""
        self(f"{kind}.update", "PATCH", path, {kind: fields})
        self.fields(f"{kind}.show", path, {name: value for name, value in fields.items() if name != "password"})


def authenticate(
    api: Api,
    user: Mapping[str, Any],
    *,
    scope: Mapping[str, Any] | None = None,
    operation: str = "token.issue",
    expect: int = 201,
) -> Answer:
    """Ask for a token with a password."""
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
    if scope:
        auth["scope"] = scope
    return api(operation, "POST", "/auth/tokens", {"auth": auth}, expect=(expect,))


def administrator() -> dict[str, Any]:
    return {"name": "admin", "domain": DEFAULT_DOMAIN, "password": os.environ["ADMIN_PASSWORD"]}


class Round:
    """One round of requests: chapters that build on each other."""

    def __init__(self, api: Api, suffix: str, shared: Mapping[str, str], region: str, number: int) -> None:
        self.api = api
        self.suffix = suffix
        self.shared = shared
        self.region = region
        self.number = number
        self.password = f"secret {suffix}"

    def run(self) -> None:
        """All chapters; what a failed one would have left for the next is missing, so the round ends there."""
        try:
            self.begin()
            self.projects()
            self.users()
            self.roles()
            self.tokens()
            self.groups()
            self.credentials()
            self.catalog()
            self.delegation()
            self.contention()
            if self.number == 0:
                self.rarely_used()
            self.end()
        except Abandoned:
            return

    def name(self, kind: str) -> str:
        return f"{kind}-{self.suffix}"

    def begin(self) -> None:
        scope = {"project": {"name": "admin", "domain": DEFAULT_DOMAIN}}
        answer = authenticate(self.api.acting_as(None), administrator(), scope=scope)
        self.api.same("token.issue", answer, answer.body["token"]["user"]["name"], "admin")
        self.admin_id = answer.body["token"]["user"]["id"]
        self.admin_token = answer.token
        self.api.token = answer.token

    def projects(self) -> None:
        fields = {"name": self.name("project"), "domain_id": "default", "description": "first"}
        self.project_id = self.api.create("project", "/projects", fields)["id"]
        self.api.refused("project", "/projects", fields)
        self.api.rows("project.list(name)", f"/projects?name={fields['name']}", "projects", [self.project_id])
        self.api.rows("project.list(domain)", "/projects?domain_id=default", "projects", [self.project_id], exact=False)
        self.api.rows("project.list(nothing)", "/projects?domain_id=no-such-domain", "projects", [])
        changes = {"description": "second", "tags": ["one", "two"]}
        self.api("project.update", "PATCH", f"/projects/{self.project_id}", {"project": changes})
        shown = self.api("project.show", "GET", f"/projects/{self.project_id}")
        seen = [shown.body["project"]["description"], sorted(shown.body["project"]["tags"])]
        self.api.same("project.show", shown, seen, ["second", ["one", "two"]])

    def users(self) -> None:
        fields = {
            "name": self.name("user"),
            "domain_id": "default",
            "password": self.password,
            "email": "a@example.org",
        }
        fields["default_project_id"] = self.project_id
        self.user_id = self.api.create("user", "/users", fields)["id"]
        self.api.refused("user", "/users", fields)
        self.api.rows("user.list(name)", f"/users?name={fields['name']}", "users", [self.user_id])
        part = fields["name"][2:].upper()
        self.api.rows("user.list(contains)", f"/users?name__icontains={part}", "users", [self.user_id])
        disabled = f"/users?name={fields['name']}&enabled=false"
        self.api.rows("user.list(name, enabled)", disabled, "users", [])
        self.api.rows("user.list(domain)", "/users?domain_id=default", "users", [self.user_id], exact=False)
        self.api.rows("user.list(nothing)", "/users?domain_id=no-such-domain", "users", [])
        self.api.change("user", f"/users/{self.user_id}", {"email": "b@example.org"})

    def roles(self) -> None:
        fields = {"name": self.name("role")}
        self.role_id = self.api.create("role", "/roles", fields)["id"]
        self.api.refused("role", "/roles", fields)
        self.api.rows("role.list(name)", f"/roles?name={fields['name']}", "roles", [self.role_id])
        self.api.rows("role.list", "/roles", "roles", [self.role_id], exact=False)
        self.grant = f"/projects/{self.project_id}/users/{self.user_id}/roles/{self.role_id}"
        self.api("grant.create", "PUT", self.grant, expect=(204,))
        self.api("grant.create(again)", "PUT", self.grant, expect=(204,))
        self.api("grant.check", "HEAD", self.grant, expect=(204,))
        answer = self.api("assignment.list", "GET", f"/role_assignments?user.id={self.user_id}")
        seen = [(row["role"]["id"], row["scope"]["project"]["id"]) for row in answer.body["role_assignments"]]
        self.api.same("assignment.list", answer, seen, [(self.role_id, self.project_id)])
        answer = self.api("assignment.list(names)", "GET",
                          f"/role_assignments?include_names&scope.project.id={self.project_id}")  # fmt: skip
        seen = [(row["role"]["name"], row["user"]["name"]) for row in answer.body["role_assignments"]]
        self.api.same("assignment.list(names)", answer, seen, [(fields["name"], self.name("user"))])

    def tokens(self) -> None:
        user = {"id": self.user_id, "password": self.password}
        self.scope = {"project": {"id": self.project_id}}
        anonymous = self.api.acting_as(None)
        issued = authenticate(anonymous, user, scope=self.scope, operation="token.issue(user)")
        validated = self.api("token.validate", "GET", "/auth/tokens", subject=issued.token)
        for answer in (issued, validated):
            token = answer.body["token"]
            seen = (token["user"]["id"], token["project"]["id"], [role["id"] for role in token["roles"]])
            self.api.same("token.validate", answer, seen, (self.user_id, self.project_id, [self.role_id]))
        wrong = {"id": self.user_id, "password": "wrong"}
        authenticate(anonymous, wrong, scope=self.scope, operation="token.issue(wrong password)", expect=401)
        self.api("token.revoke", "DELETE", "/auth/tokens", subject=issued.token, expect=(204,))
        self.api("token.validate(revoked)", "GET", "/auth/tokens", subject=issued.token, expect=(404,))

        old, self.password = self.password, f"{self.password} again"
        self.api("user.update(password)", "PATCH", f"/users/{self.user_id}", {"user": {"password": self.password}})
        stale = {"id": self.user_id, "password": old}
        authenticate(anonymous, stale, operation="token.issue(old password)", expect=401)
        # A password change revokes what was issued in or before its second; tokens carry whole seconds.
        time.sleep(1.0 - time.time() % 1.0 + 0.01)
        user = {"id": self.user_id, "password": self.password}
        self.own = self.api.acting_as(
            authenticate(anonymous, user, scope=self.scope, operation="token.issue(new)").token
        )

    def groups(self) -> None:
        fields = {"name": self.name("group"), "domain_id": "default"}
        self.group_id = self.api.create("group", "/groups", fields)["id"]
        self.api.refused("group", "/groups", fields)
        self.api.rows("group.list(name)", f"/groups?name={fields['name']}", "groups", [self.group_id])
        member = f"/groups/{self.group_id}/users/{self.user_id}"
        self.api("group.add", "PUT", member, expect=(204,))
        self.api("group.add(again)", "PUT", member, expect=(204,))
        self.api("group.check", "HEAD", member, expect=(204,))
        self.api.rows("group.users", f"/groups/{self.group_id}/users", "users", [self.user_id])
        self.api.rows("user.groups", f"/users/{self.user_id}/groups", "groups", [self.group_id])

    def credentials(self) -> None:
        fields = {"user_id": self.user_id, "project_id": self.project_id, "type": "cert", "blob": self.name("blob")}
        made = self.api.create("credential", "/credentials", fields)["id"]
        self.api.rows("credential.list(user)", f"/credentials?user_id={self.user_id}", "credentials", [made])
        self.api.change("credential", f"/credentials/{made}", {"blob": self.name("other")})
        self.api.delete("credential", f"/credentials/{made}")

    def catalog(self) -> None:
        fields = {"name": self.name("service"), "type": self.name("type")}
        service = self.api.create("service", "/services", fields)["id"]
        self.api.rows("service.list(type)", f"/services?type={fields['type']}", "services", [service])
        self.api.rows("service.list(name)", f"/services?name={fields['name']}", "services", [service])
        public = {"service_id": service, "interface": "public", "url": "http://127.0.0.1/", "region_id": self.region}
        endpoint = self.api.create("endpoint", "/endpoints", public)["id"]
        self.api.rows("endpoint.list(service)", f"/endpoints?service_id={service}", "endpoints", [endpoint])
        answer = self.api("catalog", "GET", "/auth/catalog")
        seen = [entry["id"] for entry in answer.body["catalog"] if entry["type"] == fields["type"]]
        self.api.same("catalog", answer, seen, [service])
        self.api.delete("endpoint", f"/endpoints/{endpoint}")
        self.api.delete("service", f"/services/{service}")

    def delegation(self) -> None:
        path = f"/users/{self.user_id}/application_credentials"
        made = self.own.create("application_credential", path, {"name": self.name("application")})
        self.own.refused("application_credential", path, {"name": self.name("application")})
        self.own.rows("application_credential.list", path, "application_credentials", [made["id"]])
        identity = {"methods": ["application_credential"]}
        body = {
            "auth": {"identity": {**identity, "application_credential": {"id": made["id"], "secret": made["secret"]}}}
        }
        anonymous = self.api.acting_as(None)
        issued = anonymous("token.issue(application)", "POST", "/auth/tokens", body, expect=(201,))
        self.api.same("token.issue(application)", issued, issued.body["token"]["user"]["id"], self.user_id)
        self.own.delete("application_credential", f"{path}/{made['id']}")

        trust = {"trustor_user_id": self.user_id, "trustee_user_id": self.admin_id, "project_id": self.project_id}
        trust = {**trust, "impersonation": False, "roles": [{"id": self.role_id}]}
        made = self.own.create("trust", "/OS-TRUST/trusts", trust)
        self.own.rows("trust.list", f"/OS-TRUST/trusts?trustor_user_id={self.user_id}", "trusts", [made["id"]])
        scope = {"OS-TRUST:trust": {"id": made["id"]}}
        issued = authenticate(anonymous, administrator(), scope=scope, operation="token.issue(trust)")
        self.api.same("token.issue(trust)", issued, issued.body["token"]["project"]["id"], self.project_id)
        self.own.delete("trust", f"/OS-TRUST/trusts/{made['id']}")

    def contention(self) -> None:
        """What all threads do to the same rows, at about the same time."""
        path = f"/projects/{self.shared['project']}"
        self.api("project.update(shared)", "PATCH", path, {"project": {"description": self.suffix}})
        path = f"/users/{self.shared['user']}"
        self.api("user.update(shared)", "PATCH", path, {"user": {"email": f"{self.suffix}@example.org"}})
        name = self.shared["race"].format(number=self.number)
        answer = self.api("role.create(race)", "POST", "/roles", {"role": {"name": name}}, expect=(201, 409))
        if answer.status == 201:
            self.api.record.won(name)

    def rarely_used(self) -> None:
        """One request or two for each remaining driver: domains, limits, policies, federation, OAuth, filters."""
        api = self.api
        domain = api.create("domain", "/domains", {"name": self.name("domain")})["id"]
        api.rows("domain.list(name)", f"/domains?name={self.name('domain')}", "domains", [domain])
        settings = {"identity": {"list_limit": 7}}
        api("domain_config.create", "PUT", f"/domains/{domain}/config", {"config": settings}, expect=(200, 201))
        answer = api("domain_config.show", "GET", f"/domains/{domain}/config")
        api.same("domain_config.show", answer, answer.body["config"], settings)
        api("domain_config.delete", "DELETE", f"/domains/{domain}/config", expect=(204,))
        self.system = f"/system/users/{self.user_id}/roles/{self.role_id}"
        api("system_grant.create", "PUT", self.system, expect=(204,))
        api("system_grant.create(again)", "PUT", self.system, expect=(204,))
        api("system_grant.delete", "DELETE", self.system, expect=(204,))
        policy = api.create("policy", "/policies", {"type": "application/json", "blob": self.name("policy")})["id"]
        service = api.create("service", "/services", {"name": self.name("rare"), "type": self.name("rare")})["id"]
        association = f"/policies/{policy}/OS-ENDPOINT-POLICY/services/{service}"
        api("policy_association.create", "PUT", association, expect=(204,))
        api("policy_association.delete", "DELETE", association, expect=(204,))
        api.delete("policy", f"/policies/{policy}")
        filtered = {"name": self.name("filter"), "filters": {"service_id": service}}
        group = api.create("endpoint_group", "/OS-EP-FILTER/endpoint_groups", filtered)["id"]
        api.delete("endpoint_group", f"/OS-EP-FILTER/endpoint_groups/{group}")
        self.limits(service)
        api.delete("service", f"/services/{service}")
        consumer = api.create("consumer", "/OS-OAUTH1/consumers", {"description": self.name("consumer")})["id"]
        api.delete("consumer", f"/OS-OAUTH1/consumers/{consumer}")
        self.federation()
        api.change("domain", f"/domains/{domain}", {"enabled": False})
        api.delete("domain", f"/domains/{domain}")

    def limits(self, service: str) -> None:
        registered = {"service_id": service, "resource_name": self.name("resource"), "default_limit": 10}
        answer = self.api("registered_limit.create", "POST", "/registered_limits",
                          {"registered_limits": [registered]}, expect=(201,))  # fmt: skip
        default = answer.body["registered_limits"][0]["id"]
        limit = {"service_id": service, "project_id": self.project_id, "resource_name": self.name("resource")}
        answer = self.api(
            "limit.create", "POST", "/limits", {"limits": [{**limit, "resource_limit": 5}]}, expect=(201,)
        )
        made = answer.body["limits"][0]["id"]
        self.api.fields("limit.show", f"/limits/{made}", {"resource_limit": 5, "project_id": self.project_id})
        self.api.delete("limit", f"/limits/{made}")
        self.api.delete("registered_limit", f"/registered_limits/{default}")

    def federation(self) -> None:
        name = self.name("idp")
        path = f"/OS-FEDERATION/identity_providers/{name}"
        remote = [f"https://{name}.example.org"]
        answer = self.api("identity_provider.create", "PUT", path,
                          {"identity_provider": {"enabled": True, "remote_ids": remote}}, expect=(201,))  # fmt: skip
        domain = answer.body["identity_provider"]["domain_id"]
        self.api.fields("identity_provider.show", path, {"remote_ids": remote, "enabled": True})
        mapping = f"/OS-FEDERATION/mappings/{name}"
        rules = [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "UserName"}]}]
        self.api("mapping.create", "PUT", mapping, {"mapping": {"rules": rules}}, expect=(201,))
        self.api.fields("mapping.show", mapping, {"rules": rules})
        protocol = {"protocol": {"mapping_id": name}}
        self.api("protocol.create", "PUT", f"{path}/protocols/openid", protocol, expect=(201,))
        self.api("protocol.delete", "DELETE", f"{path}/protocols/openid", expect=(204,))
        self.api.delete("mapping", mapping)
        self.api.delete("identity_provider", path)
        self.api("domain.update", "PATCH", f"/domains/{domain}", {"domain": {"enabled": False}})
        self.api("domain.delete", "DELETE", f"/domains/{domain}", expect=(204,))

    def end(self) -> None:
        self.api("group.remove", "DELETE", f"/groups/{self.group_id}/users/{self.user_id}", expect=(204,))
        self.api.rows("group.users", f"/groups/{self.group_id}/users", "users", [])
        self.api.delete("group", f"/groups/{self.group_id}")
        self.api("grant.delete", "DELETE", self.grant, expect=(204,))
        self.api("grant.delete(again)", "DELETE", self.grant, expect=(404,))
        self.api.delete("role", f"/roles/{self.role_id}")
        self.api.delete("user", f"/users/{self.user_id}")
        self.api.delete("project", f"/projects/{self.project_id}")
        user = {"id": self.user_id, "password": self.password}
        authenticate(self.api.acting_as(None), user, operation="token.issue(gone)", expect=401)
        self.api("token.revoke", "DELETE", "/auth/tokens", subject=self.admin_token, expect=(204,))


def prepare(api: Api, seed: int) -> dict[str, str]:
    """Objects that all threads share."""
    scope = {"project": {"name": "admin", "domain": DEFAULT_DOMAIN}}
    api.token = authenticate(api.acting_as(None), administrator(), scope=scope).token
    project = api.create("project", "/projects", {"name": f"shared-{seed}", "domain_id": "default"})
    user = api.create("user", "/users", {"name": f"shared-{seed}", "domain_id": "default", "password": "shared"})
    return {"project": project["id"], "user": user["id"], "race": f"race-{seed}-{{number}}"}


def count_races(api: Api, record: Record, seed: int, rounds: int) -> None:
    """Of each name that all threads tried to create there is one object, made by one request."""
    api.token = authenticate(api.acting_as(None), administrator(), scope={"project": {"name": "admin", "domain": DEFAULT_DOMAIN}}).token  # fmt: skip  # noqa: E501
    for number in range(rounds):
        name = f"race-{seed}-{number}"
        answer = api("role.list(name)", "GET", f"/roles?name={name}")
        api.same("role.create(race)", answer, (len(answer.body["roles"]), record.raced[name]), (1, 1))


def drive(application: Callable[..., Any], options: argparse.Namespace) -> dict[str, Any]:
    """All rounds of all threads; what they saw."""
    record = Record()
    started = time.monotonic()
    try:
        shared = prepare(Api(application, record), options.seed)
    except Abandoned:
        return report(record, started)

    def work(thread: int) -> None:
        api = Api(application, record)
        for number in range(options.rounds):
            Round(api, f"{options.seed}-{thread}-{number}", shared, options.region, number).run()

    threads = [threading.Thread(target=work, args=(n,), name=f"thread-{n}") for n in range(options.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with contextlib.suppress(Abandoned):
        count_races(Api(application, record), record, options.seed, options.rounds)
    return report(record, started)


def report(record: Record, started: float) -> dict[str, Any]:
    """What is printed."""
    codes = {operation: {str(code): n for code, n in counts.items()} for operation, counts in record.codes.items()}
    return {
        "requests": record.requests,
        "codes": dict(sorted(codes.items())),
        "unexpected": [record.unexpected[n] if n < KEPT else {} for n in range(len(record.unexpected))],
        "wrong": [record.wrong[n] if n < KEPT else {} for n in range(len(record.wrong))],
        "seconds": round(time.monotonic() - started, 3),
    }


def main() -> None:
    """Parse the command line, load Keystone, drive it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configuration")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--region", default="RegionOne")
    options = parser.parse_args()
    os.environ["OS_KEYSTONE_CONFIG_FILES"] = options.configuration
    sys.argv = sys.argv[:1]
    from keystone.server import wsgi
    from keystone.server.flask.request_processing.middleware import auth_context

    auth_context.AuthContextMiddleware.token = OfThisThread()
    print(json.dumps(drive(wsgi.initialize_public_application(), options)), flush=True)


if __name__ == "__main__":
    main()
