"""The relatives of DMMP, as roles of the laboratory's arena."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from random import Random
from typing import Final

from dmmp.lab.case import Case
from dmmp.lab.frame import Relative

Factory = Callable[[int, int, Sequence[int], int, Random, Case], Relative]
"""Makes a host of a protocol from (host, source, rendezvous hosts, degree, randomness, case)."""


def _from(module: str) -> Factory:
    """Import a relative when it is first made: who runs one need not load all."""

    def make(
        host: int,
        source: int,
        rendezvous: Sequence[int],
        degree: int,
        rng: Random,
        case: Case,
    ) -> Relative:
        maker: Factory = import_module(f"dmmp.lab.relatives.{module}").make
        return maker(host, source, rendezvous, degree, rng, case)

    return make


REPAIR: Final = "+nack"
"""Ends the names of protocols that got the repair of losses which their authors did not publish."""

FACTORIES: Final[dict[str, Factory]] = {
    "star": _from("star"),
    "nice": _from("nice"),
    "nice+nack": _from("nice"),
    "prm": _from("prm"),
    "nemo": _from("nemo"),
    "narada": _from("narada"),
    "narada+nack": _from("narada"),
    "hmtp": _from("hmtp"),
    "hmtp+nack": _from("hmtp"),
    "scribe": _from("scribe"),
    "scribe+nack": _from("scribe"),
}
"""The relatives by the name a case calls them; each module has `make`, which reads the rest of the
name and the options from its case."""
