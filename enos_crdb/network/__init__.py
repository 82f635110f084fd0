"""The network between the hosts: measured, judged, and emulated by the hosts' own kernels."""

from enos_crdb.network.gate import Judgement, judge
from enos_crdb.network.plan import expect
from enos_crdb.network.round_trips import measure

__all__ = ["Judgement", "expect", "judge", "measure"]
