"""Section ``keystone_crdb`` of keystone.conf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from oslo_config import cfg

GROUP = "keystone_crdb"

OPTIONS = (
    cfg.IntOpt("max_replays", default=25, min=0, help="How often a driver call is repeated before it fails."),
    cfg.FloatOpt("base_delay_s", default=0.005, min=0, help="Longest pause before the first repetition, in seconds."),
    cfg.FloatOpt("max_delay_s", default=1.0, min=0, help="Longest pause before any repetition, in seconds."),
)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How often and how fast a call is repeated: `OPTIONS` as they are set."""

    max_replays: int
    base_delay_s: float
    max_delay_s: float


def list_options() -> list[tuple[str, list[Any]]]:
    """For oslo-config-generator."""
    return [(GROUP, list(OPTIONS))]


def limits(configuration: cfg.ConfigOpts) -> Limits:
    """The options as they are set in `configuration`, which learns about them when it has not."""
    configuration.register_opts(OPTIONS, group=GROUP)
    section = configuration[GROUP]
    return Limits(max_replays=section.max_replays, base_delay_s=section.base_delay_s, max_delay_s=section.max_delay_s)
