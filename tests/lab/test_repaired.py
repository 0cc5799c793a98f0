"""Repair of losses around the relatives that have none of their own."""

from __future__ import annotations

from random import Random

import pytest

from dmmp.lab.case import Case
from dmmp.lab.frame import Data, Deliver, Send
from dmmp.lab.relatives import FACTORIES
from dmmp.lab.relatives.hmtp import Answer, Attach, Hmtp, Path
from dmmp.lab.relatives.repair import Nack
from dmmp.lab.relatives.repaired import Repaired, as_named


def source_with_child() -> Repaired:
    role = Hmtp(0, 0, 4, Random("repaired"))
    role.wake(0.0)
    role.receive(Attach(), 5, 0.1)
    return Repaired(role)


def child() -> Repaired:
    role = Hmtp(5, 0, 4, Random("repaired"))
    repaired = Repaired(role)
    repaired.wake(0.0)
    repaired.receive(Answer(()), 0, 0.1)
    repaired.receive(Path((0,)), 0, 0.2)
    return repaired


def test_only_names_that_ask_for_it_have_repair() -> None:
    role = Hmtp(1, 0, 4, Random("names"))
    assert as_named(role, Case("hmtp", "square", 2, 1)) is role
    assert isinstance(as_named(role, Case("hmtp+nack", "square", 2, 1)), Repaired)


@pytest.mark.parametrize("name", ["hmtp+nack", "narada+nack", "scribe+nack"])
def test_factories_read_their_names(name: str) -> None:
    made = FACTORIES[name](1, 0, [0], 4, Random(name), Case(name, "square", 2, 1))
    assert isinstance(made, Repaired)


def test_a_gap_is_asked_for_and_filled() -> None:
    above, below = source_with_child(), child()
    for number in (1, 2, 3):
        above.originate(Data(number, 100), 1.0)
    below.receive(Data(1, 100, 1), 0, 1.1)
    below.receive(Data(3, 100, 1), 0, 1.3)
    due = below.next_alarm()
    assert due is not None
    asked = [a for a in below.wake(due) if isinstance(a, Send) and isinstance(a.message, Nack)]
    assert [a.to for a in asked] == [0]
    answers = [a.message for a in above.receive(asked[0].message, 5, 1.6) if isinstance(a, Send)]
    assert answers == [Data(2, 100, 0, again=True)]
    assert below.receive(answers[0], 0, 1.7) == [Deliver(2)]


def test_what_comes_again_is_not_sent_down_twice() -> None:
    below = child()
    below.receive(Attach(), 9, 0.5)
    assert below.children == [9]
    below.receive(Data(1, 100, 1), 0, 1.0)
    below.receive(Data(3, 100, 1), 0, 1.0)
    below.receive(Data(2, 100, 0, again=True), 0, 1.1)
    late = below.receive(Data(2, 100, 1), 0, 1.2)
    assert not [a for a in late if isinstance(a, Send) and isinstance(a.message, Data)]
