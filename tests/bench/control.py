"""What control messages cost: `python -m tests.bench.control`, with `--json` as JSON.

First the codec: building and reading one message of each class. Then the roles: what a rendezvous
point and a super node with many children do with a message, as `Host.receive` gives it to them, and
with everything around it that runs in a process but the socket: reading the datagram, the changed
forwarding entry, building what is sent in return.

Microseconds of processor time, the best of several rounds, and the ratio to reading the header and
copying the datagram, which may be compared between machines. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from random import Random
from typing import Any

from dmmp.actions import Install, Replay, Send, Withdraw
from dmmp.forwarding.forwarder import Forwarder
from dmmp.interest import interest
from dmmp.messages import (
    REGISTRY,
    JoinRequest,
    LeaveReport,
    Message,
    PingRpRequest,
    ProbeRequest,
    RefreshRequest,
    decode,
    encode,
)
from dmmp.messages.common import (
    NOT_JOINED_DEPTH,
    HostFlag,
    HostRecord,
    LeaveReason,
    RefreshKind,
)
from dmmp.messages.header import HEADER
from dmmp.parameters import Parameters
from dmmp.roles.rendezvous_point import RendezvousPoint, session_id
from dmmp.roles.role import Host
from dmmp.types import Endpoint, HostId, IpAddress, SessionId
from tests.bench.crowd import (
    FIRST_MEMBER,
    FIRST_SUPER_NODE,
    PORT,
    QUIET_GROUP,
    SOURCE,
    address_of,
)
from tests.examples import examples
from tests.roles.stage import SESSION as STAGE_SESSION
from tests.roles.super_node_stage import in_mesh

ROUNDS = 5
CALLS = 300
SUPER_NODES = 100
"""Super nodes the rendezvous point knows: as many as there may be (slide 15)."""

CHILDREN = 90
OUT_DEGREE = 256
SPACING = 0.002
"""Virtual seconds from one message to the next: five hundred a second."""

Call = Callable[[], object]


def microseconds(calls: Sequence[Call]) -> float:
    """Give the processor time of one call, when all are made in turn once."""
    begun = time.process_time()
    for call in calls:
        call()
    return (time.process_time() - begun) / len(calls) * 1e6


def best(make: Callable[[], Sequence[Call]], rounds: int) -> float:
    """Give the best round's time of a call; `make` makes the calls of a round."""
    return min(microseconds(make()) for _ in range(rounds))


# The codec.


def one_of_each() -> list[Message]:
    """Give an example of each class of message, of several the longest."""
    found: dict[type[Message], Message] = {}
    for _, message in examples():
        held = found.get(type(message))
        if held is None or len(encode(message)) > len(encode(held)):
            found[type(message)] = message
    return [found[cls] for cls in REGISTRY.values()]


def unpacking(datagram: bytes) -> Call:
    """Read the header and copy the datagram: what the ratios stand on."""

    def call() -> object:
        return HEADER.unpack_from(datagram), bytearray(datagram)

    return call


def repeated(call: Call, calls: int) -> Sequence[Call]:
    """Make one call so many times."""
    return [call] * calls


def codec(calls: int, rounds: int) -> list[dict[str, Any]]:
    """Measure building and reading of every class."""
    rows = []
    for message in one_of_each():
        datagram = encode(message)
        bare, build, read = (
            best(partial(repeated, call, calls), rounds)
            for call in (unpacking(datagram), partial(encode, message), partial(decode, datagram))
        )
        rows.append(
            {
                "message": type(message).__name__,
                "bytes": len(datagram),
                "encode_us": build,
                "decode_us": read,
                "encode_ratio": build / bare,
                "decode_ratio": read / bare,
            }
        )
    return rows


# The roles.


class Stage:
    """A host and its forwarder without a socket, and the virtual time."""

    def __init__(self, subject: Host) -> None:
        self.host = subject
        self.forwarder = Forwarder(Parameters())
        self.now = 2.0
        self.received = 0

    def hear(self, message: Message, sender: Endpoint) -> None:
        """Let the host take a message, alarms included, and do nothing about what it wants."""
        self.now += SPACING
        alarm = self.host.next_alarm()
        if alarm is not None and alarm[0] <= self.now:
            self.host.wake(self.now)
        self.received += len(self.host.receive(message, sender, self.now))

    def take(self, datagram: bytes, sender: Endpoint) -> None:
        """Do all that the driver does with a datagram, but for the socket."""
        self.now += SPACING
        alarm = self.host.next_alarm()
        if alarm is not None and alarm[0] <= self.now:
            self.host.wake(self.now)
        for action in self.host.receive(decode(datagram), sender, self.now):
            if isinstance(action, Send):
                self.received += len(encode(action.message))
            elif isinstance(action, Install | Withdraw | Replay):
                self.forwarder.apply(action, self.now)


def at(number: int) -> Endpoint:
    """Give where a host of the crowd is."""
    address: IpAddress = address_of(number)
    return Endpoint(address, PORT)


def ping(number: int, record: HostRecord, host: int = 0) -> PingRpRequest:
    """Make a Ping_RP request of a host."""
    return PingRpRequest(
        session=session_id("bench"),
        source=HostId(host),
        sequence=number,
        instance=number,
        host=record,
    )


def point() -> Stage:
    """Make a rendezvous point that knows a source and its super nodes."""
    stage = Stage(RendezvousPoint(("bench",), Parameters(), Random(1)))
    stage.hear(ping(SOURCE, HostRecord(flags=HostFlag.SOURCE, depth=0, out_degree=8)), at(SOURCE))
    for number in range(FIRST_SUPER_NODE, FIRST_SUPER_NODE + SUPER_NODES):
        record = HostRecord(flags=HostFlag.SUPER_NODE, depth=1, out_degree=16, free_slots=8)
        stage.hear(ping(number, record), at(number))
    return stage


Round = tuple[Stage, list[tuple[Message, Endpoint]]]
"""A stage that is ready, and the messages to be measured, in turn."""


def newcomers(calls: int) -> Round:
    """Let hosts register that are new."""
    numbers = range(FIRST_MEMBER, FIRST_MEMBER + calls)
    record = HostRecord(depth=NOT_JOINED_DEPTH, out_degree=2)
    return point(), [(ping(number, record), at(number)) for number in numbers]


def renewals(calls: int) -> Round:
    """Let hosts with a place renew their registration."""
    stage, first = newcomers(calls)
    for message, sender in first:
        stage.hear(message, sender)
    record = HostRecord(depth=3, out_degree=2, free_slots=2)
    return stage, [(ping(sender_number(sender), record), sender) for _, sender in first]


def sender_number(sender: Endpoint) -> int:
    """Give the number of the host that is there."""
    return (int(sender.address) & 0xFFFFFF) - 0x010000


_sequences = count(1)


def header(number: int) -> dict[str, Any]:
    """Make the header's fields of a message from a host of the crowd."""
    return {
        "session": SessionId(STAGE_SESSION),
        "source": HostId(number),
        "sequence": next(_sequences),
    }


def record_of(number: int) -> HostRecord:
    """Describe a host of the crowd."""
    return HostRecord(HostId(number), at(number), depth=NOT_JOINED_DEPTH, out_degree=2)


def joining(number: int) -> Message:
    """Make the request for a place."""
    return JoinRequest(**header(number), applicant=record_of(number))


def refreshing(number: int) -> Message:
    """Make the refresh of a child, whose first one takes up the offer."""
    return RefreshRequest(
        **header(number),
        kind=RefreshKind.CHILD,
        sender=record_of(number),
        interest=(interest(QUIET_GROUP),),
    )


def leaving(number: int) -> Message:
    """Make the report of a child that goes elsewhere."""
    return LeaveReport(**header(number), reason=LeaveReason.MOVED)


def probing(number: int) -> Message:
    """Make a probe of a newcomer."""
    return ProbeRequest(**header(number), timestamp=number)


def super_node() -> tuple[Stage, list[int]]:
    """Make a super node with its children; give their numbers, too."""
    stage = Stage(in_mesh(out_degree=OUT_DEGREE))
    children = list(range(FIRST_MEMBER, FIRST_MEMBER + CHILDREN))
    for number in children:
        stage.take(encode(joining(number)), at(number))
        stage.take(encode(refreshing(number)), at(number))
    return stage, children


def of_children(make: Callable[[int], Message], calls: int) -> Round:
    """Let the children send a message each, again and again."""
    stage, children = super_node()
    return stage, [(make(number), at(number)) for number in _turns(children, calls)]


def _turns(numbers: Sequence[int], calls: int) -> Iterator[int]:
    for turn in range(calls):
        yield numbers[turn % len(numbers)]


def joins(calls: int) -> Round:
    """Let hosts join and the longest there leave: three messages a join."""
    stage, _ = super_node()
    messages: list[tuple[Message, Endpoint]] = []
    for number in range(FIRST_MEMBER + CHILDREN, FIRST_MEMBER + CHILDREN + calls):
        messages += [(joining(number), at(number)), (refreshing(number), at(number))]
        messages.append((leaving(number - CHILDREN), at(number - CHILDREN)))
    return stage, messages


CASES: tuple[tuple[str, Callable[[int], Round], int], ...] = (
    ("rendezvous point: a newcomer", newcomers, 1),
    ("rendezvous point: a renewal", renewals, 1),
    ("super node: a probe", lambda calls: of_children(probing, calls), 1),
    ("super node: a child's refresh", lambda calls: of_children(refreshing, calls), 1),
    ("super node: a join and a leave", joins, 3),
)
"""What is measured of the roles: the round's maker, and how many messages make one of it."""


def heard(make: Callable[[int], Round], calls: int) -> Sequence[Call]:
    """Let the role take the messages of a round."""
    stage, said = make(calls)
    return [partial(stage.hear, message, sender) for message, sender in said]


def taken(make: Callable[[int], Round], calls: int) -> Sequence[Call]:
    """Do all there is to do with the datagrams of a round."""
    stage, said = make(calls)
    return [partial(stage.take, encode(message), sender) for message, sender in said]


def roles(calls: int, rounds: int) -> list[dict[str, Any]]:
    """Measure what roles do with messages."""
    rows = []
    for name, make, messages in CASES:
        role, whole = (
            best(partial(one_round, make, calls), rounds) * messages for one_round in (heard, taken)
        )
        rows.append({"case": name, "role_us": role, "whole_us": whole})
    return rows


def show(result: dict[str, Any]) -> None:
    """Print the figures as two tables."""
    print(f"{'message':24}{'bytes':>7}{'encode µs':>11}{'ratio':>7}{'decode µs':>11}{'ratio':>7}")
    for row in result["codec"]:
        print(f"{row['message']:24}{row['bytes']:7}", end="")
        print(f"{row['encode_us']:11.1f}{row['encode_ratio']:7.1f}", end="")
        print(f"{row['decode_us']:11.1f}{row['decode_ratio']:7.1f}")
    print(f"\n{'handled':34}{'role µs':>9}{'whole µs':>10}{'a second':>10}")
    for row in result["roles"]:
        print(f"{row['case']:34}{row['role_us']:9.1f}", end="")
        print(f"{row['whole_us']:10.1f}{1e6 / row['whole_us']:10.0f}")


def measure(calls: int = CALLS, rounds: int = ROUNDS) -> dict[str, Any]:
    """Measure everything."""
    return {"codec": codec(calls, rounds), "roles": roles(calls, rounds)}


def main() -> None:
    """Measure, and print tables or JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.control", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON in place of the tables")
    options = parser.parse_args()
    result = measure()
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        show(result)


if __name__ == "__main__":
    main()
