"""Probing the paths to the children (RFC 8899): who probes whom, and what comes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dmmp.actions import Action, Branch, ForwardingEntry, PathMtu, Report, Send
from dmmp.events import PathNarrow, PathWide, PeerViolation
from dmmp.messages import DataRequest, ProbeRequest, ProbeResponse, Tlv, TlvType, decode, encode
from dmmp.messages.common import HostRecord
from dmmp.messages.local import Carries, LocalMessage, TooLarge
from dmmp.roles.end_host import EndHost
from dmmp.roles.states import Gone
from dmmp.roles.view import PathView
from dmmp.types import SELF, Endpoint, Instant
from tests.roles.stage import ME, PARAMETERS, SESSION, at, host, super_node

LARGEST = 1404
CHILD, OTHER, PARENT = at(7), at(8), at(3)


def parent(*children: Endpoint, largest: int = LARGEST) -> EndHost:
    """Make a host with these children, told to probe unless `largest` is 0."""
    subject = host()
    subject.standing.session, subject.standing.host = SESSION, ME
    install(subject, *children)
    if largest:
        assert subject.receive(Carries(largest), SELF, 0.0) == []
    return subject


def install(subject: EndHost, *children: Endpoint) -> None:
    """Put an entry with these children in force, below `PARENT`."""
    branches = tuple(Branch(child) for child in children)
    subject.role._installed = ForwardingEntry(SESSION, upstream=(PARENT,), downstream=branches)


def probes(actions: list[Action]) -> dict[Endpoint, Send]:
    """Pick the probes of paths, by child."""
    return {a.to: a for a in actions if isinstance(a, Send) and a.whole}


def answer(send: Send, **fields: object) -> ProbeResponse:
    """Make the answer of a host to a probe."""
    made = ProbeResponse(
        session=SESSION,
        source=super_node(7).host,
        sequence=send.message.sequence,
        timestamp=0,
        sender=HostRecord(),
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def search(subject: EndHost, child: Endpoint, fits: int, now: Instant = 0.0) -> list[Action]:
    """Let a path of so many bytes be searched for a while; return all that was done."""
    done: list[Action] = []
    until = now + 10.0
    while (alarm := subject.next_alarm()) is not None and alarm[0] <= until:
        now = max(now, alarm[0])
        actions = subject.wake(now)
        done += actions
        for to, send in probes(actions).items():
            if to == child and len(encode(send.message)) <= fits:
                now += 0.01
                done += subject.receive(answer(send), to, now)
    return done


def events(actions: list[Action], *kinds: type) -> list[object]:
    """Pick the events of these kinds."""
    return [a.event for a in actions if isinstance(a, Report) and isinstance(a.event, kinds)]


def test_nothing_is_probed_unless_the_runtime_says_for_what() -> None:
    subject = parent(CHILD, largest=0)
    assert subject.next_alarm() is None and subject.wake(1000.0) == []
    assert subject.view(0.0).paths == ()
    assert "paths" not in dict(subject.view(0.0).tables)


def test_a_probe_has_exactly_the_size_and_answers_are_shorter() -> None:
    subject = parent(CHILD)
    sizes = []
    for now in (0.0, 0.01):
        (send,) = probes(subject.wake(now)).values()
        datagram = encode(send.message)
        assert decode(datagram) == send.message and isinstance(send.message, ProbeRequest)
        sizes.append(len(datagram))
        assert len(encode(answer(send))) < len(datagram)
        subject.receive(answer(send), CHILD, now + 0.01)
    assert sizes == [1172, LARGEST]


def test_the_largest_datagram_there_is_can_be_probed_for() -> None:
    subject = parent(CHILD, largest=65507 + 24)
    done = search(subject, CHILD, 65507)
    assert [a.datagram_bytes for a in done if isinstance(a, PathMtu)] == [1172, 65504]


def test_what_is_found_goes_to_the_runtime_and_is_shown() -> None:
    subject = parent(CHILD)
    done = search(subject, CHILD, 65507)
    assert [a for a in done if isinstance(a, PathMtu)] == [
        PathMtu(CHILD, 1172),
        PathMtu(CHILD, LARGEST),
    ]
    assert events(done, PathNarrow, PathWide) == []
    assert subject.view(0.0).paths == (PathView(CHILD, LARGEST + 28, LARGEST + 28, 2),)
    assert dict(subject.view(0.0).tables)["paths"] == 1


def test_a_narrow_path_is_told_of_once_and_when_it_is_over() -> None:
    subject = parent(CHILD)
    done = search(subject, CHILD, 1380)
    assert events(done, PathNarrow) == [PathNarrow(CHILD, 1400, LARGEST + 28)]
    # Larger datagrams are no news about the path.
    done = subject.receive(Carries(2 * LARGEST), SELF, 20.0) + search(subject, CHILD, 1380, 20.0)
    assert events(done, PathNarrow, PathWide) == []
    later = PARAMETERS.path_mtu_raise + 100.0
    done = search(subject, CHILD, 65507, later)
    assert events(done, PathNarrow, PathWide) == [PathWide(CHILD, 2 * LARGEST + 28)]


def test_only_children_are_probed_and_only_as_long_as_they_are() -> None:
    subject = parent(CHILD, OTHER)
    assert set(probes(subject.wake(0.0))) == {CHILD, OTHER}
    search(subject, CHILD, 65507)
    install(subject, OTHER)
    actions = subject.wake(20.0)
    assert PathMtu(CHILD, 0) in actions and PathMtu(OTHER, 0) not in actions
    assert all(CHILD not in probes(subject.wake(float(now))) for now in range(20, 200))
    assert len(subject.paths) == 1


def test_a_new_child_is_probed_at_once() -> None:
    subject = parent()
    assert subject.next_alarm() is None
    install(subject, CHILD)
    assert set(probes(subject.wake(5.0))) == {CHILD}


def test_a_host_that_is_gone_probes_nobody() -> None:
    subject = parent(CHILD)
    subject.role.state = Gone()
    assert probes(subject.wake(1.0)) == {} and len(subject.paths) == 0


def test_an_answer_counts_once_from_its_child_in_its_session() -> None:
    subject = parent(CHILD, OTHER)
    sent = probes(subject.wake(0.0))[CHILD]
    for wrong, sender in (
        (answer(sent), OTHER),
        (answer(sent), at(9)),
        (answer(sent, session=99), CHILD),
        (answer(sent, sequence=sent.message.sequence + 99), CHILD),
    ):
        actions = subject.receive(wrong, sender, 0.01)
        assert not [a for a in actions if isinstance(a, PathMtu)]
    assert subject.receive(answer(sent), CHILD, 0.02) == [PathMtu(CHILD, 1172)]
    again = subject.receive(answer(sent), CHILD, 0.03)
    assert not [a for a in again if isinstance(a, PathMtu)]


def test_answers_to_other_probes_go_to_the_role() -> None:
    """A parent doubts a child, and measures a path to it, with the same message."""
    subject = parent(CHILD)
    probes(subject.wake(0.0))
    doubt = subject.standing.ask(subject.standing.make(ProbeRequest, timestamp=0), CHILD, now=0.0)
    assert subject.paths.receive(answer(doubt), CHILD, 0.01) is None


def test_a_child_sees_what_its_parents_path_carries() -> None:
    subject = parent()
    padding = Tlv(TlvType.PADDING, bytes(1452 - 36))
    request = ProbeRequest(session=SESSION, timestamp=3, tlvs=(padding,))
    for sender, seen in ((OTHER, ()), (PARENT, (PathView(PARENT, 1480),))):
        subject.receive(request, sender, 1.0)
        assert subject.view(1.0).paths == seen
    # A plain probe says nothing of the path; another parent's path is another.
    subject.receive(replace(request, tlvs=()), PARENT, 1.0)
    assert subject.view(1.0).paths == (PathView(PARENT, 1480),)
    entry = subject.role._installed
    assert entry is not None
    subject.role._installed = replace(entry, upstream=(OTHER,))
    subject.wake(2.0)
    assert subject.view(2.0).paths == ()


def test_a_child_that_misses_packets_has_its_path_looked_at() -> None:
    subject = parent(CHILD)
    search(subject, CHILD, 65507)
    request = DataRequest(
        session=SESSION, source=super_node(7).host, origin=super_node(2).host, channel=1, base=5
    )
    subject.receive(request, OTHER, 11.0)
    assert probes(subject.wake(11.0)) == {}
    subject.receive(request, CHILD, 11.0)
    assert len(encode(probes(subject.wake(11.0))[CHILD].message)) == LARGEST


def test_what_the_network_says_of_strangers_means_nothing() -> None:
    subject = parent(CHILD)
    assert subject.receive(TooLarge(OTHER, 1300), SELF, 0.0) == []
    search(subject, CHILD, 65507)
    assert subject.receive(TooLarge(CHILD, 1300), SELF, 15.0) == [PathMtu(CHILD, 1172)]


@pytest.mark.parametrize("message", [Carries(9000), TooLarge(CHILD)], ids=str)
def test_a_peer_cannot_say_what_only_this_host_may(message: LocalMessage) -> None:
    for subject in (parent(CHILD), parent(CHILD, largest=0)):
        actions = subject.receive(message, OTHER, 1.0)
        assert events(actions, PeerViolation) and not subject.paths._largest > LARGEST
