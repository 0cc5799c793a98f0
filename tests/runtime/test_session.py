"""A whole session over real sockets on loopback, with TUNs in memory."""

from __future__ import annotations

import asyncio
import time

import pytest

from dmmp.events import Left, Registered
from dmmp.runtime.traffic import REASONS, TOTALS, traffic_document
from tests.marks import slow
from tests.runtime.loopback import GROUP, Session, joined, left, session, until

COUNT = 600
BATCH = 20


def payloads(count: int = COUNT) -> list[bytes]:
    return [number.to_bytes(4) + bytes(1000 + number % 7) for number in range(count)]


def unwanted(running: Session) -> int:
    """Count what the source dropped because nobody had joined."""
    drops: dict[str, int] = traffic_document(running.source.driver)["drops"]
    return drops["no_members"]


async def play(running: Session, sent: list[bytes]) -> list[list[bytes]]:
    """Send in small batches; give what each member heard once nothing more is under way."""
    heard: list[list[bytes]] = [[] for _ in running.members]

    def complete() -> bool:
        for member, list_ in zip(running.members, heard, strict=True):
            list_ += member.heard()
        return all(len(list_) >= len(sent) for list_ in heard)

    for at in range(0, len(sent), BATCH):
        running.source.send(GROUP, sent[at : at + BATCH])
        await asyncio.sleep(0)
    await until(complete)
    return heard


@pytest.mark.parametrize("datapath", ["batched", *slow("portable")])
def test_every_member_hears_every_packet_in_order(datapath: str) -> None:
    async def main() -> None:
        async with session(4, datapath) as running:
            for member in running.members:
                member.tun.inject(joined(GROUP, member.address.ip))
            await until(lambda: all(member.view.groups for member in running.members))
            await until(lambda: running.source.view.subtree_groups)
            sent = payloads()
            for heard in await play(running, sent):
                assert heard == sent

    asyncio.run(main())


@pytest.mark.slow
def test_a_group_that_nobody_joined_costs_nothing_and_a_leave_ends_it() -> None:
    async def main() -> None:
        async with session(2, "batched") as running:
            member, other = running.members
            running.source.send(GROUP, payloads(10))
            await until(lambda: unwanted(running) == 10)
            assert traffic_document(running.source.driver)["counters"]["originated"] == 0
            member.tun.inject(joined(GROUP, member.address.ip))
            await until(lambda: running.source.view.subtree_groups)
            sent = payloads(20)
            running.source.send(GROUP, sent)
            heard: list[bytes] = []

            def complete() -> bool:
                heard.extend(member.heard())
                return len(heard) == len(sent)

            await until(complete)
            assert heard == sent and other.heard() == []
            member.tun.inject(left(GROUP, member.address.ip))
            await until(lambda: not running.source.view.subtree_groups)

            def is_dropped() -> bool:
                # For two seconds it is kept for whoever comes back.
                running.source.send(GROUP, payloads(1))
                return unwanted(running) > 10

            await until(is_dropped)
            assert other.heard() == member.heard() == []

    asyncio.run(main())


def test_what_show_counts_adds_up() -> None:
    async def main() -> None:
        async with session(1, "batched") as running:
            member = running.members[0]
            member.tun.inject(joined(GROUP, member.address.ip))
            await until(lambda: running.source.view.subtree_groups)
            await play(running, payloads(40))
            document = traffic_document(member.driver)
            assert set(TOTALS) <= set(document["counters"])
            assert set(REASONS) <= set(document["drops"])
            assert document["counters"]["delivered"] == 40
            assert document["counters"]["lost"] == document["counters"]["duplicates"] == 0
            assert document["per_group"][str(GROUP)]["delivered"] == 40
            assert document["edge"]["written"] >= 40
            assert document["queues"] == []
            running.source.driver.socket.lost(member.driver.socket.local)
            address = str(member.driver.socket.local)
            assert traffic_document(running.source.driver)["queues"] == [
                {"address": address, "waiting": 0, "dropped": 0, "paced": True}
            ]

    asyncio.run(main())


@pytest.mark.slow
def test_stopping_leaves_in_good_order_and_quickly() -> None:
    async def main() -> tuple[Session, float]:
        async with session(2, "batched") as running:
            begun = time.monotonic()
        return running, time.monotonic() - begun

    running, seconds = asyncio.run(main())
    for node in running.nodes:
        assert any(isinstance(event, Registered) for event in node.events)
    assert any(isinstance(event, Left) for event in running.members[0].events)
    assert seconds < 10
