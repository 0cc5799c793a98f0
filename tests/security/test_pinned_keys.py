"""Keys that the session file names: neither forgotten nor replaced, whoever is away or says so."""

from __future__ import annotations

import os
from ipaddress import ip_address

from dmmp.messages import SubscriptionRequest
from dmmp.parameters import Parameters
from dmmp.security.authority import Authority, Request
from dmmp.security.gate import Gate
from dmmp.security.identity import CertifiedParty, Trust
from dmmp.security.noise import KeyPair
from dmmp.security.peer import Capability
from dmmp.security.setup import Security
from dmmp.types import Endpoint

RP = Endpoint(ip_address("192.0.2.1"), 47700)
KEY, OTHER = (KeyPair(bytes((number,)) * 32).public for number in (1, 2))
AT = 1_800_000_000.0


def gate() -> Gate:
    authority = Authority(bytes(32))
    request = Request("m", "film", Capability.MEMBER, 2, 0)
    held = authority.credential(request, AT, os.urandom)
    party = CertifiedParty(held, Trust((authority.public,), "film"))
    return Security(party, os.urandom, AT, {RP: KEY}).gate(0.0, Parameters())


def test_the_only_rp_is_called_again_after_a_call_in_vain() -> None:
    subject = gate()
    assert subject.send(SubscriptionRequest(group_name="film"), RP, 0.0)
    for step in range(1, 40):
        subject.wake(step / 4)
    assert subject.associations.counters["failed"] == 1
    assert subject.send(SubscriptionRequest(group_name="film"), RP, 10.0)


def test_nobody_replaces_the_key_of_an_rp() -> None:
    subject = gate()
    subject.associations.introduce(RP, OTHER, 0.0)
    assert subject.associations.key(RP) == KEY
