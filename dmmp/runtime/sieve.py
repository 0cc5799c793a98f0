"""The sieve: has the kernel drop a share of a flood of handshake openings before they are queued.

What a host cannot answer would fill the socket's buffer, and everybody's datagrams would wait
behind it or be dropped with it. So while the flood is more than is answered, a filter on the socket
(classic BPF; Linux) lets in a share of the openings, drawn by lot: who tries again gets in soon,
and nothing else waits or is lost. Openings that bear a cookie have a share of their own, which is
all of them unless the flood pretends to bear cookies. No lot falls to anything else.
"""

from __future__ import annotations

import ctypes
import socket
import struct

from dmmp.messages.options import Option
from dmmp.security.cookies import NO_MAC
from dmmp.security.handshakes import INITIATION_LEAST, prefix

BACKLOG_BYTES = 1 << 20
"""What may lie in the socket: some 800 openings, 15 to 30 ms of work. Less would be taken for too
much whenever this process did not run for a moment."""

QUEUED_BYTES = 1280
"""What one opening takes of that, with what the kernel adds (measured, Linux 6.18)."""

LEAST_SHARE = 1 / 256
LESS, MORE, MUCH_MORE = 0.8, 1.03, 1.2
"""How far a share goes down and up in a step: up slowly, so that it stays near what is answered,
but for where next to nothing waits."""

CATCH_UP = 10
"""Steps in which what lies there too much is to be gone; if it goes so fast, nothing is changed."""

LEAST_PART = 0.25
"""And no further down than to this part of what was taken: the rest is for what lies there."""

_SO_ATTACH_FILTER, _SO_DETACH_FILTER, _SO_MEMINFO = 26, 27, 55
_MEMINFO = struct.Struct("9I")
_STEP = struct.Struct("=HBBI")
_PROGRAM = struct.Struct("@HP")
_LOAD, _LOAD_AT, _LENGTH, _TO_INDEX, _MINUS = 0x20, 0x40, 0x80, 0x07, 0x14
_EQUAL, _GREATER, _AT_LEAST, _GIVE = 0x15, 0x25, 0x35, 0x06
_RANDOM = 0xFFFFF000 + 56
_EVERYTHING, _NOTHING = 0xFFFFFFFF, 0
_UDP_HEADER_BYTES = 8

Step = tuple[int, int, int, int]


def program(plain: float, bearing: float) -> list[Step]:
    """Make the filter that lets in these shares of openings without and with a mac2."""
    head = prefix(Option.HANDSHAKE_INITIATION)
    steps: list[Step] = [
        (_LENGTH, 0, 0, 0),
        (_AT_LEAST, 0, 19, _UDP_HEADER_BYTES + INITIATION_LEAST),
        (_LOAD, 0, 0, _UDP_HEADER_BYTES),
        (_EQUAL, 0, 17, int.from_bytes(head[:4])),
        (_LOAD, 0, 0, _UDP_HEADER_BYTES + 4),
        (_EQUAL, 0, 15, int.from_bytes(head[4:])),
        (_LENGTH, 0, 0, 0),
        (_MINUS, 0, 0, len(NO_MAC)),
        (_TO_INDEX, 0, 0, 0),
    ]
    for at in range(0, len(NO_MAC), 4):
        # Past the words that are left, and what is done with who has no mac2.
        steps += [(_LOAD_AT, 0, 0, at), (_EQUAL, 0, 8 - at // 2, 0)]
    return [
        *steps,
        (_LOAD, 0, 0, _RANDOM),
        (_GREATER, 3, 2, _threshold(plain)),
        (_LOAD, 0, 0, _RANDOM),
        (_GREATER, 1, 0, _threshold(bearing)),
        (_GIVE, 0, 0, _EVERYTHING),
        (_GIVE, 0, 0, _NOTHING),
    ]


def _threshold(share: float) -> int:
    return min(_EVERYTHING, int(share * 2**32))


class Sieve:
    """The filter of one socket; where there is no such thing, nothing is sieved."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._is_attached = False

    def look(self) -> tuple[int, int]:
        """Give how many bytes lie in the socket's buffer, and how many datagrams were dropped.

        Those that the filter drops are among them. 0 where nothing is known.
        """
        try:
            given = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
            found = _MEMINFO.unpack(given)
        except (OSError, struct.error):
            return 0, 0
        return int(found[0]), int(found[8])

    def set(self, plain: float, bearing: float) -> None:
        """Let in these shares from now on."""
        is_wanted = plain < 1 or bearing < 1
        if not is_wanted and not self._is_attached:
            return
        try:
            if is_wanted:
                code = b"".join(_STEP.pack(*step) for step in program(plain, bearing))
                memory = ctypes.create_string_buffer(code, len(code))
                pointer = ctypes.addressof(memory)
                given = _PROGRAM.pack(len(code) // _STEP.size, pointer)
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, given)
            else:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
            self._is_attached = is_wanted
        except OSError:
            # Another system, or a socket that was closed.
            pass


class Shares:
    """What share of openings is let in, without a mac2 and with one; changed from step to step."""

    def __init__(self) -> None:
        self.plain = self.bearing = 1.0
        self.dropped = self._backlog = 0

    @property
    def are_whole(self) -> bool:
        """Tell whether everything is let in."""
        return self.plain >= 1 and self.bearing >= 1

    def begin(self, backlog: int, dropped: int) -> None:
        """Take note of what `Sieve.look` gives before the first step."""
        self._backlog, self.dropped = backlog, dropped

    def adjust(self, backlog: int, dropped: int, plain: int, bearing: int, refused: int) -> None:
        """Take note of what a step has brought: what `Sieve.look` gives, strangers of both kinds.

        `bearing` are those whose mac2 was false, `refused` those who found no answer left. The kind
        that there is more of is thinned out.
        """
        taken, grown = plain + bearing, (backlog - self._backlog) // QUEUED_BYTES
        # The kernel gives room free late, so this may be too much, for a step.
        offered = taken + max(0, grown) + (dropped - self.dropped)
        self._backlog, self.dropped = backlog, dropped
        excess = (backlog - BACKLOG_BYTES) // QUEUED_BYTES
        if (excess > 0 and CATCH_UP * grown > -excess) or 2 * refused > taken:
            least = max(LEAST_SHARE, LEAST_PART * (taken - refused) / max(1, offered))
            if bearing > plain:
                self.bearing = min(self.bearing, max(least, self.bearing * LESS))
            else:
                self.plain = min(self.plain, max(least, self.plain * LESS))
        elif not taken and not backlog:
            self.plain = self.bearing = 1.0
        elif backlog < BACKLOG_BYTES // 2:
            more = MORE if backlog > BACKLOG_BYTES // 16 else MUCH_MORE
            self.plain, self.bearing = min(1.0, self.plain * more), min(1.0, self.bearing * more)
