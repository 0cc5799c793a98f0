"""A path on which packets overtake each other: it holds each packet of a TUN for a while.

Run by path, with the standard library only, in the router's namespace (`reordering`). netem does
the same, in kernels that have it.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import time
from typing import Final

DEVICE: Final = "hold0"
LEAST, MOST = 0.015, 0.06
"""How long a packet is held, seconds; the stream has one every 0.01."""

TUNSETIFF: Final = 0x400454CA
IFF_TUN_NO_PI: Final = 0x1001


def hold() -> None:
    """Make the device, and give back what comes from it, each packet after a time of its own."""
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN_NO_PI))
    waiting: list[tuple[float, int, bytes]] = []
    count = 0
    while True:
        wait = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        if select.select([device], [], [], wait)[0]:
            due = time.monotonic() + random.uniform(LEAST, MOST)
            count += 1
            heapq.heappush(waiting, (due, count, os.read(device, 65536)))
        while waiting and waiting[0][0] <= time.monotonic():
            os.write(device, heapq.heappop(waiting)[2])


if __name__ == "__main__":
    hold()
