"""What a source tells all super nodes at once (Decision 9)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dmmp.messages import SetupRequest, StatusReport
from tests.roles.mesh_stage import named, news, sleep
from tests.roles.stage import PARAMETERS, RP, at, sends
from tests.roles.test_source import accept, with_super_nodes


@pytest.mark.parametrize("members", [3, 8])
def test_news_for_many_are_sent_again_when_all_could_have_answered(members: int) -> None:
    numbers = range(3, 3 + members)
    subject = with_super_nodes(*numbers, hosts=500)
    subject.standing.parameters = replace(PARAMETERS, news_each=0.05)
    subject.role.parameters = subject.standing.parameters
    now = members + 1.0
    news(subject, named(200), now)
    (setup,) = sends(sleep(subject, now + PARAMETERS.choose_after), SetupRequest)
    told = sends(accept(subject, setup, 200, now + PARAMETERS.choose_after), StatusReport)
    assert {send.to for send in told if send.to != RP} >= {at(number) for number in numbers}
    each = subject.standing.parameters.news_each
    waits = {
        held.to == RP: held.wait
        for held in subject.standing.requests._open.values()
        if isinstance(held.message, StatusReport)
    }
    assert waits == {True: 0.25, False: max(0.25, each * (members + 1))}
