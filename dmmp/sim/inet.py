"""The Inet graph of 3,000 routers, for repeating the Nemo papers' set-up.

The file is not part of the project: it is looked for in `shared/data` beside the clone. It is an
archive of NumPy's; only the list of links is read, so NumPy is not needed. Each link gets a delay
of 1 to 4 ms by seed, hosts stand on random routers, and the way is the one of least delay.
"""

from __future__ import annotations

import ast
import struct
import zipfile
from array import array
from heapq import heappop, heappush
from pathlib import Path
from random import Random

from dmmp.errors import UsageError

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
"""Where data of others is kept, beside the clone."""

LINK_US = (1_000, 4_000)
"""Delay of a link, as in the papers."""

SAME_ROUTER_US = 100
"""Between two hosts on one router."""

_CODES = {"u1": "B", "u2": "H", "u4": "I", "i2": "h", "i4": "i", "i8": "q", "u8": "Q"}
_MAGIC = b"\x93NUMPY"


class Inet:
    """Hosts on random routers of the graph."""

    def __init__(self, rng: Random, path: Path | None = None) -> None:
        self._rng = rng
        self._places: list[int] = []
        self._from: dict[int, list[int]] = {}
        edges = read_edges(path or DATA / "inet3000.npz")
        self._links: list[list[tuple[int, int]]] = [[] for _ in range(1 + max(map(max, edges)))]
        for one, other in edges:
            delay = rng.randrange(LINK_US[0], LINK_US[1] + 1)
            self._links[one].append((other, delay))
            self._links[other].append((one, delay))

    def attach(self) -> int:
        """Give out the next place."""
        self._places.append(self._rng.randrange(len(self._links)))
        return len(self._places) - 1

    def delay_us(self, first: int, second: int) -> int:
        """Return the one-way delay between two places, in microseconds."""
        one, other = self._places[first], self._places[second]
        if one == other:
            return SAME_ROUTER_US
        # The same both ways, and only one of the two needs to be worked out.
        if one > other:
            one, other = other, one
        delays = self._from.get(one)
        if delays is None:
            delays = self._from[one] = self._delays(one)
        return delays[other]

    def _delays(self, start: int) -> list[int]:
        """Work out the least delays from one router to all (Dijkstra)."""
        links = self._links
        far = 1 << 62
        delays = [far] * len(links)
        delays[start] = 0
        heap = [(0, start)]
        while heap:
            delay, router = heappop(heap)
            if delay > delays[router]:
                continue
            for other, more in links[router]:
                through = delay + more
                if through < delays[other]:
                    delays[other] = through
                    heappush(heap, (through, other))
        return delays


def read_edges(path: Path) -> list[tuple[int, int]]:
    """Read the links of a graph from an archive of arrays."""
    try:
        with zipfile.ZipFile(path) as archive:
            data = archive.read("edges.npy")
    except FileNotFoundError:
        raise UsageError(
            f"topology inet3000 needs {path}, a graph of the Inet generator that is not part "
            "of the project; without it take transit-stub"
        ) from None
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: is no archive with a list of links: {error}") from None
    return _pairs(data, path)


def _pairs(data: bytes, path: Path) -> list[tuple[int, int]]:
    """Take the pairs out of one array in NumPy's file format, version 1."""
    try:
        if data[:6] != _MAGIC or data[6] != 1:
            raise ValueError("another version of the format")
        (length,) = struct.unpack_from("<H", data, 8)
        header = ast.literal_eval(data[10 : 10 + length].decode("latin-1"))
        order, code = header["descr"][0], _CODES[header["descr"][1:]]
        rows, columns = header["shape"]
        if columns != 2 or header["fortran_order"] or order not in "<|":
            raise ValueError("no list of pairs")
        numbers = array(code)
        numbers.frombytes(data[10 + length : 10 + length + rows * 2 * numbers.itemsize])
        if len(numbers) != 2 * rows or min(numbers) < 0:
            raise ValueError("cut off")
    except (ValueError, KeyError, IndexError, TypeError, SyntaxError, struct.error) as error:
        raise UsageError(f"{path}: edges: {error}") from None
    return list(zip(numbers[0::2], numbers[1::2], strict=True))
