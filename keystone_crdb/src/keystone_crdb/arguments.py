"""Arguments of a call as they were before it, because drivers change what they are given.

`driver_hints.Hints` loses the filters that a driver has satisfied: a repetition without them returns other rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class Snapshot:
    """The dictionaries, lists, sets and hints that are reachable from `values`, each with what it held.

    The containers themselves are kept and refilled, so that a caller who holds an inner one sees it restored, too.
    """

    def __init__(self, values: Iterable[Any]) -> None:
        self._held: dict[int, tuple[Any, Any]] = {}
        for value in values:
            self._hold(value)

    def restore(self) -> None:
        """Give every container what it held when the snapshot was taken."""
        for container, content in self._held.values():
            container.clear()
            if isinstance(container, list):
                container.extend(content)
            else:
                container.update(content)

    def _hold(self, value: Any) -> None:
        if _is_hints(value):
            value = vars(value)
        if isinstance(value, (dict, list, set)):
            if id(value) in self._held:
                return
            self._held[id(value)] = (value, value.copy())
        elif not isinstance(value, (tuple, frozenset)):
            return
        for item in value.values() if isinstance(value, dict) else value:
            self._hold(item)


def _is_hints(value: Any) -> bool:
    return any(
        f"{kind.__module__}.{kind.__name__}" == "keystone.common.driver_hints.Hints" for kind in type(value).__mro__
    )
