"""What a host remembers of others is bounded and mixed, and says whom to look at."""

from __future__ import annotations

from random import Random

from dmmp.messages.common import HostRecord
from dmmp.roles.acquaintances import MOST_KNOWN, MOST_OTHERS, MOST_PROMISING, Acquaintances
from dmmp.types import NOWHERE, HostId
from tests.roles.stage import at

FAR_US = 100_000
"""The way from the source as it is, in microseconds."""


def known(number: int, delay_us: int = 0) -> HostRecord:
    return HostRecord(host=HostId(number), endpoint=at(number), delay_us=delay_us)


def everybody(record: HostRecord) -> bool:
    return True


def test_the_last_word_of_each_counts_and_there_is_a_bound() -> None:
    acquainted = Acquaintances(Random(1))
    for number in range(1, 201):
        acquainted.note(known(number))
    assert len(acquainted) == MOST_KNOWN
    held = acquainted.draw(MOST_KNOWN, everybody, FAR_US)
    # New ones do not drive out all old ones, nor the other way round.
    assert min(record.host for record in held) < 137 and max(record.host for record in held) == 200
    acquainted.note(known(200, 77))
    assert len(acquainted) == MOST_KNOWN
    (last,) = acquainted.draw(9, lambda record: record.host == 200, FAR_US)
    assert last.delay_us == 77


def test_who_has_no_name_or_address_is_nobody() -> None:
    acquainted = Acquaintances(Random(1))
    acquainted.note(HostRecord(host=HostId(0), endpoint=at(1)))
    acquainted.measured(HostRecord(host=HostId(3), endpoint=NOWHERE), 0.02)
    assert len(acquainted) == 0 and acquainted.draw(3, everybody, FAR_US) == []


def test_who_was_forgotten_comes_back_when_it_is_named() -> None:
    acquainted = Acquaintances(Random(1))
    acquainted.note(known(3))
    acquainted.forget(HostId(3))
    acquainted.forget(HostId(4))
    assert acquainted.draw(9, everybody, FAR_US) == []
    acquainted.note(known(3))
    assert [record.host for record in acquainted.draw(9, everybody, FAR_US)] == [3]


def test_those_by_whom_the_way_seems_shorter_come_first_and_the_best_of_them_at_the_head() -> None:
    acquainted = Acquaintances(Random(1))
    for number in range(1, 11):
        acquainted.measured(known(number, 50_000 + 1_000 * number), 0.02)
    for number in range(11, 21):
        acquainted.note(known(number, 10))
    chosen = [record.host for record in acquainted.draw(8, everybody, FAR_US)]
    assert chosen[:MOST_PROMISING] == [1, 2, 3, 4]
    assert len(chosen) == 8 and all(host > 10 for host in chosen[MOST_PROMISING:])


def test_of_those_that_were_measured_in_vain_only_a_few_are_measured_again() -> None:
    acquainted = Acquaintances(Random(1))
    for number in range(1, 31):
        acquainted.measured(known(number, 90_000), 0.04)
    assert len(acquainted.draw(12, everybody, FAR_US)) == MOST_OTHERS
    # With a longer way of its own the same hosts are worth a look.
    assert len(acquainted.draw(12, everybody, 2 * FAR_US)) == MOST_PROMISING


def test_who_is_forgotten_is_a_stranger_again() -> None:
    acquainted = Acquaintances(Random(1))
    acquainted.measured(known(3, 90_000), 0.04)
    acquainted.forget(HostId(3))
    for number in range(4, 24):
        acquainted.measured(known(number, 90_000), 0.04)
    acquainted.note(known(3, 90_000))
    assert acquainted.draw(12, everybody, FAR_US)[0].host == 3
