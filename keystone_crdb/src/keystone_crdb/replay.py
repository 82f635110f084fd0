"""Driver calls that are repeated when the database asks for it, or when its connection is lost in time."""

from __future__ import annotations

import functools
import logging
import random
import time
from collections.abc import Callable
from types import GeneratorType
from typing import Any

from oslo_db import exception
from sqlalchemy.orm import Query
from sqlalchemy.orm.exc import StaleDataError

from keystone_crdb import counters, wire
from keystone_crdb.arguments import Snapshot
from keystone_crdb.errors import AmbiguousResult
from keystone_crdb.options import Limits
from keystone_crdb.scope import scope

LOG = logging.getLogger(__name__)

# uWSGI forks without telling Python, and forked copies of a seeded generator would all wait equally long.
_uniform = random.SystemRandom().uniform


def replaying(function: Callable[..., Any], operation: str, limits: Callable[[], Limits]) -> Callable[..., Any]:
    """`function`, repeated as a whole; counted as `operation`.

    Only the outermost call repeats: the calls inside it may share its transaction, and only the owner of a
    transaction can begin it again.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if scope.inside:
            return function(*args, **kwargs)
        with scope.entered(operation):
            counters.add(operation, "calls")
            return _repeat(functools.partial(function, *args, **kwargs), operation, limits)

    return call


def pause_s(attempt: int, limits: Limits) -> float:
    """Seconds to wait before repetition `attempt` + 1: anything up to a bound that doubles ("full jitter").

    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    return _uniform(0.0, min(limits.max_delay_s, limits.base_delay_s * 2 ** min(attempt, 30)))


def _repeat(function: functools.partial[Any], operation: str, limits: Callable[[], Limits]) -> Any:
    before = Snapshot((*function.args, *function.keywords.values()))
    owner = not scope.transactions
    attempt = 0
    while True:
        scope.commit_sent = False
        try:
            return _evaluated(function())
        except (exception.DBDeadlock, exception.DBConnectionError, StaleDataError, AmbiguousResult) as error:
            reason = _reason(error) if owner else None
            if reason is None or attempt >= limits().max_replays:
                counters.add(operation, "gave_up")
                LOG.warning("%s failed after %d repetitions: %s", operation, attempt, type(error).__name__)
                raise
        counters.add(operation, reason)
        LOG.debug("%s is repeated (%s, %d)", operation, reason, attempt + 1)
        before.restore()
        time.sleep(pause_s(attempt, limits()))
        attempt += 1


def _reason(error: Exception) -> str | None:
    """The counter of repetitions for `error`; None when what the transaction did is not known."""
    if isinstance(error, AmbiguousResult):
        return None
    if isinstance(error, exception.DBConnectionError):
        return None if scope.commit_sent or not wire.attached() else "reconnects"
    return "replays"


def _evaluated(result: Any) -> Any:
    """What runs after its call returned would not be repeated: run it here.

    Of a query that nobody has run yet (Keystone 28 to 30 returns one from `get_enabled_service_providers`), the
    transaction would moreover stay open until Python's garbage collector finds its session.
    """
    if isinstance(result, GeneratorType):
        return iter(list(result))
    if not isinstance(result, Query):
        return result
    try:
        return result.all()
    finally:
        result.session.close()
