"""A case: one requirement, tested from outside by a function of about ten lines.

What it needs of the surroundings it says in `needs`; a carrier that lacks one of these cannot run
it, and the verdict is "unsupported".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from dmmp.conformance.requirement import Requirement, Role, requirements

if TYPE_CHECKING:
    from dmmp.conformance.tester import Tester


class Feature(Enum):
    """What a carrier may be able to do to the implementation under test, in words for people."""

    FRESH = "an implementation that is started anew for the case (--command)"
    STOP = "telling the implementation to leave (--command)"
    PROGRAM = "playing the programs on its host (--interface)"
    SECOND_RP = "telling the implementation of a second RP ([--option {rp2}] in --command)"
    SECURED = "credentials of a test authority"


class Verdict(Enum):
    """How a case ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNSUPPORTED = "unsupported"


class Failure(Exception):
    """The implementation under test does not do what the requirement says."""


class Unsupported(Exception):
    """It does not offer what the requirement is about, and need not."""


@dataclass(frozen=True, slots=True)
class Case:
    """See the module's docstring; `seconds` is how long it takes at most, by protocol time."""

    requirement_id: str
    title: str
    roles: tuple[Role, ...]
    run: Callable[[Tester], None]
    seconds: float
    needs: frozenset[Feature]

    @property
    def id(self) -> str:
        """Return the requirement's id and the function's name, as the command line takes it."""
        return f"{self.requirement_id}:{self.run.__name__.replace('_', '-')}"

    @property
    def requirement(self) -> Requirement:
        """Return the sentence that is tested."""
        return requirements()[self.requirement_id]

    def is_meant(self, name: str) -> bool:
        """Tell whether a section `4`, a requirement `4/7` or a case `4/7:name` means this one."""
        return name in (self.requirement_id.partition("/")[0], self.requirement_id, self.id)


def case(
    requirement_id: str,
    title: str,
    *roles: str,
    seconds: float = 5.0,
    needs: tuple[Feature, ...] = (),
) -> Callable[[Callable[[Tester], None]], Case]:
    """Make a case of a function; without `roles` it is for every role."""

    def decorate(run: Callable[[Tester], None]) -> Case:
        meant = tuple(Role(name) for name in roles) or tuple(Role)
        return Case(requirement_id, title, meant, run, seconds, frozenset(needs))

    return decorate
