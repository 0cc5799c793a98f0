"""Sizes without encoding: what is looked up is what the codec would make."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from dmmp.interest import interest
from dmmp.messages import Message, RefreshRequest, SubscriptionRequest, encode
from dmmp.messages.common import HostRecord
from dmmp.messages.schema import Tlv
from dmmp.sim.sizes import size_of
from tests.examples import examples

GROUP = ip_address("239.1.2.3")


@pytest.mark.parametrize("name, message", examples(), ids=lambda held: str(held)[:40])
def test_every_example_has_the_size_that_the_codec_gives_it(name: str, message: Message) -> None:
    # Twice: the second time it is looked up.
    assert size_of(message) == size_of(replace(message)) == len(encode(message))


@pytest.mark.parametrize(
    "messages",
    [
        [
            RefreshRequest(kind=0, sender=HostRecord(), interest=records)
            for records in (
                (),
                (interest(GROUP),),
                (interest(GROUP, sources=[ip_address("192.0.2.1")]),),
                (interest(GROUP), interest(ip_address("239.1.2.4"))),
            )
        ],
        [
            SubscriptionRequest(group_name=name, domain=domain)
            for name, domain in (("ab", "c"), ("a", "bc"), ("é", ""), ("ee", ""), ("", "abc"))
        ],
        [
            RefreshRequest(kind=0, sender=HostRecord(), tlvs=tlvs)
            for tlvs in (
                (),
                (Tlv(0x8001, b"abc"),),
                (Tlv(0x8001, b"abcd"),),
                (Tlv(0x8001, b"ab"), Tlv(0x8001, b"ab")),
            )
        ],
    ],
    ids=["interest", "texts", "elements"],
)
def test_messages_of_one_class_are_not_taken_for_one_another(messages: list[Message]) -> None:
    assert [size_of(each) for each in messages] == [len(encode(each)) for each in messages]
