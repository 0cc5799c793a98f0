"""The driver: what goes where, what it carries out, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from dmmp.actions import Action, Install, Replay, Report, Send
from dmmp.actions import ForwardingEntry as Entry
from dmmp.events import Left, Refused, Registered
from dmmp.forwarding.burst import Burst, Delivery, Outcome, Silent, Transmit
from dmmp.forwarding.outgoing import Queued
from dmmp.interest import interest
from dmmp.messages import ProbeRequest, decode, encode
from dmmp.messages.header import HEADER
from dmmp.messages.local import (
    LocalMessage,
    Silence,
    Start,
    Stop,
    Subscribe,
    Unreachable,
)
from dmmp.roles.role import Input
from dmmp.runtime import driver
from dmmp.runtime.doorman import Doorman
from dmmp.runtime.driver import Driver
from dmmp.types import SELF, Endpoint, HostId, Instant, IpAddress, SessionId
from tests.runtime.loopback import GROUP, LOOPBACK

PEER = Endpoint(LOOPBACK, 7)
PROBE = encode(ProbeRequest(session=SessionId(1), timestamp=5))
DATA = bytes.fromhex("01000000") + bytes(20)
HEARTBEAT = bytes.fromhex("01000001") + bytes(20)


class ScriptedHost:
    """A host that notes what comes in and answers with what the test lays ready."""

    def __init__(self) -> None:
        self.inputs: list[tuple[Input, Endpoint]] = []
        self.answers: dict[type, list[Action]] = {}
        self.alarm: Instant | None = None
        self.woken: list[Instant] = []

    def receive(self, message: Input, sender: Endpoint, now: Instant) -> list[Action]:
        self.inputs.append((message, sender))
        return self.answers.get(type(message), [])

    def wake(self, now: Instant) -> list[Action]:
        self.woken.append(now)
        self.alarm = None
        return []

    def next_alarm(self) -> tuple[Instant, str] | None:
        return None if self.alarm is None else (self.alarm, "test")


class ScriptedForwarder:
    """A forwarder that notes bursts and gives the outcome the test lays ready."""

    def __init__(self) -> None:
        self.bursts: list[Burst] = []
        self.applied: list[object] = []
        self.originated: list[tuple[object, ...]] = []
        self.outcome = Outcome()
        self.silences: list[Silent] = []

    def forward(self, burst: Burst, now: Instant) -> Outcome:
        self.bursts.append(burst)
        return self.outcome

    def apply(self, action: object, now: Instant) -> Outcome:
        self.applied.append(action)
        return self.outcome

    def originate(
        self,
        session: SessionId,
        host: HostId,
        tree_version: int,
        group: IpAddress,
        source: IpAddress,
        packets: Sequence[bytes | memoryview],
        now: Instant,
    ) -> Outcome:
        self.originated.append((session, host, group, source, list(packets)))
        return self.outcome

    def wake(self, now: Instant) -> tuple[Outcome, list[Silent]]:
        return Outcome(), self.silences

    def next_alarm(self) -> tuple[Instant, str] | None:
        return None


class ScriptedSocket:
    """A socket that keeps what is sent and gives what the test puts in."""

    def __init__(self) -> None:
        self.local = PEER
        self.counters: dict[str, int] = {}
        self.sent: list[Transmit] = []
        self.lossy: list[Endpoint] = []
        self.limits: list[tuple[Endpoint, int]] = []
        self.probes: list[tuple[bytes, Endpoint]] = []
        self.largest = 1472
        """What its interface can send."""

    def employ(self, doorman: Doorman) -> None:
        """Have nobody at the door."""

    def start(
        self, take: Callable[[list[Burst]], None], fail: Callable[[BaseException], None]
    ) -> None:
        self.take, self.fail = take, fail

    def overflowed(self) -> int:
        return 0

    def on_unreachable(self, report: Callable[[Endpoint], None]) -> None:
        self.report = report

    def on_too_large(self, report: Callable[[Endpoint, int], None]) -> None:
        self.report_size = report

    def set_path_mtu(self, to: Endpoint, datagram_bytes: int) -> None:
        self.limits.append((to, datagram_bytes))

    def send_probe(self, datagram: bytes, to: Endpoint) -> bool:
        self.probes.append((datagram, to))
        return len(datagram) <= self.largest

    def send(self, transmits: Sequence[Transmit]) -> None:
        self.sent += transmits

    def send_control(self, datagram: bytes, to: Endpoint) -> None:
        self.sent.append(Transmit(datagram, len(datagram), to))

    def lost(self, to: Endpoint) -> None:
        self.lossy.append(to)

    def queues(self) -> dict[Endpoint, Queued]:
        return {}

    def close(self) -> None:
        pass


class Bench:
    """A driver among scripted parts."""

    def __init__(self, forwards: bool = True) -> None:
        self.host = ScriptedHost()
        self.socket = ScriptedSocket()
        self.forwarder = ScriptedForwarder()
        self.driver = Driver(self.host, self.socket, self.forwarder if forwards else None)

    def locals(self) -> list[LocalMessage]:
        return [message for message, _ in self.host.inputs if isinstance(message, LocalMessage)]


def on_bench(play: Callable[[Bench], object], forwards: bool = True) -> Bench:
    """Run `play` inside an event loop, as the driver wants it for its timer."""

    async def main() -> Bench:
        bench = Bench(forwards)
        play(bench)
        return bench

    return asyncio.run(main())


def test_data_and_heartbeats_go_to_the_forwarder_whole() -> None:
    burst = Burst(DATA * 3 + HEARTBEAT, 24, PEER)
    bench = on_bench(lambda bench: bench.driver.take([burst]))
    assert bench.forwarder.bursts == [burst] and bench.host.inputs == []


def test_control_goes_to_the_host_as_messages() -> None:
    burst = Burst(PROBE * 2, len(PROBE), PEER)
    bench = on_bench(lambda bench: bench.driver.take([burst]))
    assert bench.host.inputs == [(decode(PROBE), PEER)] * 2 and bench.forwarder.bursts == []


def test_a_burst_that_mixes_both_is_taken_apart() -> None:
    data = DATA[:20] + (len(PROBE) - 24).to_bytes(4) + bytes(len(PROBE) - 24)
    bench = on_bench(
        lambda bench: bench.driver.take([Burst(data + PROBE + data, len(PROBE), PEER)])
    )
    assert [bytes(burst.data) for burst in bench.forwarder.bursts] == [data, data]
    assert bench.host.inputs == [(decode(PROBE), PEER)]


def test_what_came_first_goes_out_first_whatever_comes_with_it() -> None:
    def play(bench: Bench) -> None:
        def forward(burst: Burst, now: Instant) -> Outcome:
            return Outcome([Transmit(burst.data, burst.stride, PEER)])

        bench.forwarder.forward = forward  # type: ignore[method-assign]
        last = HEADER.pack(1, 0, 0, 1, 2, 9, 4, 76) + bytes(76)
        glued = Burst(last + PROBE, len(last), PEER)
        bench.driver.take([Burst(DATA, 24, PEER), glued, Burst(HEARTBEAT, 24, PEER)])
        assert [bytes(sent.data) for sent in bench.socket.sent] == [DATA, last, HEARTBEAT]

    assert len(on_bench(play).host.inputs) == 1


def test_the_socket_learns_who_lost_packets() -> None:
    def play(bench: Bench) -> None:
        lost = Replay(SessionId(1), HostId(2), 3, 4, b"\x40", PEER)
        announced = Replay(SessionId(1), HostId(2), 3, 4, b"\0", PEER)
        newcomer = Replay(SessionId(1), HostId(2), 3, 4, b"", PEER)
        asked: tuple[tuple[Replay, list[Endpoint]], ...]
        asked = ((lost, []), (announced, []), (newcomer, []), (lost, [PEER]))
        for number, (action, expected) in enumerate(asked):
            bench.driver.paces = number > 0
            bench.host.answers = {ProbeRequest: [action]}
            bench.driver.take([Burst(PROBE, len(PROBE), PEER)])
            assert bench.socket.lossy == expected
        assert bench.forwarder.applied == [lost, announced, newcomer, lost]

    on_bench(play)


@pytest.mark.parametrize("datagram", [b"", b"\x01", b"\x01\0\0", PROBE[:-1], b"\xff" * 60])
def test_what_cannot_be_read_is_counted_and_answered_to_nobody(datagram: bytes) -> None:
    bench = on_bench(lambda bench: bench.driver.take([Burst(datagram, len(datagram), PEER)]))
    assert bench.driver.counters["malformed"] == 1
    assert bench.socket.sent == [] and bench.host.inputs == []


def test_one_bad_datagram_does_not_cost_the_rest() -> None:
    bad = Burst(b"\xff" * 60, 60, PEER)
    good = Burst(PROBE, len(PROBE), PEER)
    bench = on_bench(lambda bench: bench.driver.take([bad, good, bad]))
    assert len(bench.host.inputs) == 1 and bench.driver.counters["malformed"] == 2


def numbered(count: int) -> list[Burst]:
    """Make so many probes, each a datagram of its own, told apart by the timestamp."""
    probes = [encode(ProbeRequest(session=SessionId(1), timestamp=n)) for n in range(count)]
    return [Burst(probe, len(probe), PEER) for probe in probes]


def heard(bench: Bench) -> list[int]:
    """Give the numbers of the probes that the host has had so far."""
    messages = [message for message, _ in bench.host.inputs]
    return [message.timestamp for message in messages if isinstance(message, ProbeRequest)]


def test_data_that_comes_while_a_crowd_waits_is_forwarded_before_the_crowd() -> None:
    async def main() -> None:
        bench = Bench()
        bench.driver.take(numbered(100))
        assert heard(bench) == list(range(driver.CONTROL_BUDGET))
        bench.driver.take([Burst(DATA, 24, PEER)])
        assert len(bench.forwarder.bursts) == 1 and len(heard(bench)) < 100
        while len(heard(bench)) < 100:
            before = len(heard(bench))
            await asyncio.sleep(0)
            assert len(heard(bench)) - before <= driver.CONTROL_BUDGET
        assert heard(bench) == list(range(100))

    asyncio.run(asyncio.wait_for(main(), 5))


def test_data_behind_control_in_one_read_goes_out_before_the_control_is_handled() -> None:
    def play(bench: Bench) -> None:
        bench.host.answers[ProbeRequest] = [Send(decode(PROBE), PEER)]
        bench.forwarder.outcome = Outcome([Transmit(DATA, 24, PEER)])
        bench.driver.take([Burst(PROBE, len(PROBE), PEER), Burst(DATA, 24, PEER)])
        assert [bytes(sent.data) for sent in bench.socket.sent] == [DATA, PROBE]

    on_bench(play)


def test_of_too_many_that_wait_the_oldest_are_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(driver, "CONTROL_QUEUE_LIMIT", 10)

    async def main() -> None:
        bench = Bench()
        bench.driver.take(numbered(25))
        assert bench.driver.counters["control_queue_full"] == 15
        while len(heard(bench)) < 10:
            await asyncio.sleep(0)
        assert heard(bench) == list(range(15, 25))

    asyncio.run(asyncio.wait_for(main(), 5))


def test_what_waits_is_bounded_in_bytes_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "CONTROL_QUEUE_BYTES", 3 * len(PROBE))
    bench = on_bench(lambda bench: bench.driver.take(numbered(9)))
    assert bench.driver.counters["control_queue_full"] == 6
    assert heard(bench) == [6, 7, 8]


def test_who_forwards_no_data_handles_a_crowd_at_once() -> None:
    bench = on_bench(lambda bench: bench.driver.take(numbered(100)), forwards=False)
    assert heard(bench) == list(range(100))


def test_without_a_forwarder_data_is_counted_and_dropped() -> None:
    bench = on_bench(lambda bench: bench.driver.take([Burst(DATA, 24, PEER)]), forwards=False)
    assert bench.driver.counters["no_forwarder"] == 1 and bench.host.inputs == []


def test_actions_are_carried_out_in_order() -> None:
    probe = ProbeRequest(session=SessionId(1), timestamp=6)
    entry = Install(Entry(SessionId(1), tree_version=9))

    def play(bench: Bench) -> None:
        bench.forwarder.outcome = Outcome([Transmit(b"replayed", 8, PEER)])
        bench.host.answers[Start] = [Send(probe, PEER), entry, Send(probe, PEER)]
        bench.driver.local(Start())

    bench = on_bench(play)
    sent = [bytes(transmit.data) for transmit in bench.socket.sent]
    assert sent == [encode(probe), b"replayed", encode(probe)]
    assert bench.forwarder.applied == [entry] and bench.driver.tree_version == 9


def test_programs_packets_go_out_under_the_hosts_identity() -> None:
    def play(bench: Bench) -> None:
        bench.driver.originate(GROUP, LOOPBACK, [b"early"])
        bench.host.answers[Start] = [Report(Registered(SessionId(3), HostId(4), PEER, PEER))]
        bench.driver.local(Start())
        bench.driver.originate(GROUP, LOOPBACK, [b"packet"])

    bench = on_bench(play)
    assert bench.driver.counters["not_registered"] == 1
    (originated,) = bench.forwarder.originated
    assert originated == (3, 4, GROUP, LOOPBACK, [b"packet"])


def test_silence_enters_the_host_by_its_one_door() -> None:
    def play(bench: Bench) -> None:
        bench.forwarder.silences = [Silent(12.5)]
        bench.driver.wake(13.0)

    bench = on_bench(play)
    assert bench.host.inputs == [(Silence(12.5), SELF)] and bench.host.woken == [13.0]


def test_an_alarm_wakes_the_host() -> None:
    async def main() -> None:
        bench = Bench()
        bench.host.alarm = bench.driver.clock() + 0.01
        running = asyncio.ensure_future(bench.driver.run())
        while not bench.host.woken:
            await asyncio.sleep(0.001)
        bench.host.answers[Stop] = [Report(Left())]
        bench.driver.stop()
        await asyncio.wait_for(running, 5)
        assert [type(each) for each in bench.locals()] == [Start, Stop]

    asyncio.run(main())


def test_who_does_not_let_us_go_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "GOODBYE", 0.5)

    async def main() -> None:
        bench = Bench()
        bench.driver.stop()
        await asyncio.wait_for(bench.driver.run(), 5)
        assert isinstance(bench.locals()[-1], Stop)

    asyncio.run(main())


def test_a_refusal_ends_a_host_that_has_no_place_yet() -> None:
    async def main() -> None:
        bench = Bench()
        bench.host.answers[Start] = [Report(Refused("no such session", final=True))]
        await asyncio.wait_for(bench.driver.run(), 5)
        assert bench.driver.refused == "no such session"
        assert [type(each) for each in bench.locals()] == [Start]

    asyncio.run(main())


def test_a_refusal_that_may_pass_does_not_end_a_host() -> None:
    def play(bench: Bench) -> None:
        bench.host.answers[Start] = [Report(Refused("full"))]
        bench.driver.local(Start())

    assert on_bench(play).driver.refused is None


def test_a_refusal_does_not_end_a_host_that_has_its_place() -> None:
    def play(bench: Bench) -> None:
        bench.host.answers[Start] = [Report(Registered(SessionId(3), HostId(4), PEER, PEER))]
        bench.driver.local(Start())
        bench.host.answers[Start] = [Report(Refused("restarted", final=True))]
        bench.driver.local(Start())

    assert on_bench(play).driver.refused is None


def test_a_message_that_fits_no_datagram_is_counted_and_the_rest_goes_on() -> None:
    small = ProbeRequest(session=SessionId(1), timestamp=6)
    large = ProbeRequest(session=SessionId(1), timestamp=1 << 64)

    def play(bench: Bench) -> None:
        bench.host.answers[Start] = [Send(large, PEER), Send(small, PEER)]
        bench.driver.local(Start())

    bench = on_bench(play)
    assert [bytes(sent.data) for sent in bench.socket.sent] == [encode(small)]
    assert bench.driver.counters["unsent"] == 1 and bench.driver.counters["control_sent"] == 1


def test_what_is_due_is_done_by_the_host_before_the_forwarder() -> None:
    done: list[str] = []

    def play(bench: Bench) -> None:
        def host(now: Instant) -> list[Action]:
            done.append("host")
            return []

        def forwarder(now: Instant) -> tuple[Outcome, list[Silent]]:
            done.append("forwarder")
            return Outcome(), []

        bench.host.wake = host  # type: ignore[method-assign]
        bench.forwarder.wake = forwarder  # type: ignore[method-assign]
        bench.driver.wake(1.0)

    on_bench(play)
    assert done == ["host", "forwarder"]


def test_who_is_called_unreachable_enters_the_host_by_its_one_door() -> None:
    async def main() -> None:
        bench = Bench()
        running = asyncio.ensure_future(bench.driver.run())
        await asyncio.sleep(0)
        bench.socket.report(PEER)
        assert (Unreachable(PEER), SELF) in bench.host.inputs
        bench.host.answers[Unreachable] = [Subscribe(interest(GROUP))]  # type: ignore[list-item]
        bench.socket.report(PEER)
        with pytest.raises(AssertionError, match="EndHost alone"):
            await asyncio.wait_for(running, 5)

    asyncio.run(main())


def test_a_callback_that_fails_ends_the_run_and_shows() -> None:
    def broken() -> None:
        raise ZeroDivisionError("ours")

    async def main() -> None:
        bench = Bench()
        asyncio.get_running_loop().call_soon(bench.driver.guarded(broken))
        with pytest.raises(ZeroDivisionError, match="ours"):
            await asyncio.wait_for(bench.driver.run(), 5)

    asyncio.run(main())


def test_a_fault_of_our_own_ends_the_run_and_shows() -> None:
    async def main() -> None:
        bench = Bench()
        running = asyncio.ensure_future(bench.driver.run())
        bench.driver.fail(ZeroDivisionError("ours"))
        with pytest.raises(ZeroDivisionError, match="ours"):
            await asyncio.wait_for(running, 5)

    asyncio.run(main())


def test_deliveries_without_an_edge_go_nowhere() -> None:
    bench = on_bench(lambda bench: bench.driver.carry_out(Outcome([], [Delivery(DATA, 24, GROUP)])))
    assert bench.socket.sent == []
