"""What a host remembers of others is bounded and mixed."""

from __future__ import annotations

from random import Random

from dmmp.messages.common import HostRecord
from dmmp.roles.acquaintances import MOST_KNOWN, Acquaintances
from dmmp.types import NOWHERE, HostId
from tests.roles.stage import at


def known(number: int, delay_us: int = 0) -> HostRecord:
    return HostRecord(host=HostId(number), endpoint=at(number), delay_us=delay_us)


def test_the_last_word_of_each_counts_and_there_is_a_bound() -> None:
    acquainted = Acquaintances(Random(1))
    for number in range(1, 201):
        acquainted.note(known(number))
    assert len(acquainted) == MOST_KNOWN
    held = acquainted.draw(MOST_KNOWN, lambda record: True)
    # New ones do not drive out all old ones, nor the other way round.
    assert min(record.host for record in held) < 137 and max(record.host for record in held) == 200
    acquainted.note(known(200, 77))
    assert len(acquainted) == MOST_KNOWN
    (last,) = acquainted.draw(9, lambda record: record.host == 200)
    assert last.delay_us == 77


def test_who_has_no_name_or_address_is_nobody() -> None:
    acquainted = Acquaintances(Random(1))
    acquainted.note(HostRecord(host=HostId(0), endpoint=at(1)))
    acquainted.note(HostRecord(host=HostId(3), endpoint=NOWHERE))
    assert len(acquainted) == 0 and acquainted.draw(3, lambda record: True) == []


def test_who_was_forgotten_comes_back_when_it_is_named() -> None:
    acquainted = Acquaintances(Random(1))
    acquainted.note(known(3))
    acquainted.forget(HostId(3))
    acquainted.forget(HostId(4))
    assert acquainted.draw(9, lambda record: True) == []
    acquainted.note(known(3))
    assert [record.host for record in acquainted.draw(9, lambda record: True)] == [3]
