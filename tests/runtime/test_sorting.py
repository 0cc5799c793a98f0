"""What a burst holds, told apart by options; what goes out sealed, and in which order."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dmmp.forwarding.burst import Burst, Transmit, split
from dmmp.messages import ProbeRequest
from dmmp.messages.header import FLAG_MANIFEST, HEADER, VERSION
from dmmp.messages.options import Option
from dmmp.runtime.sorting import is_data, is_hop_sealed, pieces, sealed_where_due
from tests.attackers.wire import endpoint
from tests.bench.secured_parts import MEMBER, association, gate
from tests.security.test_key_log import FIRST, SECOND, gates

OPTIONS = (Option.DATA, Option.HEARTBEAT, Option.HOP_SEALED, Option.SEALED, 0x0100, 0xFFFF)
SENDER = endpoint("10.0.0.1", 1)


def datagram(option: int, payload: int = 8, flags: int = 0) -> bytes:
    return HEADER.pack(VERSION, 0, option, 1, 2, 3, flags, payload) + bytes(payload)


@given(st.lists(st.sampled_from(OPTIONS), min_size=1, max_size=20), st.integers(1, 32))
def test_pieces_are_the_burst_again_data_in_stretches(options: list[int], last: int) -> None:
    stride = 32
    data = b"".join(datagram(option) for option in options)
    data = data[: len(data) - stride + last]
    burst = Burst(data, stride, SENDER)
    found = pieces(burst)
    assert b"".join(bytes(piece.data) for piece in found) == data
    assert all(piece[1:] == (stride, SENDER, False) for piece in found)
    for piece in found:
        assert is_data(piece) or len(piece.data) <= stride
        assert not (is_data(piece) and is_hop_sealed(piece))
    # No two stretches of data stand side by side.
    assert all(not (is_data(one) and is_data(other)) for one, other in pairwise(found))


def test_what_is_signed_goes_sealed_in_one_send_and_ahead_of_what_it_lists() -> None:
    one, other = gates([])
    one.associations.introduce(SECOND, other.associations.static_key, 0.0)
    wire = [(other, FIRST, each.data) for each in one.send(ProbeRequest(timestamp=1), SECOND, 0.0)]
    while wire:
        receiver, sender, data = wire.pop(0)
        back = (one, SECOND) if receiver is other else (other, FIRST)
        wire += [(*back, each.data) for each in receiver.receive(data, sender, 0.0).datagrams]
    manifests = [datagram(Option.DATA, 40, FLAG_MANIFEST) for _ in range(2)]
    beat, plain = datagram(Option.HEARTBEAT, 32), datagram(Option.DATA, 100)
    made = sealed_where_due(
        one,
        [
            Transmit(b"".join(manifests), len(manifests[0]), SECOND),
            Transmit(plain * 3, len(plain), FIRST),
            Transmit(beat, len(beat), SECOND),
            Transmit(plain, len(plain), SECOND),
        ],
        0.0,
    )
    assert [(each.to, each.data) for each in made if each.data[3] == 0] == [
        (FIRST, plain * 3),
        (SECOND, plain),
    ]
    # Two of a size and a shorter one, in one send.
    assert [(each.to, len(split(*each[:2]))) for each in made] == [
        (FIRST, 1 * 3),
        (SECOND, 3),
        (SECOND, 1),
    ]
    frames = [
        frame
        for segment in split(*made[1][:2])
        for frame in other.receive(bytes(segment), FIRST, 0.0).frames
    ]
    assert frames == [*manifests, beat]


def test_each_child_gets_every_manifest_sealed_for_it_and_before_its_packets() -> None:
    parent, *children = (endpoint(f"10.0.0.{number}", 1) for number in range(1, 5))
    held = gate(MEMBER, parent, children, 0.0)
    assert held is not None
    manifests = [datagram(Option.DATA, size, FLAG_MANIFEST) for size in (40, 40, 32)]
    plain = datagram(Option.DATA, 100) * 3
    wanted = [Transmit(each, len(each), child) for each in manifests for child in children]
    wanted += [Transmit(plain, len(plain) // 3, child) for child in children]
    made = sealed_where_due(held, wanted, 0.0)
    for number, child in enumerate(children, 1):
        ahead, behind = (each for each in made if each.to == child)
        end = association(number, child, 0.0, near=False)
        opened = [end.open(bytes(each), 0.0) for each in split(ahead.data, ahead.stride)]
        assert opened == manifests
        assert behind.data == plain
    # Nothing but data: it goes as it is.
    assert sealed_where_due(held, wanted[-3:], 0.0) == wanted[-3:]


def test_what_waits_for_a_key_goes_to_nobody_and_holds_nothing_back() -> None:
    known, unknown = endpoint("10.0.0.1", 1), endpoint("10.0.0.2", 1)
    held = gate(MEMBER, known, (), 0.0)
    assert held is not None
    held.associations.introduce(unknown, bytes(31) + b"\x09", 0.0)
    manifest, plain = datagram(Option.DATA, 40, FLAG_MANIFEST), datagram(Option.DATA, 100)
    made = sealed_where_due(
        held,
        [Transmit(manifest, len(manifest), to) for to in (unknown, known)]
        + [Transmit(plain, len(plain), to) for to in (unknown, known)],
        0.0,
    )
    # A call in place of the manifest.
    assert [each.to for each in made] == [unknown, unknown, known, known]
    assert [Option(int.from_bytes(each.data[2:4])) for each in made] == [
        Option.HANDSHAKE_INITIATION,
        Option.DATA,
        Option.HOP_SEALED,
        Option.DATA,
    ]
