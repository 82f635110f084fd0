"""The network between the hosts: measured, judged, and emulated by the hosts' own kernels."""

from enos_crdb.network.gate import Judgement, Tolerance, judge
from enos_crdb.network.plan import RoundTrip, expect
from enos_crdb.network.round_trips import measure

__all__ = ["Judgement", "RoundTrip", "Tolerance", "expect", "judge", "measure"]
