"""The data plane of a fixed tree for many packets at once.

Control runs as events; between two changes of the tree, what packets do needs none. A packet
reaches a host if it reached the parent and was not lost on the hop between, level by level.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dmmp.lab.metrics import depths
from dmmp.lab.routes import Floats
from dmmp.lab.underlays import Underlay

Booleans = NDArray[np.bool_]


class TreePlane:
    """A tree between two of its changes.

    `parents` [hosts] as in `metrics`. `loss` is the chance that a hop loses a packet, one number
    or one for the hop into each host. `delays` [hosts] are the times from the source to each host
    in seconds, NaN without a way to it.

    With `copy_seconds` [hosts], what an uplink takes for one copy, the second child of a host
    waits for the copy to the first, and so on in the order of their numbers.
    """

    def __init__(
        self,
        underlay: Underlay,
        parents: Sequence[int],
        loss: float | Floats = 0.0,
        copy_seconds: Floats | None = None,
    ) -> None:
        self.parents = np.asarray(parents, dtype=np.int64)
        self.depths = depths(parents)
        self._loss = np.broadcast_to(np.asarray(loss, dtype=np.float32), self.parents.shape)
        self._levels = [
            np.flatnonzero(self.depths == level) for level in range(1, int(self.depths.max()) + 1)
        ]
        self.delays = np.full(len(self.parents), np.nan)
        self.delays[0] = 0.0
        for level in self._levels:
            above = self.parents[level]
            hop = underlay.delay(above, level)
            if copy_seconds is not None:
                hop = hop + copy_seconds[above] * _turns(above)
            self.delays[level] = self.delays[above] + hop

    def spread(self, passes: Booleans) -> Booleans:
        """Say who gets each packet if the hop into each host lets it pass: both [hosts, packets].

        The source has every packet, a host without a way to it has none.
        """
        got = np.zeros_like(passes)
        got[0] = True
        for level in self._levels:
            got[level] = got[self.parents[level]] & passes[level]
        return got

    def send(self, rng: np.random.Generator, packets: int, up: Booleans | None = None) -> Booleans:
        """Send packets with losses drawn by `rng`; say who got each: [hosts, packets].

        `up` [hosts] says which hosts run: the others neither get nor forward anything.
        """
        shape = (len(self.parents), packets)
        if self._loss.any():
            passes = rng.random(shape, dtype=np.float32) >= self._loss[:, None]
        else:
            passes = np.ones(shape, dtype=np.bool_)
        if up is not None:
            passes[~up] = False
        return self.spread(passes)

    def delivery(self, rng: np.random.Generator, packets: int, up: Booleans | None = None) -> float:
        """Return the share of packets that hosts got, of those that run, the source left out."""
        counted = np.ones(len(self.parents), dtype=np.bool_) if up is None else up.copy()
        counted[0] = False
        return float(self.send(rng, packets, up)[counted].mean()) if counted.any() else 1.0

    def expected_delivery(self) -> float:
        """Return what `delivery` is in the mean: of (1 - loss) along the way, over all hosts."""
        reached = np.zeros(len(self.parents))
        reached[0] = 1.0
        for level in self._levels:
            reached[level] = reached[self.parents[level]] * (1.0 - self._loss[level])
        return float(reached[1:].mean()) if len(reached) > 1 else 1.0


def _turns(parents: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, for hosts in the order of their numbers, how many siblings come before each."""
    order = np.argsort(parents, kind="stable")
    ordered = parents[order]
    first = np.searchsorted(ordered, ordered, side="left")
    turns = np.empty_like(order)
    turns[order] = np.arange(len(order)) - first
    return turns
