"""Verdicts: pure functions from what was delivered and captured to what is wrong with it.

Each gives a list of complaints, which is empty where all is well. None reads what a participant
says of itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from dmmp.captures import Captured
from dmmp.messages.header import VERSION
from dmmp.messages.options import Option
from interop.matrix.captured import (
    epochs,
    in_the_clear,
    malformed,
    of_option,
    of_stream,
    parent_of,
)
from interop.matrix.evidence import MEMBERS, STRANGER, Evidence

SHOWN = 3
"""Complaints of a kind that are shown; the others are counted."""

REBIND_PATIENCE = 13.0
"""The next Refresh finds a host at its new address: every 10 s, give or take a fifth (Decision 10),
and a second for what follows."""

REBIND_TAIL = 100
"""The last numbers of the stream, which a host that moved must have again."""

GRACE = 1.0
"""What was under way when a host left, seconds."""


def few(complaints: Sequence[str]) -> list[str]:
    """Give the first complaints, and how many more there are."""
    more = len(complaints) - SHOWN
    return [*complaints[:SHOWN], *([f"and {more} more like these"] if more > 0 else [])]


def whole(
    evidence: Evidence, members: Collection[str] | None = None, least: float = 1.0
) -> list[str]:
    """Judge that members delivered what they are owed, or at `least` that share of it.

    Without names those are meant who were there from the beginning to the end. What is left out of
    such a file is one thing; delivering twice, or what nobody sent, is never right.
    """
    if members is None:
        members = [name for name in MEMBERS if name not in evidence.gone]
    owed = evidence.last - evidence.first + 1
    complaints = [] if owed > 0 else ["the stream was empty"]
    for name in members:
        got = evidence.delivered[name]
        if (missing := got.missing(evidence.first, evidence.last)) > (1 - least) * owed:
            complaints.append(f"{name} lacks {missing} of {owed} datagrams")
    return complaints


def pure(evidence: Evidence) -> list[str]:
    """Judge that nobody delivered anything twice, or anything that was not sent."""
    complaints = []
    for name, got in evidence.delivered.items():
        if got.repeated:
            complaints.append(f"{name} delivered {got.repeated} datagrams again")
        # Who was killed may have written half of its last one.
        if got.foreign > (name in evidence.gone):
            complaints.append(f"{name} delivered {got.foreign} pieces that nobody sent")
    return complaints


def contiguous(evidence: Evidence, name: str, to_the_end: bool = True) -> list[str]:
    """Judge that a member lacks nothing between its first datagram and its last, or the end."""
    got = evidence.delivered[name]
    if not got.numbers:
        return [f"{name} delivered nothing"]
    first = min(got.numbers)
    last = evidence.last if to_the_end else got.last
    missing = got.missing(first, last)
    return [f"{name} lacks {missing} of {last - first + 1} datagrams"] if missing else []


def readable(evidence: Evidence) -> list[str]:
    """Judge that every datagram on the wires is one of the protocol's; a stranger's are not ours.

    In a secured session nothing may be in the clear besides.
    """
    strange = evidence.addresses[STRANGER]
    ours = [packet for packet in evidence.packets if packet.source.address != strange]
    if not ours:
        return ["nothing was captured"]
    complaints = few(malformed(ours))
    if evidence.security != "none":
        complaints += few(in_the_clear(ours))
    return complaints


def exchanged(
    evidence: Evidence, name: str, request: Option, response: Option, needed: bool = True
) -> list[str]:
    """Judge that a host asked this and was answered; without `needed` only if it asked."""
    address = evidence.addresses[name]
    asked = any(of_option(evidence.packets, request, sender=address))
    answers = of_option(evidence.packets, response)
    answered = any(packet.destination.address == address for packet in answers)
    if not asked:
        return [f"{name} sent no {request.name}"] if needed else []
    return [] if answered else [f"{name} got no {response.name}"]


def associated(evidence: Evidence) -> list[str]:
    """Judge that each member made a handshake and was answered, or was called and answered."""
    complaints = []
    handshakes = list(
        of_option(evidence.packets, Option.HANDSHAKE_INITIATION, Option.HANDSHAKE_RESPONSE)
    )
    for name in MEMBERS:
        address = evidence.addresses[name]
        out = any(packet.source.address == address for packet in handshakes)
        back = any(packet.destination.address == address for packet in handshakes)
        if not (out and back):
            complaints.append(f"{name} made no handshake")
    return complaints


def joined(evidence: Evidence) -> list[str]:
    """Judge that each member registered at the rendezvous point and then found a place."""
    complaints = []
    for name in MEMBERS:
        complaints += exchanged(evidence, name, Option.PING_RP_REQUEST, Option.PING_RP_RESPONSE)
        if not any(of_stream(evidence.packets, (evidence.addresses[name],))):
            complaints.append(f"nobody fed {name}")
    return complaints


def has_left(evidence: Evidence, name: str) -> list[str]:
    """Judge a good leave: said and answered, exit code 0, and its parent feeds the host no more.

    Others may: relatives are not told, and randomized forwarding (Decision 19) sends them some.
    """
    complaints = exchanged(evidence, name, Option.LEAVE_REPORT, Option.LEAVE_RESPONSE)
    if (code := evidence.exits.get(name)) != 0:
        complaints.append(f"{name} ended with exit code {code}")
    address = evidence.addresses[name]
    before = [packet for packet in evidence.packets if packet.time < evidence.marks["leaving"]]
    parent = parent_of(before, address)
    begin, end = evidence.marks["left"] + GRACE, evidence.marks["ended"]
    late = of_stream(evidence.packets, (address,), begin, end)
    if count := sum(packet.source.address == parent for packet in late):
        complaints.append(f"{name} was sent {count} datagrams by {parent} after it had left")
    return complaints


def keys_changed(evidence: Evidence) -> list[str]:
    """Judge that who left cannot read on: the stream bears another key epoch soon after."""
    before = [packet for packet in evidence.packets if packet.time <= evidence.marks["leaving"]]
    after = [packet for packet in evidence.packets if packet.time > evidence.marks["leaving"]]
    old, new = epochs(before), epochs(after)
    if not old:
        return ["no sealed data"]
    if not set(new) - set(old):
        return [f"the epoch stayed {old[-1]} after a member had left"]
    return []


def moved(evidence: Evidence, name: str) -> list[str]:
    """Judge that a host whose address changed is fed at the new one soon, and misses no more."""
    after = evidence.marks["heard again"]
    got = evidence.delivered[name]
    complaints = []
    if not after:
        complaints.append(f"nobody fed {name} at its new address")
    elif after > REBIND_PATIENCE:
        complaints.append(f"{name} was fed at its new address only after {after:.1f} s")
    if missing := got.missing(evidence.last - REBIND_TAIL, evidence.last):
        complaints.append(f"{name} lacks {missing} of the last {REBIND_TAIL} datagrams")
    return complaints


def only_ipv6(packets: Sequence[Captured]) -> list[str]:
    """Judge that everything went by IPv6."""
    four = [packet for packet in packets if packet.source.address.version != 6]
    return [f"{len(four)} datagrams went by IPv4"] if four else []


def ignored(evidence: Evidence) -> list[str]:
    """Judge that other versions got no answer (1/2), and that everybody answers a probe of ours.

    Without the second (3/18) the first would prove nothing.
    """
    strange = evidence.addresses[STRANGER]
    answers = [packet for packet in evidence.packets if packet.destination.address == strange]
    asked_well = evidence.marks["asked well"]
    early = [f"{packet.source} answered" for packet in answers if packet.time < asked_well]
    answered = {packet.source.address for packet in answers if packet.time >= asked_well}
    silent = [
        f"{name} does not answer version {VERSION} either"
        for name, address in evidence.addresses.items()
        if name != STRANGER and address not in answered
    ]
    return few(early) + few(silent)


def disturbed(evidence: Evidence, mark: str) -> list[str]:
    """Judge the network: that it did what the scenario says, or its verdict means nothing."""
    return [] if evidence.marks.get(mark) else [f"nothing was {mark}: the scenario did not happen"]
