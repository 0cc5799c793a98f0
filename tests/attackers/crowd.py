"""Twenty in a hundred super nodes hostile: what the honest members of a session still get.

Run it for the figures, in virtual time, a line for each kind of hostility and seed:

    python -m tests.attackers.crowd --kinds mixed forge --seeds 1 2 3 --hosts 200
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dmmp.security.peer import Capability
from dmmp.sim.network import PERFECT, Conditions
from tests.attackers.hostile import Conduct
from tests.simulation.secured_stage import SecuredStage

KINDS: Mapping[str, Mapping[str, float | bool]] = {
    "drop10": {"drops": 0.1},
    "drop50": {"drops": 0.5},
    "drop": {"drops": 1.0},
    "deaf": {"drops": 0.5, "deaf": True},
    "mute": {"drops": 1.0, "mute": True},
    "delay": {"delay": 0.5},
    "forge": {"forges": 0.1},
    "lie": {"lies": True},
    "lie-drop": {"lies": True, "drops": 1.0},
}
"""Conducts by name: what a hostile super node does."""

MIXED = ("drop", "delay", "forge", "lie-drop", "drop10", "mute", "deaf")
"""The kinds of a mixed crowd, in turn."""

ONE_IN = 5
"""One of so many hosts that may be super nodes is hostile."""

PER_SECOND, AT_ONCE = 20.0, 5
"""Packets of the stream: batches, as a signature is shared by those of one."""

SEEKING = 10.0
"""Seconds after the last host came until everybody has found a parent that is no enemy."""


class Result(NamedTuple):
    """What came of one run; shares are of the packets sent while it was measured."""

    honest: float
    worst: float
    delivered_forgeries: int
    forgeries: int
    super_nodes: int
    hostile_super_nodes: int
    fed_by_hostile: int
    """Honest hosts that still have a hostile parent."""


def names(hosts: int) -> tuple[list[str], list[str]]:
    """Name the hosts that may be super nodes, and the hostile ones among them."""
    able = [f"m{number}" for number in range(hosts // 5)]
    return able, able[::ONE_IN]


def play(
    kind: str,
    seed: int,
    hosts: int = 100,
    *,
    since: float | None = None,
    seconds: float = 30.0,
    conditions: Conditions = PERFECT,
) -> Result:
    """Play one session; hostility begins at once, or `since` seconds into what is measured."""
    able, hostile = names(hosts)
    begin = 0.5 + hosts * 0.03 + SEEKING
    turns = MIXED if kind == "mixed" else (kind,)
    conducts = {
        name: Conduct(
            since=0.0 if since is None else begin + since,
            **KINDS[turns[(at + seed) % len(turns)]],  # type: ignore[arg-type]
        )
        for at, name in enumerate(hostile)
    }

    def grant(name: str, role: str) -> Capability:
        if role == "rendezvous-point":
            return Capability.RENDEZVOUS_POINT
        if role == "source":
            return Capability.SOURCE | Capability.SUPER_NODE | Capability.MEMBER
        return Capability.MEMBER | (Capability.SUPER_NODE if name in able else Capability.NONE)

    stage = SecuredStage(seed, conducts, grant=grant, conditions=conditions)
    stage.join(hosts, 0.5, hosts * 0.03, out_degree=lambda number: 10 if number < len(able) else 4)
    stage.send(2.0, begin + seconds, PER_SECOND, AT_ONCE)
    stage.world.run_until(begin + seconds + 4.0)
    honest = stage.honest()
    core = stage.super_nodes()
    return Result(
        stage.share(honest, begin, begin + seconds),
        stage.worst(honest, begin, begin + seconds),
        stage.forged,
        sum(conduct.forged for conduct in conducts.values()),
        len(core),
        sum(node.name in conducts for node in core),
        sum(
            node.name not in conducts
            for name in hostile
            for node in stage.children_of(stage.world.node(name))
        ),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", default=[*KINDS, "mixed"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--since", type=float, default=None)
    parser.add_argument("--seconds", type=float, default=30.0)
    chosen = parser.parse_args(arguments)
    for kind in chosen.kinds:
        for seed in chosen.seeds:
            result = play(kind, seed, chosen.hosts, since=chosen.since, seconds=chosen.seconds)
            told = " ".join(f"{name} {value:g}" for name, value in result._asdict().items())
            print(f"{kind} seed {seed}: {told}", flush=True)


if __name__ == "__main__":
    main()
