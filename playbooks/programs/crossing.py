"""Check that every Keystone answers and accepts the tokens of every other; run on the hosts that load them.

The request is JSON on stdin; it holds the administrator's password. ``issuers`` are the Keystones, by region, that
issue a token: with many hosts that do this, each has its share. Prints one JSON object: a matrix issuer -> validator,
and a sentence for each thing that failed.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def cross(request: dict[str, Any]) -> None:
    """Wait for all Keystones, issue a token through each of `issuers`, validate each token through all."""
    deadline = time.monotonic() + request["timeout_s"]
    keystones = {keystone["region"]: keystone["url"] for keystone in request["keystones"]}
    issuers: list[str] = request["issuers"]
    with ThreadPoolExecutor(max(len(keystones), 8)) as pool:
        answers = dict(zip(keystones, pool.map(lambda url: _await(url, deadline), keystones.values()), strict=True))
        body = _credentials(request)
        # One after the other: the day's first token of a user writes when the user was last active. Written through
        # several Galera nodes at once, all but one commit fail (error 1213), and Keystone drops the connection.
        issued = {region: _issue(keystones[region], body) for region in issuers}
        pairs = [(issuer, validator) for issuer in issuers for validator in keystones]
        verdicts = list(pool.map(lambda pair: _validate(keystones[pair[1]], issued[pair[0]][0]), pairs))
    matrix: dict[str, dict[str, str]] = {issuer: {} for issuer in issuers}
    for (issuer, validator), verdict in zip(pairs, verdicts, strict=True):
        matrix[issuer][validator] = verdict
    print(json.dumps({"matrix": matrix, "failures": _failures(keystones, answers, issued, matrix)}))


def _failures(
    keystones: dict[str, str],
    answers: dict[str, str],
    issued: dict[str, tuple[str, str]],
    matrix: dict[str, dict[str, str]],
) -> list[str]:
    """One sentence per fault, and only the first one along each way."""
    sentences = []
    for region, url in keystones.items():
        if answers[region] != "ok":
            sentences.append(f"Keystone {region} ({url}) does not answer: {answers[region]}")
        elif region in issued and issued[region][1] != "ok":
            sentences.append(f"Keystone {region} ({url}) gives no token: {issued[region][1]}")
    for issuer, row in matrix.items():
        for validator, verdict in row.items():
            if verdict != "ok" and issued[issuer][0] and answers[validator] == "ok":
                sentences.append(f"a token from {issuer} is not valid at {validator}: {verdict}")
    return sentences


def _await(url: str, deadline: float) -> str:
    while True:
        status, _, text = _request("GET", url)
        if status == 200 or time.monotonic() > deadline:
            return "ok" if status == 200 else text
        time.sleep(0.1)


def _issue(url: str, body: dict[str, Any]) -> tuple[str, str]:
    """The token and ``ok``, or nothing and what was answered."""
    status, headers, text = _request("POST", f"{url}/auth/tokens", body)
    return (headers["X-Subject-Token"], "ok") if status == 201 else ("", text)


def _validate(url: str, token: str) -> str:
    if not token:
        return "no token"
    headers = {"X-Auth-Token": token, "X-Subject-Token": token}
    status, _, text = _request("GET", f"{url}/auth/tokens", headers=headers)
    return "ok" if status == 200 else text


def _credentials(request: dict[str, Any]) -> dict[str, Any]:
    user = {"name": request["username"], "domain": {"id": "default"}, "password": request["password"]}
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    return {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}


def _request(
    method: str, url: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None
) -> tuple[int, Any, str]:
    """HTTP status (0 without an answer), headers, and what was answered in a line."""
    data = json.dumps(body).encode() if body else None
    all_headers = {"Content-Type": "application/json", **(headers or {})}
    try:
        with OPENER.open(urllib.request.Request(url, data, all_headers, method=method), timeout=30) as answer:
            return answer.status, answer.headers, ""
    except urllib.error.HTTPError as error:
        return error.code, error.headers, f"HTTP {error.code} {error.reason}"
    except OSError as error:
        return 0, {}, str(error)


if __name__ == "__main__":
    cross(json.load(sys.stdin))
