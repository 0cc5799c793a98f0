"""The driver: probes of paths go whole, and what they found goes to the socket (RFC 8899)."""

from __future__ import annotations

import asyncio

from dmmp.actions import PathMtu, Report, Send
from dmmp.events import Left
from dmmp.forwarding.burst import Outcome, Transmit
from dmmp.messages import ProbeRequest, Tlv, encode
from dmmp.messages.local import Carries, LocalMessage, Start, Stop, TooLarge
from dmmp.types import SessionId
from tests.runtime.test_driver import PEER, Bench, on_bench


def probe_of(size: int) -> ProbeRequest:
    """Make a probe of so many bytes."""
    return ProbeRequest(session=SessionId(1), timestamp=6, tlvs=(Tlv(0x8001, bytes(size - 36)),))


def test_probes_of_paths_go_whole_and_what_is_found_to_the_socket() -> None:
    def play(bench: Bench) -> None:
        bench.host.answers[Start] = [Send(probe_of(1472), PEER, whole=True), PathMtu(PEER, 1172)]
        bench.driver.local(Start())

    bench = on_bench(play)
    assert bench.socket.probes == [(encode(probe_of(1472)), PEER)] and bench.socket.sent == []
    assert bench.socket.limits == [(PEER, 1172)]
    assert bench.driver.counters["control_sent"] == 1


def test_the_host_learns_at_once_what_its_own_interface_cannot_send() -> None:
    def play(bench: Bench) -> None:
        bench.host.answers[Start] = [Send(probe_of(1476), PEER, whole=True)]
        bench.host.answers[TooLarge] = [Send(probe_of(1400), PEER, whole=True)]
        bench.driver.local(Start())

    bench = on_bench(play)
    assert bench.locals() == [Start(), TooLarge(PEER)]
    assert [len(datagram) for datagram, _ in bench.socket.probes] == [1476, 1400]


def test_paths_are_searched_for_the_largest_datagrams_there_are() -> None:
    def send(size: int) -> None:
        bench.driver.carry_out(Outcome([Transmit(bytes(size), size, PEER)]))

    async def main() -> None:
        running = asyncio.ensure_future(bench.driver.run())
        await asyncio.sleep(0)
        for size in (1404, 1404, 8924, 8924, 500):
            send(size)
        bench.socket.report_size(PEER, 1372)
        bench.socket.report_size(PEER, 0)
        bench.host.answers[Stop] = [Report(Left())]
        bench.driver.stop()
        await asyncio.wait_for(running, 5)

    bench = Bench()
    bench.driver.datagram_bytes = 1400
    asyncio.run(main())
    expected: list[LocalMessage] = [Start(), Carries(1400), Carries(1404), Carries(8924)]
    expected += [TooLarge(PEER, 1372), TooLarge(PEER, 1), Stop()]
    assert bench.locals() == expected


def test_a_driver_that_is_told_no_size_has_no_path_searched() -> None:
    def play(bench: Bench) -> None:
        bench.driver.carry_out(Outcome([Transmit(bytes(9000), 9000, PEER)]))

    assert on_bench(play).locals() == []
