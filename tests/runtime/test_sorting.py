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
