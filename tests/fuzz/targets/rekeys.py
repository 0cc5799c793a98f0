"""A member's group keys: Rekeys and answers of a true source, lost, doubled, changed, made up.

What is changed may be believed, for who changes it would be the source: a relay's are refused by
their signature before. But only `DecodeError` leaves, no table grows, and a member that was told
the truth alone has the source's secret in the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from dmmp.errors import DecodeError
from dmmp.messages import KeyRequest, KeyResponse, Rekey, decode, encode
from dmmp.messages.schema import Message
from dmmp.security import key_path
from dmmp.security.key_member import KeyMember
from dmmp.types import HostId
from tests.fuzz.drawn import World, message
from tests.fuzz.feed import Feed
from tests.fuzz.target import Target
from tests.security.key_group import Group
from tests.security.key_session import SESSION, SOURCE

WORLD = World((SOURCE,), SESSION)
MOST_STEPS = 16
WAITS = (0.0, 0.1, 1.0, 3.0, 40.0, 100.0)


class Story:
    """A group of some members; one of them is watched."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.now = 100.0
        self.group = Group(1)
        self.group.change(joining=5)
        self.member = KeyMember(SESSION, Random(1), HostId(7))
        self.asked: list[KeyRequest] = []
        self.told: list[Message] = []
        self.is_true = True
        self.hear(self.member.want(SOURCE, self.now))
        self.take(self.answer())

    def hear(self, sends: Iterable[object]) -> None:
        for send in sends:
            asked = getattr(send, "message", None)
            if isinstance(asked, KeyRequest):
                self.asked.append(asked)

    def answer(self) -> KeyResponse:
        """Answer the last request as the source would: with the path of the first leaf."""
        path = self.group.paths["m0"]
        sequence = self.asked[-1].sequence if self.asked else 0
        return KeyResponse(
            session=SESSION,
            sequence=sequence,
            epoch=self.group.tree.epoch,
            leaf=path.leaf,
            path=self.group.tree.path(path.leaf),
        )

    def take(self, told: Message) -> None:
        """Let the member take a message over the wire form."""
        read = decode(encode(told))
        try:
            if isinstance(read, Rekey):
                self.member.on_rekey(read, self.now)
            elif isinstance(read, KeyResponse):
                self.member.on_response(read, SOURCE, self.now)
        except DecodeError:
            assert not self.is_true, "the source's own word is refused"

    def step(self) -> None:
        """Do one thing."""
        feed = self.feed
        self.now += feed.choice(WAITS)
        kind = feed.byte()
        if kind < 0x40:
            others = [name for name in sorted(self.group.paths) if name != "m0"]
            leaving = others[: feed.byte() % 3] if len(others) > 3 else []
            rekey = self.group.change(leaving, joining=feed.byte() % 3, renew=bool(kind & 1))
            self.told.append(rekey)
        elif kind < 0x80 and self.told:
            self.take(self.told[-1 - feed.byte() % len(self.told)])
        elif kind < 0x90:
            self.take(self.answer())
        elif kind < 0xA0:
            self.hear(self.member.wake(self.now))
        elif kind < 0xB0:
            epoch8 = feed.byte()
            found = self.member.secret(epoch8, self.now)
            assert found is None or found.epoch & 0xFF == epoch8
            self.member.unreadable(feed.byte(), self.now)
        elif kind < 0xD8 and self.told:
            self.is_true = False
            changed = bytearray(encode(self.told[-1 - feed.byte() % len(self.told)]))
            for _ in range(1 + feed.byte() % 3):
                changed[24 + feed.short() % (len(changed) - 24)] = feed.byte()
            try:
                self.take(decode(bytes(changed)))
            except DecodeError:
                pass
        else:
            self.is_true = False
            cls = KeyResponse if kind & 1 else Rekey
            sequence = self.asked[-1].sequence if self.asked else 0
            self.take(message(feed, cls, WORLD, sequence, 0))
        check_bounds(self.member)


def check_bounds(member: KeyMember) -> None:
    """Compare the tables with their bounds."""
    path = member._path
    if path is not None:
        assert len(path._roots) <= key_path.MOST_ROOTS
        assert len(path._waiting) <= key_path.MOST_PENDING
        assert all(len(waiting) <= 7 for waiting in path._waiting.values())
        assert len(path._ahead) <= key_path.MOST_AHEAD + 1
        assert len(path._secrets) <= key_path.MOST_ROOTS * (key_path.MOST_AHEAD + 1)
    assert len(member._erasures) <= 64


def test_one(data: bytes) -> None:
    """Run a story; a member that was not lied to catches up in the end."""
    story = Story(Feed(data))
    for _ in range(MOST_STEPS):
        if not story.feed:
            break
        story.step()
    if story.is_true:
        story.now += 1000.0
        story.hear(story.member.wake(story.now))
        story.take(story.answer())
        assert story.member.current() == story.group.tree.secret


def seeds() -> Iterable[bytes]:
    yield bytes((0, 0, 1, 1, 1, 0x40, 0, 2, 0, 2, 0, 1, 0x40, 0, 1, 0xA0, 2, 3))
    yield bytes((0, 0, 1, 1, 0, 1, 2, 2, 0, 0x40, 1, 0, 0x40, 0, 0, 0x40, 0, 3, 0x90, 0, 0x80))
    yield bytes((0, 1, 1, 1, 0, 0xB0, 0, 1, 0, 9, 7, 0, 50, 3, 0, 0x40, 0, 5, 0x90))
    yield bytes((0, 0xD8, 0, 5, 0, 1, 2, 1, 2, 3, 4, 0, 0xD9, 0, 0, 5, 1, 2, 1, 2, 3))


TARGET = Target(
    "rekeys",
    "KeyMember takes any Rekey and KeyResponse, raises only DecodeError, and catches up",
    test_one,
    seeds,
    most_bytes=512,
)
