"""What a key log tells, so that a host that should know nothing can be looked through for it."""

from __future__ import annotations

from dataclasses import replace

from dmmp.security.data_keys import DataKeys
from dmmp.sim.cast import SESSION
from dmmp.sim.secured import Secured

KEY = 0x11 << 32 | 0x22


def test_each_epochs_secret_is_told_once() -> None:
    lines: list[str] = []
    keys = DataKeys()
    keys.key_log = lines.append
    for epoch, secret in ((1, b"a" * 32), (1, b"a" * 32), (2, b"b" * 32), (2, b"c" * 32)):
        keys.install(KEY, epoch, secret, 0.0)
    keys.install(KEY, 3, b"d" * 32, 0.0, certain=False)
    assert lines == [
        f"DMMP_EPOCH 00000011 00000022 {epoch:02x} {secret.hex()}"
        for epoch, secret in ((1, b"a" * 32), (2, b"b" * 32), (2, b"c" * 32), (3, b"d" * 32))
    ]


def test_a_hosts_guard_tells_the_hosts_log() -> None:
    lines: list[str] = []
    security = replace(Secured(1, SESSION).of("m1", "member", 0), key_log=lines.append)
    security.guard(delivers=True).keys.install(KEY, 1, b"a" * 32, 0.0)
    assert len(lines) == 1
