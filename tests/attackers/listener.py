"""Who listens without a right to: all keys of hosts that left, or came late, against all packets.

The strongest there is with these keys: every key is tried on every seal of every Rekey, as it is
and turned forward, and all that was found on every packet. Rows 20 and 21 of the threat table.
"""

from __future__ import annotations

from collections.abc import Iterable

from dmmp.errors import DecodeError
from dmmp.forwarding.burst import Burst, Outcome, split
from dmmp.forwarding.forwarder import Forwarder
from dmmp.messages import Rekey, decode
from dmmp.messages.header import (
    CHANNEL_MASK,
    EPOCH_SHIFT,
    FLAG_MANIFEST,
    FLAG_SEALED,
    FLAG_SIGNED,
    HEADER,
    HEADER_BYTES,
    Header,
)
from dmmp.roles.keyed import KeyedHost
from dmmp.security.data_keys import DataKeys, opened
from dmmp.security.key_wrap import epoch_secret, ratcheted, unwrap
from dmmp.security.signing import SIGNATURE_BYTES
from dmmp.sim.node import Node
from tests.attackers.hostile import DATA, OPTION, Around

STEPS = 4
"""How often each key is turned forward in search of the one that fits."""


class Tap(Around):
    """Around an honest forwarder: it keeps a copy of every data packet that comes in."""

    packets: list[bytes]

    def forward(self, burst: Burst, now: float) -> Outcome:
        """Take data from the network, and keep a copy."""
        if burst.data[OPTION] == DATA:
            self.packets += [bytes(each) for each in split(burst.data, burst.stride)]
        return super().forward(burst, now)


def tap(node: Node) -> Tap:
    """Listen at a host from now on."""
    assert node.forwarder is not None
    made = Tap(node.forwarder)
    made.packets = []
    node.forwarder = made
    return made


def epoch_of(packet: bytes) -> int:
    """Return the eight bits of the epoch that a packet was sealed in."""
    return int(HEADER.unpack_from(packet)[6]) >> EPOCH_SHIFT & 0xFF


def is_sealed(packet: bytes) -> bool:
    """Tell whether a packet is sealed data, and no manifest nor key."""
    reserved = HEADER.unpack_from(packet)[6]
    return bool(reserved & FLAG_SEALED) and bool(reserved & CHANNEL_MASK)


class Listener:
    """`keys` are those of the tree, roots included; `secrets` those of epochs. All of 32 bytes."""

    def __init__(self, keys: Iterable[bytes] = (), secrets: Iterable[bytes] = ()) -> None:
        self.keys = list(dict.fromkeys(keys))
        self.secrets = list(dict.fromkeys(secrets))

    def pool(self, node: Node) -> None:
        """Take in every key that a host holds at this moment."""
        host, forwarder = node.host, node.forwarder
        while isinstance(forwarder, Around):
            forwarder = forwarder.inner
        host = getattr(host, "inner", host)
        assert isinstance(host, KeyedHost) and isinstance(forwarder, Forwarder)
        assert host.member is not None and forwarder._guard is not None
        path = host.member._path
        if path is not None:
            found = [held.key for held in path._keys.values()]
            found += [*path._roots.values(), *path._ahead]
            self.keys = list(dict.fromkeys([*self.keys, *found]))
        held = forwarder._guard.keys._secrets.values()
        found = [secret for epochs in held for secret in epochs.values()]
        self.secrets = list(dict.fromkeys([*self.secrets, *found]))

    def learn(self, packets: Iterable[bytes]) -> int:
        """Try every key on every seal of the Rekeys among packets; count what could be opened."""
        found = 0
        for packet in packets:
            header = Header._make(HEADER.unpack_from(packet))
            if header.reserved & (CHANNEL_MASK | FLAG_MANIFEST):
                continue
            tail = SIGNATURE_BYTES if header.reserved & FLAG_SIGNED else 0
            message = decode(packet[HEADER_BYTES : len(packet) - tail])
            assert isinstance(message, Rekey)
            found += self._unwrap(message)
        return found

    def _unwrap(self, rekey: Rekey) -> int:
        found = 0
        for renewal in rekey.renewals:
            for wrap in renewal.wraps:
                for key in list(self.keys):
                    for steps in range(STEPS):
                        turned = ratcheted(key, steps)
                        try:
                            fresh = unwrap(turned, renewal.node, rekey.epoch, wrap.sealed)
                        except DecodeError:
                            continue
                        found += 1
                        if fresh not in self.keys:
                            self.keys.append(fresh)
        return found

    def opened(self, packets: Iterable[bytes], epochs: range) -> dict[int, int]:
        """Count the packets that open, by the eight bits of their epoch.

        `epochs` are the full numbers that are thought possible.
        """
        secrets = [*self.secrets]
        for key in self.keys:
            for steps in range(STEPS):
                turned = ratcheted(key, steps)
                secrets += [epoch_secret(turned, epoch) for epoch in epochs]
        counts: dict[int, int] = {}
        fits: dict[int, bytes] = {}
        for packet in packets:
            if not is_sealed(packet):
                continue
            epoch = epoch_of(packet)
            # What opened the last packet of an epoch opens the next.
            likely = fits.get(epoch)
            for secret in [*([] if likely is None else [likely]), *secrets]:
                if _opens(packet, secret):
                    counts[epoch] = counts.get(epoch, 0) + 1
                    fits[epoch] = secret
                    break
        return counts


def _opens(packet: bytes, secret: bytes) -> bool:
    header = Header._make(HEADER.unpack_from(packet))
    key, epoch = header.session << 32 | header.source, epoch_of(packet)
    keys = DataKeys()
    keys.install(key, epoch, secret, 0.0)
    tail = SIGNATURE_BYTES if header.reserved & FLAG_SIGNED else 0
    return opened(keys, key, header.reserved, packet, len(packet), tail) is not None
