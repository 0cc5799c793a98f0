"""Hosts for the policies' tests: drawn by hypothesis, and made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from hypothesis import strategies as st

from dmmp.messages.common import HostFlag, HostRecord
from dmmp.parameters import Parameters
from dmmp.types import Endpoint, HostId

PARAMETERS = Parameters()


def record(number: int, out_degree: int = 4, free: int = 4, **fields: int) -> HostRecord:
    """Make the host with this number."""
    where = Endpoint(ip_address(0x0A000000 + number), 47700)
    return HostRecord(
        host=HostId(number), endpoint=where, out_degree=out_degree, free_slots=free, **fields
    )


def ids(hosts: Sequence[HostRecord]) -> list[int]:
    """Return the hosts' ids in their order."""
    return [host.host for host in hosts]


@st.composite
def hosts(draw: st.DrawFn, at_least: int = 0, at_most: int = 40) -> list[HostRecord]:
    """Draw hosts of different ids, in any order."""
    numbers = draw(
        st.lists(st.integers(1, 1 << 16), min_size=at_least, max_size=at_most, unique=True)
    )
    return [
        record(
            number,
            draw(st.integers(0, 12)),
            draw(st.integers(0, 5)),
            uptime=draw(st.integers(0, 5)),
            depth=draw(st.integers(1, 6)),
            flags=draw(st.sampled_from((HostFlag.NONE, HostFlag.OFFERS))),
        )
        for number in numbers
    ]
