"""The doorman at real sockets: who is answered there, who is let in, and when he goes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from itertools import islice
from random import Random

import pytest

from dmmp.forwarding.burst import Burst, split
from dmmp.forwarding.outgoing import Outgoing
from dmmp.messages.options import Option
from dmmp.parameters import Parameters
from dmmp.runtime.binding import bind
from dmmp.runtime.doorman import ANSWERS, CROWD, Doorman, place
from dmmp.runtime.linux import BatchedSocket
from dmmp.runtime.sockets import DatagramSocket, PortableSocket, endpoint_of
from dmmp.security.associations import Associations
from dmmp.security.cookies import REPLY_BYTES, where
from dmmp.security.handshakes import prefix
from dmmp.security.identity import Mode, prologue
from dmmp.sim.cast import SESSION
from dmmp.sim.secured import WALL, Secured
from dmmp.types import Endpoint
from tests.attackers.openings import openings
from tests.marks import slow
from tests.runtime.loopback import ANY_PORT, until

SEALED = prefix(Option.SEALED) + bytes(40)


class Scene:
    """A socket with a doorman, somebody who calls there, and what was let in."""

    def __init__(self, opened: DatagramSocket, forwards: bool) -> None:
        secured = Secured(1, SESSION)
        secured.note_point(opened.local, "rp")
        parameters = Parameters()
        point = secured.of("rp", "rendezvous-point", 0).gate(0.0, parameters, central=True)
        self.associations: Associations = point.associations
        self.joiner = secured.of("m1", "member", 0).gate(0.0, parameters).associations
        key = self.associations.static_key
        self.calls = openings(Random(2), key, prologue(Mode.CERTIFICATES, SESSION), WALL)
        self.false = openings(
            Random(3), key, prologue(Mode.CERTIFICATES, SESSION), WALL, noise=True
        )
        self.now = 100.0
        self.replied = 0
        self.counters = {"control_sent": 0, "sieved": 0}
        self.doorman = Doorman(self.associations, forwards, self.counters, lambda: self.now)
        self.socket = opened
        self.socket.employ(self.doorman)
        self.admitted: list[bytes] = []
        self.caller = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.caller.bind(("127.0.0.1", 0))
        self.caller.connect(("127.0.0.1", opened.local.port))
        self.caller.setblocking(False)
        self.socket.start(self._take, self._fail)

    def _take(self, bursts: list[Burst]) -> None:
        for burst in bursts:
            self.admitted += [bytes(each) for each in split(burst.data, burst.stride)]

    def _fail(self, failure: BaseException) -> None:
        raise failure

    def put(self, datagrams: list[bytes]) -> None:
        """Send from the caller's port."""
        for each in datagrams:
            self.caller.send(each)

    def load(self) -> None:
        """Let so many call that it counts as load."""
        for number, call in enumerate(islice(self.calls, 300)):
            caller = Endpoint(self.socket.local.address, 1024 + number)
            self.associations.receive(call, caller, self.now)
        self.replied = self.associations.counters["cookie_replies_sent"]

    def replies(self) -> list[bytes]:
        """Take what the caller has got."""
        found: list[bytes] = []
        try:
            while True:
                found.append(self.caller.recv(2048))
        except BlockingIOError:
            return found


Play = Callable[[Scene], Awaitable[None]]


def on_duty(play: Play, datapath: str, forwards: bool = False, rate: float | None = None) -> None:
    """Run something at a socket whose doorman is called as a crowd would call him."""

    async def main() -> None:
        opened, outgoing = bind(ANY_PORT), Outgoing(rate)
        made: DatagramSocket
        if datapath == "batched":
            made = BatchedSocket(opened, outgoing)
        else:
            made = await PortableSocket.attach(opened, outgoing)
        scene = Scene(made, forwards)
        try:
            scene.load()
            scene.doorman.call(1, scene.now)
            await play(scene)
        finally:
            scene.caller.close()
            made.close()

    asyncio.run(main())


both = pytest.mark.parametrize("datapath", ["batched", *slow("portable")])


@both
def test_a_flood_is_answered_at_the_door_and_nothing_else_is(datapath: str) -> None:
    async def play(scene: Scene) -> None:
        calls = list(islice(scene.calls, 100)) + list(islice(scene.false, 20))
        scene.put([*calls, SEALED])
        await until(lambda: scene.admitted)
        assert scene.admitted == [SEALED]
        replies = scene.replies()
        assert [len(each) for each in replies] == [REPLY_BYTES] * len(calls)
        assert {each[3] for each in replies} == {Option.COOKIE_REPLY}
        assert scene.counters["control_sent"] == len(calls)
        assert scene.associations.sizes()["half_open"] == 0

    on_duty(play, datapath)


@both
def test_who_shows_a_cookie_is_let_in(datapath: str) -> None:
    async def play(scene: Scene) -> None:
        to = scene.socket.local
        own = endpoint_of(scene.caller.getsockname())
        sent = scene.joiner.send(b"hello", to, 0.0)
        assert isinstance(sent, list)
        scene.put([sent[0].data])
        replies: list[bytes] = []
        await until(lambda: replies or replies.__iadd__(scene.replies()))
        scene.joiner.receive(replies[0], to, 0.1)
        (again,) = scene.joiner.wake(0.3)
        assert not scene.admitted
        scene.put([again.data])
        await until(lambda: scene.admitted)
        assert scene.admitted == [again.data]
        assert len(scene.associations.receive(again.data, own, scene.now).datagrams[0].data) > 200

    on_duty(play, datapath)


@both
def test_what_is_not_worth_an_answer_gets_none(datapath: str) -> None:
    async def play(scene: Scene) -> None:
        call = next(scene.calls)
        junk = call[:100] + bytes([call[100] ^ 1]) + call[101:]
        scene.put([junk, call[:300], SEALED])
        await until(lambda: scene.admitted)
        assert scene.admitted == [SEALED]
        assert not scene.replies()
        counted = scene.associations.counters
        assert (counted["mac1"], counted["malformed"]) == (1, 1)

    on_duty(play, datapath)


def test_where_data_is_forwarded_few_are_answered_at_a_time() -> None:
    async def play(scene: Scene) -> None:
        scene.doorman.turn()
        calls = [*islice(scene.calls, 10), *islice(scene.false, 10)]
        address = ("127.0.0.1", scene.caller.getsockname()[1])
        assert not any(scene.doorman.admits(each, address) for each in calls)
        assert len(scene.replies()) == ANSWERS
        assert scene.associations.counters["cookie_replies_sent"] == scene.replied + ANSWERS
        scene.doorman.turn()
        assert not any(scene.doorman.admits(each, address) for each in reversed(calls))
        assert len(scene.replies()) == ANSWERS

    on_duty(play, "batched", forwards=True)


@both
def test_he_goes_when_the_flood_is_over_and_all_comes_in_again(datapath: str) -> None:
    async def play(scene: Scene) -> None:
        scene.put(list(islice(scene.calls, 300)))
        await until(lambda: scene.counters["control_sent"] == 300)
        assert scene.doorman.on_duty
        scene.now += 3.0
        await until(lambda: not scene.doorman.on_duty)
        call = next(scene.calls)
        scene.put([call])
        await until(lambda: scene.admitted)
        assert scene.admitted == [call]

    on_duty(play, datapath)


@both
def test_what_the_lot_drops_is_no_overflow(datapath: str) -> None:
    async def play(scene: Scene) -> None:
        # As if the last step had brought more than found an answer.
        scene.doorman._plain = scene.doorman._refused = 1000
        scene.doorman._step()
        assert not scene.doorman.shares.are_whole
        calls = list(islice(scene.calls, 300))
        scene.put(calls)
        await until(lambda: scene.doorman.sieved)
        assert scene.doorman.sieved < len(calls)
        assert scene.socket.overflowed() == 0
        # Nothing comes any more, so nothing is sieved any more, though the load still counts.
        await until(lambda: scene.doorman.shares.are_whole)

    on_duty(play, datapath)


@both
def test_where_the_rate_is_limited_he_is_not_employed(datapath: str) -> None:
    async def play(scene: Scene) -> None:
        assert not scene.doorman.on_duty
        call = next(scene.calls)
        scene.put([call])
        await until(lambda: scene.admitted)
        assert scene.admitted == [call]

    on_duty(play, datapath, rate=1e6)


def test_a_few_strangers_do_not_call_him() -> None:
    async def play(scene: Scene) -> None:
        scene.now += 3.0
        await until(lambda: not scene.doorman.on_duty)
        scene.doorman.call(CROWD - 1, scene.now)
        assert not scene.doorman.on_duty
        scene.doorman.call(CROWD, scene.now)
        assert scene.doorman.on_duty

    on_duty(play, "batched")


@pytest.mark.parametrize(
    "address",
    [
        ("192.0.2.7", 47700),
        ("::ffff:192.0.2.7", 1, 0, 0),
        ("2001:db8::7", 65535, 0, 0),
        ("fe80::1%eth0", 5004, 0, 2),
        ("::1", 47700, 0, 0),
    ],
)
def test_a_place_is_what_a_cookie_is_for(address: tuple[object, ...]) -> None:
    assert place(address) == where(endpoint_of(address))
