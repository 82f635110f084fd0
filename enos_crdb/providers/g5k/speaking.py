"""EnOSlib's log as notes to the user."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from enos_crdb.masking import masked_text
from enos_crdb.providers.g5k.jobs import Notify

HEARD = ("enoslib.infra", "enoslib.api")
_TOLD_OTHERWISE = re.compile(
    r"with config:|^Submitting |^Failed hosts|^Unreachable hosts|^All jobs|^Reloading|^Checking|^Running playbook"
)


class _Notes(logging.Handler):
    def __init__(self, notify: Notify, secrets: tuple[str, ...]) -> None:
        super().__init__(level=logging.INFO)
        self._notify, self._secrets = notify, secrets

    def emit(self, record: logging.LogRecord) -> None:
        text = re.sub(r"^\[[^\]]*\] ", "", record.getMessage())
        if not _TOLD_OTHERWISE.search(text):
            self._notify(masked_text(" ".join(text.split())[:300], self._secrets))


@contextmanager
def heard(notify: Notify, secrets: tuple[str, ...] = ()) -> Iterator[None]:
    """Pass on what EnOSlib logs inside the block, and print nothing of it."""
    handler = _Notes(notify, secrets)
    loggers = [logging.getLogger(name) for name in HEARD]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
