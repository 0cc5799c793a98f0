"""What an external check says: a published figure beside ours, and the band for ours."""

from __future__ import annotations

from typing import NamedTuple


class CheckResult(NamedTuple):
    """One external check.

    `published`, `measured` and `band` are short texts with units. A result that is `reported_only`
    does not fail a run: what it is compared with is not certain enough. A brief check takes fewer
    hosts and seeds than what was published.
    """

    number: int
    what: str
    published: str
    measured: str
    passed: bool
    reported_only: bool = False
    band: str = ""
    is_brief: bool = False


def span(band: tuple[float, float]) -> str:
    """Write a band of two numbers."""
    return f"{band[0]:g} to {band[1]:g}"


class Missing(NamedTuple):
    """A check that cannot run: what it would be, what is published, and why it is not there."""

    what: str
    published: str
    reason: str


NOT_BUILT = {
    11: Missing(
        "mean delay of SplitStream with 16 stripes over Scribe's, 256 hosts",
        "+98 % (Birrer and Bustamante, MASCOTS 2005)",
        "SplitStream is not among the relatives",
    ),
}
"""Checks by number that the laboratory should have and has not."""
