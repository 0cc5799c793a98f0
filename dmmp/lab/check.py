"""What an external check says: a published figure beside ours."""

from __future__ import annotations

from typing import NamedTuple


class CheckResult(NamedTuple):
    """One external check.

    `published` and `measured` are short texts with units. A result that is `reported_only` does
    not fail a run: what it is compared with is not certain enough.
    """

    number: int
    what: str
    published: str
    measured: str
    passed: bool
    reported_only: bool = False
