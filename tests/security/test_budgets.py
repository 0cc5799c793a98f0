"""Budgets: what a peer may say, what is too much, and that nobody uses up another's."""

from __future__ import annotations

import pytest

from dmmp.messages import DataRequest, ProbeRequest, encode
from dmmp.security.budgets import MOST_PEERS, Budgets, Kind, kind_of
from dmmp.security.peer import EVERY_CAPABILITY, Capability, Peer
from dmmp.types import HostId, SessionId

PROBE = encode(ProbeRequest(session=SessionId(1), timestamp=5))
REQUEST = encode(
    DataRequest(session=SessionId(1), origin=HostId(1), channel=1, base=1, bitmap=b"\xff")
)


def peer(capabilities: Capability = Capability.MEMBER) -> Peer:
    return Peer(bytes(16), "m", capabilities, 3, 10**6, (), bytes(32), bytes(32), 1, 2e9)


def taken(budgets: Budgets, name: bytes, plaintext: bytes, tries: int, now: float) -> int:
    return sum(budgets.take(name, peer(), plaintext, now) for _ in range(tries))


def test_a_burst_and_then_the_rate() -> None:
    budgets, rate = Budgets(), Kind.CONTROL.value
    burst = int(rate.messages * rate.seconds)
    assert taken(budgets, b"a", PROBE, 10 * burst, 5.0) == burst
    assert taken(budgets, b"a", PROBE, 10 * burst, 5.0) == 0
    assert taken(budgets, b"a", PROBE, 10 * burst, 7.0) == 2 * rate.messages
    assert taken(budgets, b"a", PROBE, 10 * burst, 1e6) == burst


def test_bytes_are_counted_as_well() -> None:
    budgets, rate = Budgets(), Kind.CONTROL.value
    large = bytes(60_000)
    assert taken(budgets, b"a", large, 100, 0.0) == rate.octets * rate.seconds // len(large)
    # What is too large for what is left does not use it up.
    assert taken(budgets, b"a", PROBE, 10, 0.0) == 10


def test_nobody_uses_up_what_is_anothers() -> None:
    budgets = Budgets()
    taken(budgets, b"a", PROBE, 10_000, 0.0)
    assert taken(budgets, b"b", PROBE, 10, 0.0) == 10


def test_data_requests_are_counted_apart() -> None:
    budgets = Budgets()
    taken(budgets, b"a", PROBE, 10_000, 0.0)
    most = int(Kind.REQUESTS.value.messages * Kind.REQUESTS.value.seconds)
    assert taken(budgets, b"a", REQUEST, 2 * most, 0.0) == most


@pytest.mark.parametrize(
    ("capabilities", "plaintext", "kind"),
    [
        (Capability.MEMBER, PROBE, Kind.CONTROL),
        (Capability.MEMBER | Capability.SUPER_NODE, PROBE, Kind.CONTROL),
        (Capability.RENDEZVOUS_POINT, PROBE, Kind.CENTRAL),
        (Capability.SOURCE | Capability.MEMBER, PROBE, Kind.CENTRAL),
        (EVERY_CAPABILITY, REQUEST, Kind.REQUESTS),
        (Capability.MEMBER, b"", Kind.CONTROL),
        (Capability.MEMBER, REQUEST[:3], Kind.CONTROL),
    ],
)
def test_what_counts_as_what(capabilities: Capability, plaintext: bytes, kind: Kind) -> None:
    assert kind_of(peer(capabilities), plaintext) is kind


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    budgets, rate = Budgets(), Kind.CONTROL.value
    burst = int(rate.messages * rate.seconds)
    assert taken(budgets, b"a", PROBE, burst, 10.0) == burst
    assert taken(budgets, b"a", PROBE, 5, 3.0) == 0
    assert taken(budgets, b"a", PROBE, 5, 10.0) == 0
    assert taken(budgets, b"a", PROBE, 100, 11.0) == rate.messages


@pytest.mark.slow
def test_the_table_is_bounded_and_forgets_who_was_silent_longest() -> None:
    budgets = Budgets(most=10)
    for number in range(1000):
        budgets.take(number.to_bytes(16), peer(), PROBE, 0.0)
        # Who goes on saying something is not forgotten for newcomers.
        taken(budgets, b"loud", PROBE, 1000, 0.0)
        assert len(budgets) <= 10 * len(Kind)
    assert taken(budgets, b"loud", PROBE, 5, 0.0) == 0
    assert MOST_PEERS >= 20_000
