"""Attackers: small programs of their own that the tests in `tests.attacks` set loose.

Each runs by itself, as `python -m tests.attackers.NAME --help`; they know the protocol from outside
and the keys that an attacker may have. `python -m tests.attackers all` measures all of them.
Only for networks that are yours: they forge source addresses.
"""
