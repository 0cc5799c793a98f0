"""What a socket brings, to wait for."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from dmmp.forwarding.burst import Burst
from dmmp.runtime.sockets import DatagramSocket

Inbox = asyncio.Queue[list[Burst] | BaseException]
_INBOXES: WeakKeyDictionary[DatagramSocket, Inbox] = WeakKeyDictionary()


def listen(opened: DatagramSocket) -> Inbox:
    """Start a socket, unless it was, so that it also notices errors."""
    inbox = _INBOXES.get(opened)
    if inbox is None:
        inbox = _INBOXES[opened] = asyncio.Queue()
        opened.start(inbox.put_nowait, inbox.put_nowait)
    return inbox


async def receive(opened: DatagramSocket, seconds: float = 10) -> list[Burst]:
    """Wait for datagrams of a socket, which is started if need be; raise what its reader raised."""
    got = await asyncio.wait_for(listen(opened).get(), seconds)
    if isinstance(got, BaseException):
        raise got
    return got
