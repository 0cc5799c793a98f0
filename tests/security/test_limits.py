"""Buckets, load, and tables that forget: fixed in size, fair to who is not in a hurry."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from dmmp.security.limits import Buckets, Limits, Load, Recent
from tests.security.association_stage import at

SALT = b"salt"


def buckets() -> Buckets:
    return Buckets(Limits(), SALT)


def test_five_at_once_then_twenty_a_second() -> None:
    made = buckets()
    address = at(1).address
    assert [made.take(address, 0.0) for _ in range(7)] == [True] * 5 + [False] * 2
    taken = sum(made.take(address, 0.001 * number) for number in range(1, 10_001))
    assert 199 <= taken <= 201


def test_who_keeps_asking_gets_its_share_all_the_same() -> None:
    made = buckets()
    taken = sum(made.take(at(1).address, 0.0001 * number) for number in range(10_000))
    assert 24 <= taken <= 26


def test_ipv6_hosts_of_one_64_share_and_ipv4_hosts_do_not() -> None:
    made = buckets()
    same = [ip_address(f"2001:db8:1:2::{number}") for number in range(1, 8)]
    assert [made.take(address, 0.0) for address in same] == [True] * 5 + [False] * 2
    assert made.take(ip_address("2001:db8:1:3::1"), 0.0)
    assert all(made.take(at(number).address, 0.0) for number in range(1, 8))


def test_a_flood_from_everywhere_leaves_most_addresses_their_tokens() -> None:
    """4,096 buckets; 2,000 strangers exhaust theirs, and a few others share one with them."""
    made = buckets()
    for number in range(2000):
        for _ in range(5):
            made.take(at(number).address, 0.0)
    served = sum(made.take(at(number).address, 0.0) for number in range(10_000, 11_000))
    assert 550 < served < 700


def test_another_salt_mixes_them_anew() -> None:
    victims = []
    for salt in (b"one", b"two"):
        made = Buckets(Limits(buckets=64), salt)
        for _ in range(5):
            made.take(at(1).address, 0.0)
        victims.append({n for n in range(2, 500) if not made.take(at(n).address, 0.0)} - {1})
    assert victims[0] != victims[1]


def test_load_begins_after_200_in_a_second_and_ends_after_the_next() -> None:
    load = Load(200)
    for _ in range(200):
        load.note(10.0)
    assert not load.is_high(10.5)
    load.note(10.6)
    assert load.is_high(10.6)
    assert load.is_high(11.9)
    assert not load.is_high(12.1)


def test_two_hundred_a_second_is_no_load() -> None:
    load = Load(200)
    for number in range(2000):
        load.note(number / 200)
        assert not load.is_high(number / 200)


def test_load_that_lasts_is_seen_all_the_time() -> None:
    load = Load(200)
    high = []
    for number in range(5000):
        load.note(number / 500)
        high.append(load.is_high(number / 500))
    assert all(high[500:])


@given(
    most=st.integers(1, 5),
    uses=st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60),
)
def test_what_was_used_least_recently_is_forgotten(most: int, uses: list[tuple[bool, int]]) -> None:
    table: Recent[int, int] = Recent(most)
    model: dict[int, int] = {}
    for number, (is_put, key) in enumerate(uses):
        if is_put:
            table.put(key, number)
            model.pop(key, None)
            model[key] = number
            if len(model) > most:
                del model[next(iter(model))]
        else:
            assert table.get(key) == model.get(key)
            if key in model:
                model[key] = model.pop(key)
        assert len(table) == len(model)
    table.pop(3)
    assert table.get(3) is None
