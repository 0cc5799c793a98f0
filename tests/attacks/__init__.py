"""Attacks: the attackers of `tests.attackers` against whole hosts, in process and on the wire.

`DMMP_ATTACK_COUNT` sets how many datagrams the slow ones use; `python -m tests.attackers all` runs
them with the full figures.
"""
