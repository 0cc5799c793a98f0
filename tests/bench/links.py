"""How a link treats bursts: `python -m tests.bench.links wire eth0`, run in its namespace.

`wire`: every burst is cut into packets before it leaves, as a card without offload does, and the
receiving side may put them together again (GRO). The kernel's ethtool calls, without ethtool.
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
import sys

SIOCETHTOOL = 0x8946
SET_TSO, SET_GRO = 0x1F, 0x2C


def switch(name: str, command: int, on: bool) -> None:
    """Set one of a device's features (ethtool(8), linux/ethtool.h)."""
    value = ctypes.create_string_buffer(struct.pack("II", command, on))
    request = struct.pack("16sP", name.encode(), ctypes.addressof(value)).ljust(40, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, SIOCETHTOOL, request)


if __name__ == "__main__":
    for device in sys.argv[1:]:
        # A virtual link hands its packets to GRO only where the sender's TSO is off.
        switch(device, SET_TSO, False)
        switch(device, SET_GRO, True)
