"""Whether a child is so much more capable than its parent that it should take its place.

Slide 19 names what decides self-improvement: out-degree and uptime. Both sides ask the same
function; the parent about the record that it holds of its child, whatever the child claims.
"""

from __future__ import annotations

from collections.abc import Callable

from dmmp.messages.common import HostRecord
from dmmp.parameters import Parameters


def by_out_degree(applicant: HostRecord, parent: HostRecord, parameters: Parameters) -> bool:
    """Tell whether the applicant beats the parent by the threshold (-03 §6.8, slide 19).

    Out-degree is the main criterion: less than `promotion_margin` more is never worth a move,
    `promotion_ratio` times as much always. In between the longer uptime decides. A host that has
    not been up for `promotion_uptime` seconds has not shown yet that it stays.
    """
    if applicant.uptime < parameters.promotion_uptime:
        return False
    if applicant.out_degree < parent.out_degree + parameters.promotion_margin:
        return False
    if applicant.out_degree >= parameters.promotion_ratio * parent.out_degree:
        return True
    return applicant.uptime > parent.uptime


Threshold = Callable[[HostRecord, HostRecord, Parameters], bool]

THRESHOLDS: dict[str, Threshold] = {"out-degree": by_out_degree}
