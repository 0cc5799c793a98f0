"""Links that lose packets: a share of what arrives at every host is dropped at random.

The kernel drops, by a rule of nftables on each host's link; what it drops is counted there. Every
packet is one that was sent: the kernel cuts super-packets (GSO) before the link, or a whole burst
would be lost at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dmmp.demo.overlay import Document, parents_of
from dmmp.demo.resilience.lab import Lab
from dmmp.demo.resilience.structure import draw
from dmmp.demo.resilience.trial import Outcome, Stream, outcome_of, sum_of

DELIVERED: Final = "delivered_in_time"
REPAIR: Final = "repairs_per_loss"
LOST: Final = "lost_on_links"
REPAIRED: Final = "repairs_sent"


def play(
    lab: Lab, directory: Path, scenario: str, number: int, share: float, seconds: float
) -> Outcome:
    """Play a stream while every link loses a share of its packets.

    The repairs for each loss are the packets that nodes sent again from their caches, by their
    counter `replayed`, over the packets of data that the links dropped, repairs among them.
    """
    internet = lab.internet
    internet.segment()
    stream = Stream(lab, directory, seconds)
    stream.join()
    before = lab.overlay.documents()
    for host in internet:
        internet.lose(host.name, share)
    stream.begin()
    stream.finish()
    after = lab.overlay.documents()
    lost = sum(internet.lost(host.name)[1] for host in internet)
    for host in internet:
        internet.lose(host.name, 0)
    internet.segment(False)
    heard = stream.heard(stream.sent["first_ns"], (), stream.reports)
    tree = draw(parents_of(before))
    harm = f"links lose {share:.0%}"
    outcome = outcome_of(stream, scenario, number, harm, tree, heard)
    wanted = stream.sent["count"] * len(heard)
    repaired = _more(before, after, "replayed")
    outcome.figures = {
        DELIVERED: 1 - sum(each.missing + each.late for each in heard) / wanted,
        LOST: lost,
        REPAIRED: repaired,
        REPAIR: round(repaired / lost, 3) if lost else 0.0,
        "wanted": wanted,
        "in_time": wanted - sum(each.missing + each.late for each in heard),
        "requests": _more(before, after, "requests"),
        "changed_parents": sum(
            parents_of(after).get(name) != parent for name, parent in parents_of(before).items()
        ),
    }
    outcome.evidence |= {"before": before, "after": after}
    return outcome


def _more(before: dict[str, Document], after: dict[str, Document], counter: str) -> int:
    return sum_of(after, counter) - sum_of(before, counter)
