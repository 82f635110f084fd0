"""Keystone's own SQL drivers, whose public methods replay: what ``driver = sql_retry`` loads.

A driver is made from the installed Keystone's entry point ``sql`` when it is asked for, so every release gives its own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from importlib.metadata import entry_points, version
from types import CellType, FunctionType
from typing import Any

import keystone.conf
from oslo_db import api

from keystone_crdb import errors  # its import registers the filters that a replay depends on
from keystone_crdb.groups import GROUPS
from keystone_crdb.options import limits
from keystone_crdb.replay import replaying

__all__ = ["driver", "errors", "retrying"]


def __getattr__(name: str) -> type:
    if name not in GROUPS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return driver(name)


@functools.cache
def driver(group: str) -> type:
    """The retrying SQL driver for a section of keystone.conf. Raises ImportError when Keystone has none."""
    namespace = GROUPS[group]
    found = tuple(entry_points(group=namespace, name="sql"))
    if not found:
        raise ImportError(
            f"Keystone {version('keystone')} has no SQL driver in {namespace}, which is wrapped for [{group}]. "
            "This release of Keystone is not one that keystone_crdb supports."
        )
    try:
        stock = found[0].load()
    except ImportError as error:
        raise ImportError(
            f"Keystone's SQL driver for [{group}], {found[0].value}, cannot be imported: {error}"
        ) from error
    return retrying(stock, group)


def retrying(stock: type, group: str) -> type:
    """A subclass of `stock` whose public methods replay. Properties and what begins with ``_`` are left alone."""
    body: dict[str, Any] = {"__module__": __name__, "__doc__": stock.__doc__}
    for name in dir(stock):
        if not name.startswith("_"):
            attribute = inspect.getattr_static(stock, name)
            wrapped = _wrapped(attribute, f"{group}.{name}")
            if wrapped is not None:
                body[name] = wrapped
    return type(stock)(stock.__name__, (stock,), body)


def _wrapped(attribute: Any, operation: str) -> Any:
    if isinstance(attribute, (staticmethod, classmethod)):
        return type(attribute)(_replaying(attribute.__func__, operation))
    return _replaying(attribute, operation) if isinstance(attribute, FunctionType) else None


def _replaying(function: Callable[..., Any], operation: str) -> Callable[..., Any]:
    return replaying(without_inner_retry(function), operation, lambda: limits(keystone.conf.CONF))


def without_inner_retry(function: Any) -> Any:
    """`function` without oslo.db's ``wrap_db_retry``, which would sleep a second where we repeat at once.

    Decorators above it are kept: each is a function that calls the next one from its closure.
    """
    if getattr(function, "__globals__", None) is vars(api):
        return without_inner_retry(function.__wrapped__)
    inner = getattr(function, "__wrapped__", None)
    bare = without_inner_retry(inner) if inner is not None else None
    if bare is inner:
        return function
    cells = tuple(CellType(bare) if cell.cell_contents is inner else cell for cell in function.__closure__)
    copy = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, cells)
    copy.__kwdefaults__ = function.__kwdefaults__
    functools.update_wrapper(copy, function)
    vars(copy)["__wrapped__"] = bare
    return copy
