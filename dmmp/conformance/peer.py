"""A peer: one address of the tester, the host it plays there, and what has come to it.

What it answers by itself is set with `on`; everything that comes stays in `inbox` until a case
takes it with `expect`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from dmmp.conformance.case import Failure
from dmmp.messages import REGISTRY, Message, SubscriptionRequest, encode
from dmmp.messages.common import NOT_JOINED_DEPTH, HostRecord
from dmmp.messages.schema import FieldValue
from dmmp.security.gate import Gate
from dmmp.types import NO_HOST, NO_SESSION, Endpoint, HostId, Instant

if TYPE_CHECKING:
    from dmmp.conformance.tester import Tester

M = TypeVar("M", bound=Message)
Where = Callable[[FieldValue], bool]
"""A condition on a message that has come."""

Answer = Callable[[FieldValue], Message | None]
"""Makes the answer to a message; None: no answer."""


@dataclass(slots=True, eq=False)
class Arrived:
    """A message that came, when, to whom; `is_answered` if the peer answered by itself."""

    at: Instant
    peer: Peer
    message: Message
    datagram: bytes
    is_answered: bool = False


@dataclass(slots=True, eq=False)
class Peer:
    """See the module's docstring. The fields from `host` on are what it says of itself."""

    tester: Tester
    name: str
    endpoint: Endpoint
    instance: int
    sequence: int
    host: HostId = NO_HOST
    flags: int = 0
    depth: int = NOT_JOINED_DEPTH
    out_degree: int = 4
    free_slots: int = 0
    uptime: int = 0
    delay_us: int = 0
    root_path: tuple[HostId, ...] = ()
    cluster: HostId = NO_HOST
    """Root of the cluster it is in."""
    tree_version: int = 0
    delay: float = 0.0
    """Seconds that everything it sends waits before it goes."""
    gate: Gate | None = None
    """Seals what it sends, and opens what comes; None: everything is plain."""
    inbox: list[Arrived] = field(default_factory=list)
    last: Arrived | None = None
    """What the last `expect` took."""
    answers: dict[type[Message], Answer] = field(default_factory=dict)

    def record(self, **fields: FieldValue) -> HostRecord:
        """Describe it; `fields` go before what it says otherwise."""
        own = {
            "host": self.host,
            "endpoint": self.endpoint,
            "flags": self.flags,
            "depth": self.depth,
            "out_degree": self.out_degree,
            "free_slots": self.free_slots,
            "uptime": self.uptime,
            "delay_us": self.delay_us,
        }
        return HostRecord(**{**own, **fields})

    # Sending.

    def next_sequence(self) -> int:
        """Take the next sequence number."""
        self.sequence = self.sequence % 0xFFFFFFFF + 1
        return self.sequence

    def make(self, cls: type[M], **fields: FieldValue) -> M:
        """Make a message of this host, numbered, in the session; `fields` go before that."""
        head: dict[str, FieldValue] = {"source": self.host, "tree_version": self.tree_version}
        if cls is SubscriptionRequest:
            head = {"session": NO_SESSION, "source": NO_HOST}
        if "session" not in fields and "session" not in head:
            head["session"] = self.tester.session
        if "sequence" not in fields:
            head["sequence"] = self.next_sequence()
        return cls(**{**head, **fields})

    def send(self, message: Message, delay: float = 0.0) -> None:
        """Send a message to the implementation under test, as it is."""
        to = self.tester.subject
        if self.gate is None:
            self.send_bytes(encode(message), delay)
            return
        for datagram, receiver in self.gate.send(message, to, self.tester.now):
            self.tester.carry(self, receiver, datagram, delay, encode(message))

    def send_bytes(self, datagram: bytes, delay: float = 0.0) -> None:
        """Send bytes that need not be a message."""
        self.tester.carry(self, self.tester.subject, datagram, delay)

    def tell(self, cls: type[M], **fields: FieldValue) -> M:
        """Make and send a message; return it."""
        message = self.make(cls, **fields)
        self.send(message)
        return message

    def reply(self, request: Message, cls: type[M], **fields: FieldValue) -> M:
        """Make an answer to a request: its number copied, its session repeated."""
        session = fields.pop("session", self.tester.session)
        return self.make(cls, sequence=request.sequence, session=session, **fields)

    def answer(self, request: Message, cls: type[M], **fields: FieldValue) -> M:
        """Make and send an answer."""
        message = self.reply(request, cls, **fields)
        self.send(message)
        return message

    def ask(self, cls: type[Message], within: float = 0.0, **fields: FieldValue) -> FieldValue:
        """Send a request and return its answer: the option plus one, the number copied."""
        return self.expect_answer(self.tell(cls, **fields), within)

    # Receiving.

    def expect(self, cls: type[M], within: float = 0.0, where: Where | None = None) -> M:
        """Take the first message of a class that has come, or comes within so many seconds.

        What an answer may take is added to `within`. Fails if nothing comes.
        """
        return self.expect_one((cls,), within, where)  # type: ignore[return-value]

    def expect_one(
        self, classes: tuple[type[Message], ...], within: float = 0.0, where: Where | None = None
    ) -> Message:
        """Take the first message of any of these classes; else as `expect`."""
        arrived = self.tester.take((self,), classes, within, where)
        if arrived is None:
            names = " or ".join(cls.__name__ for cls in classes)
            waited = within + self.tester.timing.answer
            raise Failure(f"no {names} came to {self.name} within {waited:g} s")
        return arrived.message

    def expect_answer(self, request: Message, within: float = 0.0) -> FieldValue:
        """Take the answer to a request."""
        cls = REGISTRY[request.OPTION + 1]
        return self.expect(cls, within, lambda message: message.sequence == request.sequence)

    def expect_silence(
        self,
        *classes: type[Message],
        seconds: float | None = None,
        where: Where | None = None,
    ) -> None:
        """Fail if one of these comes from now on; without `classes`: anything not answered by `on`.

        `seconds`: how long; as a rule long enough for an answer.
        """
        for arrived in self.tester.flow(self.tester.timing.quiet if seconds is None else seconds):
            if arrived.peer is not self or (not classes and arrived.is_answered):
                continue
            if classes and not isinstance(arrived.message, classes):
                continue
            if where is None or where(arrived.message):
                raise Failure(f"{type(arrived.message).__name__} came to {self.name}: nothing may")

    def forget(self, *classes: type[Message]) -> None:
        """Drop what has come so far, of some classes or of all."""
        meant = classes or (Message,)
        self.inbox[:] = [each for each in self.inbox if not isinstance(each.message, meant)]

    def seen(self, cls: type[M], where: Where | None = None) -> list[M]:
        """List the messages of a class that have come and were not taken, without taking them."""
        found = [each.message for each in self.inbox if isinstance(each.message, cls)]
        return [message for message in found if where is None or where(message)]

    # Answering by itself.

    def on(self, cls: type[Message], answer: Answer) -> None:
        """Answer messages of a class from now on, and those that wait in the inbox."""
        self.answers[cls] = answer
        for arrived in self.inbox:
            if not arrived.is_answered and isinstance(arrived.message, cls):
                self.respond(arrived)

    def off(self, *classes: type[Message]) -> None:
        """Stop answering messages of some classes; without any: of all."""
        for cls in classes or tuple(self.answers):
            self.answers.pop(cls, None)

    def respond(self, arrived: Arrived) -> None:
        """Answer what came, if this is set."""
        answer = self.answers.get(type(arrived.message))
        if answer is None:
            return
        arrived.is_answered = True
        made = answer(arrived.message)
        if made is not None:
            self.send(made)

    def vanish(self) -> None:
        """Answer nothing any more: the host is dead. What comes is still seen."""
        self.answers.clear()
