"""Attacks: the attackers of `tests.attackers` against whole hosts, in process and on the wire.

`DMMP_ATTACK_COUNT` sets how many datagrams the slow ones use; `python -m tests.attackers all` runs
them with the full figures.
"""

from __future__ import annotations

import os

COUNT_VARIABLE = "DMMP_ATTACK_COUNT"


def attack_count(usual: int) -> int:
    """Say how many datagrams a slow test uses: as many as the environment says, or as usual."""
    return int(os.environ.get(COUNT_VARIABLE, usual))
