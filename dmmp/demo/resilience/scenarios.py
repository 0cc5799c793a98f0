"""Every scenario by its name, and what is promised of it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dmmp.demo.resilience import harms, loss, partition
from dmmp.demo.resilience.lab import Lab
from dmmp.demo.resilience.trial import Outcome


@dataclass(frozen=True, slots=True)
class Times:
    """What may be shortened for a glance."""

    partition: float = 60.0
    """How long the network is cut, seconds."""

    loss: float = 15.0
    """How long a stream over lossy links takes, seconds."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is promised; what is None is not."""

    missing: int | None = 0
    silence_p95_ms: float | None = None
    silence_worst_ms: float | None = None
    delivered: float | None = None
    repairs: float | None = None
    healed_seconds: float | None = None


Play = Callable[[Lab, Path, int, Times], Outcome]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing that happens, and what is promised when it does."""

    name: str
    says: str
    target: Target
    play: Play


CALM: Final = "calm"
KILLED: Final = Target(silence_p95_ms=500)
UNDISTURBED: Final = Target(silence_worst_ms=100)
LEFT: Final = Target(silence_worst_ms=50)
CUT: Final = Target(silence_worst_ms=5000, healed_seconds=5)


def _harm(
    name: str, says: str, target: Target, choice: harms.Choice, how: signal.Signals
) -> Scenario:
    def play(lab: Lab, directory: Path, number: int, times: Times) -> Outcome:
        return harms.play(lab, directory, name, number, choice, how)

    return Scenario(name, says, target, play)


def _loss(percent: int, delivered: float) -> Scenario:
    name = f"loss-{percent}"

    def play(lab: Lab, directory: Path, number: int, times: Times) -> Outcome:
        return loss.play(lab, directory, name, number, percent / 100, times.loss)

    target = Target(missing=None, delivered=delivered, repairs=1.3)
    return Scenario(name, f"every link loses {percent} % of its packets", target, play)


def _partition(name: str, says: str, with_source: bool) -> Scenario:
    def play(lab: Lab, directory: Path, number: int, times: Times) -> Outcome:
        return partition.play(lab, directory, name, number, times.partition, with_source)

    return Scenario(name, says, CUT, play)


KILL: Final = signal.SIGKILL
LEAVE: Final = signal.SIGTERM

SCENARIOS: Final = (
    _harm(CALM, "nothing happens", Target(), harms.nobody, KILL),
    _harm("super-node", "a super node is killed", KILLED, harms.super_nodes, KILL),
    _harm("member", "a member that feeds others is killed", KILLED, harms.relaying_members, KILL),
    _harm(
        "two-relays",
        "a super node and, 100 ms later, a relay below it are killed",
        KILLED,
        harms.two_on_one_path,
        KILL,
    ),
    _harm("rp", "the rendezvous point is killed", UNDISTURBED, harms.rendezvous_point, KILL),
    _harm("super-node-leaves", "a super node is asked to leave", LEFT, harms.super_nodes, LEAVE),
    _harm(
        "member-leaves",
        "a member that feeds others is asked to leave",
        LEFT,
        harms.relaying_members,
        LEAVE,
    ),
    _loss(1, 0.99999),
    _loss(5, 0.9999),
    _loss(10, 0.999),
    _partition("partition", "two halves do not reach each other; both reach the source", True),
    _partition("partition-source", "one half reaches neither the other nor the source", False),
)

NAMES: Final = tuple(scenario.name for scenario in SCENARIOS)
