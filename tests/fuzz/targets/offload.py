"""`tun.offload`: what is joined for the kernel comes apart into the same packets (virtio 1.2).

Two readings of an input: a burst as it is, with its stride; and packets of one flow made of small
choices, with changes to some, because nothing that is joined comes of noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from dmmp.forwarding.burst import group
from dmmp.messages.header import HEADER_BYTES
from dmmp.tun.offload import MINIMUM_JOINED, Run, gather, groups, pieces
from dmmp.tun.packets import FlowCache, checksum, classify, wrap_udp
from dmmp.types import Endpoint
from tests.fuzz.feed import Feed
from tests.fuzz.target import Target
from tests.tun.cutting import cut, is_sound

ENDS = {
    4: (ip_address("198.51.100.9"), ip_address("239.1.2.3")),
    6: (ip_address("2001:db8::9"), ip_address("ff1e::1234")),
}
MOST_BYTES = 8192
MOST_PACKETS = 70


def drawn(feed: Feed) -> list[bytes]:
    """Make packets, mostly alike, and change a few bytes of some."""
    packets: list[bytes] = []
    while feed and len(packets) < MOST_PACKETS:
        kind = feed.byte()
        source, group_ = ENDS[6 if kind & 1 else 4]
        size, count = feed.number(6), (1, 2, 4, 5, 7, 8, 40, 64)[kind >> 2 & 7]
        ends = Endpoint(source, 77), Endpoint(group_, 5004 + (kind >> 6 & 1))
        made = wrap_udp(*ends, bytes(size), 16)
        packets += [made] * count
        if kind & 2:
            at, value = feed.byte() % len(made), feed.byte()
            changed = made[:at] + bytes((value,)) + made[at + 1 :]
            packets[-1 - feed.byte() % count] = mended(changed) if feed.byte() & 1 else changed
    return packets[:MOST_PACKETS]


def mended(packet: bytes) -> bytes:
    """Put an IPv4 header's checksum right."""
    header = (packet[0] & 0x0F) * 4
    if packet[0] >> 4 != 4 or header > len(packet):
        return packet
    zeroed = packet[:10] + bytes(2) + packet[12:]
    return packet[:10] + checksum(zeroed[:header]).to_bytes(2, "big") + packet[12:]


def check(data: bytes, stride: int, sums: bool) -> None:
    """Sort a burst, join what may be, and let the kernel's part cut it again."""
    packets = [data[at + HEADER_BYTES : at + stride] for at in range(0, len(data), stride)]
    found = pieces(data, stride, HEADER_BYTES)
    whole = [bytes(one) for piece in found for one in taken(piece)]
    assert whole == packets
    flows: FlowCache = {}
    for piece in found:
        if isinstance(piece, Run):
            alike = {classify(one, flows) for one in piece.split()[:-1]}
            assert len(alike) <= 1, "classified by its first, and others are different"
    for joined in groups(piece for piece in found if isinstance(piece, Run)):
        parts = [bytes(one) for run in joined for one in run.split()]
        if len(parts) < MINIMUM_JOINED:
            continue
        seen = cut(b"".join(gather(joined)))
        assert [blank(one) for one in seen] == [blank(one) for one in parts]
        # Those at the ends tell for all: the kernel makes each like the others, and slowly here.
        assert not sums or all(map(is_sound, (*seen[:2], *seen[-2:])))


def taken(piece: Run | memoryview) -> Sequence[memoryview]:
    return piece.split() if isinstance(piece, Run) else [piece]


def blank(packet: bytes) -> bytes:
    """Leave out what the kernel writes: identification and checksums."""
    at = 20 if packet[0] >> 4 == 4 else 40
    head = packet[:4] + packet[6:10] + packet[12:at] if at == 20 else packet[:at]
    return head + packet[at : at + 6] + packet[at + 8 :]


def test_one(data: bytes) -> None:
    """Read a burst as it is (first bit 0) or made of choices (1)."""
    feed = Feed(data)
    if feed.byte() & 1:
        datagrams = [bytes(HEADER_BYTES) + packet for packet in drawn(feed)]
        for burst, stride in group(datagrams):
            check(burst, stride, sums=True)
    else:
        stride = feed.short()
        if stride >= HEADER_BYTES:
            check(feed.rest(), stride, sums=False)


def parse(data: bytes) -> object:
    """Sort a burst alone."""
    stride = int.from_bytes(data[1:3], "big")
    return pieces(data[3:], stride, HEADER_BYTES) if stride >= HEADER_BYTES else None


def seeds() -> Iterable[bytes]:
    for version in (4, 6):
        source, group_ = ENDS[version]
        ends = Endpoint(source, 77), Endpoint(group_, 5004)
        sizes = [20] * 6 + [11]
        laid = group([bytes(HEADER_BYTES) + wrap_udp(*ends, bytes(size), 16) for size in sizes])
        for data, stride in laid:
            yield b"\0" + stride.to_bytes(2, "big") + data
    yield bytes((1, 0x14, 20, 0, 9))
    yield bytes((1, 0x15, 20, 1, 9))
    yield bytes((1, 0x1C, 30, 0x14, 30))
    yield bytes((1, 0x54, 30, 0x14, 30, 0x16, 30, 6, 0x20, 3, 1))


TARGET = Target(
    "offload",
    "pieces loses nothing and raises nothing; what gather joins the kernel cuts into the same",
    test_one,
    seeds,
    parse,
    MOST_BYTES,
)
