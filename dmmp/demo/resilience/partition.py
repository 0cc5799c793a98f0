"""The network cut in two: no host of one half reaches one of the other, for a time.

Clusters stay together. The rendezvous point reaches everybody; the source reaches both halves, or
in the variant only the first, so that the second cannot receive until the network is whole again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dmmp.demo.overlay import Document, parents_of
from dmmp.demo.resilience.lab import HOSTS, MEMBERS, Lab
from dmmp.demo.resilience.structure import SOURCE, clusters_of, draw, fed_twice, misplaced
from dmmp.demo.resilience.trial import Heard, Outcome, Stream, judge, outcome_of
from dmmp.parameters import Parameters

BEFORE: Final = 1.5
AFTER: Final = 8.0
HEALING_PATIENCE: Final = 15.0
POLL: Final = 0.1
LONGEST_HOLD: Final = max(Parameters().hold_mesh, Parameters().hold_cluster)

HEALED: Final = "healed_seconds"
AGAIN: Final = "heard_again_seconds"
MISSED: Final = "missed_while_cut"


def halves(documents: Mapping[str, Document]) -> tuple[list[str], list[str]]:
    """Divide super nodes and members into two halves, about as many members in each.

    A cluster, which is a super node and the members below it, is not divided.
    """
    clusters = clusters_of(documents, MEMBERS)
    sides: tuple[list[str], list[str]] = ([], [])
    for top, below in sorted(clusters.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        min(sides, key=len).extend([top, *below])
    for name in MEMBERS:
        if name in documents and not any(name in side for side in sides):
            min(sides, key=len).append(name)
    return sides


def play(
    lab: Lab, directory: Path, scenario: str, number: int, seconds: float, with_source: bool
) -> Outcome:
    """Play a stream while the network is cut for so many seconds; see it heal."""
    documents = lab.overlay.documents()
    first, second = halves(documents)
    if number % 2:
        first, second = second, first
    stream = Stream(lab, directory, BEFORE + seconds + AFTER)
    stream.join()
    stream.begin()
    time.sleep(BEFORE)
    cut_ns, cut_at = time.monotonic_ns(), time.time()
    lab.internet.block_between(first if with_source else [*first, SOURCE], second)
    time.sleep(seconds)
    during = lab.overlay.documents()
    mended_ns = time.monotonic_ns()
    lab.internet.unblock_all()
    healed, wrong, last = _see_it_heal(lab)
    stream.finish(deaf=() if with_source else second)
    after = lab.overlay.documents()
    hearing = HOSTS if with_source else [SOURCE, *first]
    heard = _heard(stream, cut_ns, mended_ns, () if with_source else second)
    harm = f"{' '.join(second)} cut off from {'the others' if with_source else 'all'}"
    outcome = outcome_of(stream, scenario, number, harm, draw(parents_of(documents)), heard)
    again = [_again_ms(report, mended_ns, stream.sent) for report in stream.reports.values()]
    outcome.figures = {HEALED: round(healed, 2), AGAIN: round(max(again) / 1000, 2)}
    if not with_source:
        got = [stream.reports[name]["sequence"]["distinct"] for name in second if name in MEMBERS]
        outcome.figures[MISSED] = stream.sent["count"] * len(got) - sum(got)
    if last and not wrong:
        outcome.harm += f" (the last that healed: {last})"
    outcome.problems += wrong
    outcome.problems += [f"while cut: {problem}" for problem in misplaced(during, hearing)]
    outcome.problems += [f"in the end: {problem}" for problem in misplaced(after, HOSTS)]
    if seconds > LONGEST_HOLD:
        outcome.problems += [f"in the end: {problem}" for problem in fed_twice(after)]
    outcome.evidence |= {
        "harmed_at": cut_at,
        "before": documents,
        "when_harmed": during,
        "after": after,
        "halves": (first, second),
    }
    return outcome


def _see_it_heal(lab: Lab) -> tuple[float, list[str], str]:
    """Wait until the tree is whole; tell how long that took, what never healed, what last did."""
    begun = time.monotonic()
    last = ""
    while True:
        wrong = misplaced(lab.overlay.documents(), HOSTS)
        past = time.monotonic() - begun
        if not wrong or past > HEALING_PATIENCE:
            return past, [f"not healed after {past:.0f} s: {each}" for each in wrong], last
        last = wrong[0]
        time.sleep(POLL)


def _heard(
    stream: Stream, cut_ns: int, mended_ns: int, cut_off: list[str] | tuple[()]
) -> list[Heard]:
    """Judge all; those without a path to the source only by how soon they heard again."""
    heard = []
    for name, report in stream.reports.items():
        judged = judge(name, report, stream.sent, cut_ns, True)
        if name in cut_off:
            again = _again_ms(report, mended_ns, stream.sent)
            judged = Heard(name, True, 0, judged.duplicates, 0, again)
        heard.append(judged)
    return heard


def _again_ms(report: Mapping[str, Any], mended_ns: int, sent: Mapping[str, Any]) -> float:
    """Give how long after an instant the next packet came, milliseconds; 0 if packets flow."""
    last_ns = report["last_ns"]
    if last_ns is None or last_ns <= mended_ns:
        return float((sent["last_ns"] - mended_ns) / 1e6)
    spanning = (at + gap for at, gap in report["gaps_ns"] if at <= mended_ns < at + gap)
    return round(max((end - mended_ns for end in spanning), default=0) / 1e6, 1)
