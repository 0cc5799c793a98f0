"""Messages that a member with a valid credential makes up: of others, for others, about others.

All types there are, with the ids and addresses of hosts that exist, as likely as not another's id
as the sender's. They go out under the member's own seal, for it has no other. Row 11.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import construct

from dmmp.messages import REGISTRY
from dmmp.messages.common import HostFlag, HostRecord
from dmmp.messages.options import SECURITY_FIRST, Option
from dmmp.messages.schema import Message
from dmmp.messages.wiretypes import (
    Address,
    AllBut,
    Choice,
    Counted,
    Octets,
    Record,
    Text,
    WireField,
    rest,
)
from dmmp.parameters import Parameters
from dmmp.security.gate import Gate
from dmmp.security.identity import CertifiedParty, Credential
from dmmp.security.session_file import SessionFile
from dmmp.security.setup import Security
from dmmp.types import Endpoint, HostId, IpAddress, SessionId
from tests.attackers.wire import endpoint, parse_endpoint

CLASSES: tuple[type[Message], ...] = tuple(
    cls for option, cls in sorted(REGISTRY.items()) if not SECURITY_FIRST <= option <= Option.SEALED
)
"""All that can stand under a seal."""


class Person(NamedTuple):
    """A host as the forger knows it."""

    host: HostId
    endpoint: Endpoint


class MessageForger:
    """Draws messages of any class about `people`; `me` is the forger itself."""

    def __init__(
        self,
        dice: Random,
        session: SessionId,
        me: Person,
        people: Sequence[Person],
        groups: Sequence[IpAddress] = (),
        name: str = "demo",
    ) -> None:
        self.dice = dice
        self.session = session
        self.me = me
        self.people = tuple(people)
        self._groups = tuple(groups) or (endpoint("239.1.2.3").address,)
        self._name = name

    def forge(self, cls: type[Message] | None = None) -> Message:
        """Make one, mostly in another's name."""
        dice = self.dice
        cls = dice.choice(CLASSES) if cls is None else cls
        fields: dict[str, Any] = {field.name: self._value(field) for field in cls.BODY.fields}
        return cls(
            session=self.session if dice.random() < 0.95 else SessionId(dice.getrandbits(32)),
            source=self._host(),
            sequence=dice.getrandbits(32),
            tree_version=dice.choice((0, 1, 2, dice.getrandbits(8))),
            reserved=dice.getrandbits(32) if dice.random() < 0.05 else 0,
            **fields,
        )

    def _host(self) -> HostId:
        kind = self.dice.random()
        if kind < 0.3:
            return self.me.host
        if kind < 0.85:
            return self.dice.choice(self.people).host
        return HostId(self.dice.choice((0, self.dice.getrandbits(32))))

    def _value(self, field: WireField) -> Any:
        dice, kind = self.dice, field.type
        if isinstance(kind, construct.FormatField):
            return self._integer(field, 8 * kind.length)
        if isinstance(kind, Address):
            return dice.choice((*self._groups, dice.choice(self.people).endpoint.address))
        if isinstance(kind, Choice):
            return dice.choice(list(kind.choices))
        if isinstance(kind, Record):
            return self._record(kind)
        if isinstance(kind, Counted):
            count = min(kind.at_most, dice.choice((0, 1, 2, 3, 8)))
            return tuple(self._value(WireField("", kind.element)) for _ in range(count))
        if isinstance(kind, Text):
            return self._name if dice.random() < 0.8 else "x" * dice.randrange(kind.at_most)
        if isinstance(kind, Octets):
            return dice.randbytes(min(kind.at_most, dice.choice((0, 1, 16, 128))))
        if kind is rest or isinstance(kind, AllBut):
            return dice.randbytes(dice.randrange(100))
        assert isinstance(kind, construct.Bytes), kind
        return dice.randbytes(kind.length)

    def _integer(self, field: WireField, bits: int) -> int:
        dice = self.dice
        if field.names is not None and dice.random() < 0.95:
            return int(dice.choice(list(field.names)))
        if field.name in ("host", "super_node", "origin") or (not field.name and bits == 32):
            return self._host()
        return dice.choice((0, 1, 2, dice.getrandbits(bits), dice.getrandbits(min(bits, 8))))

    def _record(self, kind: Record) -> Any:
        dice = self.dice
        if kind.cls is Endpoint:
            return dice.choice(self.people).endpoint
        made = kind.cls(**{field.name: self._value(field) for field in kind.fields})
        if isinstance(made, HostRecord) and dice.random() < 0.9:
            person = self.me if dice.random() < 0.3 else dice.choice(self.people)
            return HostRecord(
                person.host,
                person.endpoint,
                made.flags & ~HostFlag.SOURCE & ~HostFlag.SUPER_NODE,
                *(getattr(made, field.name) for field in kind.fields[3:]),
            )
        return made


def gate_of(session_file: Path, credential: Path) -> tuple[Gate, str]:
    """Make the gate of a host with these files, and name its session."""
    file = SessionFile.parse(session_file.read_text())
    party = CertifiedParty(Credential.parse(credential.read_text()), file.trust())
    points = {parse_endpoint(each.address): each.static_key for each in file.rendezvous_points}
    security = Security(party, os.urandom, time.time() - time.monotonic(), points)
    return security.gate(time.monotonic(), Parameters()), file.session


def talk(
    gate: Gate, to: Endpoint, make: Callable[[], Message], count: int, rate: float, wait: float
) -> dict[str, int]:
    """Say so many messages to a host over a socket of its own; count the answers that opened."""
    answers = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.setblocking(False)

        def take() -> int:
            opened = 0
            while True:
                try:
                    data, address = own.recvfrom(65535)
                except BlockingIOError:
                    return opened
                taken = gate.receive(data, endpoint(address[0], address[1]), time.monotonic())
                opened += len(taken.messages)
                send(taken.datagrams)

        def send(datagrams: Sequence[tuple[bytes, Endpoint]]) -> None:
            for data, receiver in datagrams:
                own.sendto(data, (str(receiver.address), receiver.port))

        begun = time.monotonic()
        for number in range(count):
            while time.monotonic() < begun + number / rate:
                answers += take()
                send(gate.wake(time.monotonic()))
            send(gate.send(make(), to, time.monotonic()))
        until = time.monotonic() + wait
        while time.monotonic() < until:
            answers += take()
            time.sleep(0.01)
    return {"sent": count, "answers": answers}


def main() -> int:
    """Run as a program."""
    arguments = ArgumentParser(description=__doc__)
    arguments.add_argument("target", type=parse_endpoint, metavar="ADDRESS[:PORT]", help="an RP")
    arguments.add_argument("--session-file", type=Path, required=True)
    arguments.add_argument("--credential", type=Path, required=True, help="a valid member's")
    arguments.add_argument(
        "--person", action="append", default=[], metavar="ID@ADDRESS", help="hosts that exist"
    )
    arguments.add_argument("--session-id", type=lambda text: int(text, 16), default=1)
    arguments.add_argument("--count", type=int, default=1000)
    arguments.add_argument("--rate", type=float, default=200.0, help="messages a second")
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    people = []
    for text in options.person:
        number, _, place = text.partition("@")
        people.append(Person(HostId(int(number, 16)), parse_endpoint(place)))
    gate, name = gate_of(options.session_file, options.credential)
    me = Person(HostId(0), endpoint("0.0.0.0"))
    session = SessionId(options.session_id)
    forger = MessageForger(Random(options.seed), session, me, people or [me], name=name)
    figures = talk(gate, options.target, forger.forge, options.count, options.rate, 1.0)
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
