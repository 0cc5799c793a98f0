"""Finding rendezvous points: what the user may write, and what the DNS says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from dmmp.errors import UsageError
from dmmp.runtime.locate import (
    ADDRESSES_LIMIT,
    NotFound,
    Place,
    locate,
    look_up,
    parse_endpoint,
    parse_place,
    resolve,
)
from dmmp.types import Endpoint


def at(text: str, port: int) -> Endpoint:
    return Endpoint(ip_address(text), port)


async def no_address(host: str, port: int) -> Sequence[Endpoint]:
    return []


async def no_service(name: str) -> Sequence[tuple[str, int]]:
    return []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("rp.example.org", Place("rp.example.org", None)),
        ("rp.example.org:5", Place("rp.example.org", 5)),
        ("192.0.2.1", Place("192.0.2.1", None)),
        ("192.0.2.1:47700", Place("192.0.2.1", 47700)),
        ("2001:db8::1", Place("2001:db8::1", None)),
        ("[2001:db8::1]", Place("2001:db8::1", None)),
        ("[2001:db8::1]:5", Place("2001:db8::1", 5)),
        ("rp", Place("rp", None)),
        ("rp.", Place("rp.", None)),
    ],
)
def test_places_are_read_as_people_write_them(text: str, place: Place) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize(
    "text",
    ["", "a b", "-x", "a..b", "300.1.1.1", "host:0", "host:70000", "host:x", "[::1", "x" * 254],
)
def test_what_can_be_no_place_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_place(text)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("0.0.0.0:47700", at("0.0.0.0", 47700)),
        ("[::]:1", at("::", 1)),
        (":5000", at("::", 5000)),
        ("10.0.0.1", at("10.0.0.1", 47700)),
        ("10.0.0.1:0", at("10.0.0.1", 0)),
    ],
)
def test_endpoints_to_listen_on(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize("text", ["host:1", "10.0.0.1:99999", "239.1.2.3:5", "10.0.0.1:x"])
def test_what_cannot_be_listened_on_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_endpoint(text)


def test_an_address_asks_no_dns() -> None:
    async def no_lookup(host: str, port: int) -> Sequence[Endpoint]:
        raise AssertionError("asked")

    async def no_services(name: str) -> Sequence[tuple[str, int]]:
        raise AssertionError("asked")

    place = Place("192.0.2.1", None)
    found = asyncio.run(resolve(place, "demo", no_lookup, no_services))
    assert found == [at("192.0.2.1", 47700)]


def test_a_name_without_port_is_asked_for_its_service_first() -> None:
    asked: list[str] = []

    async def services(name: str) -> Sequence[tuple[str, int]]:
        asked.append(name)
        return [("a.example", 5), ("b.example", 6)]

    async def lookup(host: str, port: int) -> Sequence[Endpoint]:
        return [at({"a.example": "192.0.2.1", "b.example": "192.0.2.2"}[host], port)]

    found = asyncio.run(resolve(Place("example.org", None), "demo", lookup, services))
    assert asked == ["_dmmp._udp.demo.example.org"]
    assert found == [at("192.0.2.1", 5), at("192.0.2.2", 6)]


def test_a_name_with_a_port_or_without_a_service_is_an_address() -> None:
    async def lookup(host: str, port: int) -> Sequence[Endpoint]:
        return [at("192.0.2.9", port)]

    async def fail(name: str) -> Sequence[tuple[str, int]]:
        raise AssertionError("asked")

    with_port = asyncio.run(resolve(Place("example.org", 7), "demo", lookup, fail))
    assert with_port == [at("192.0.2.9", 7)]
    without = asyncio.run(resolve(Place("example.org", None), "demo", lookup, no_service))
    assert without == [at("192.0.2.9", 47700)]
    odd_name = asyncio.run(resolve(Place("example.org", None), "a b", lookup, fail))
    assert odd_name == [at("192.0.2.9", 47700)]


def test_a_name_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound, match=r"example\.org"):
        asyncio.run(resolve(Place("example.org", None), "demo", no_address, no_service))


def test_it_tries_again_and_says_so_until_a_name_is_there() -> None:
    said: list[str] = []
    paused: list[float] = []

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    async def lookup(host: str, port: int) -> Sequence[Endpoint]:
        return [at("192.0.2.1", port)] if len(paused) == 2 else []

    found = asyncio.run(
        locate([Place("example.org", 5)], "demo", said.append, lookup, no_service, pause)
    )
    assert found == (at("192.0.2.1", 5),)
    assert len(said) == 2 and "example.org" in said[0] and "trying again" in said[0]


def test_one_name_of_several_is_enough() -> None:
    async def lookup(host: str, port: int) -> Sequence[Endpoint]:
        return [at("192.0.2.1", port)] if host == "there" else []

    places = [Place("gone", 5), Place("there", 5), Place("192.0.2.7", 6)]
    found = asyncio.run(locate(places, "demo", lambda text: None, lookup, no_service))
    assert found == (at("192.0.2.1", 5), at("192.0.2.7", 6))


def test_the_list_is_bounded() -> None:
    async def lookup(host: str, port: int) -> Sequence[Endpoint]:
        return [at(f"192.0.2.{number}", port) for number in range(1, 50)]

    found = asyncio.run(locate([Place("many", 5)], "demo", lambda text: None, lookup, no_service))
    assert len(found) == ADDRESSES_LIMIT


def test_the_systems_resolver_knows_localhost_and_not_what_cannot_exist() -> None:
    assert at("127.0.0.1", 9) in asyncio.run(look_up("localhost", 9))
    assert asyncio.run(look_up("nowhere.invalid", 9)) == []
