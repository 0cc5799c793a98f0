"""What is too large for a path arrives in fragments, what fits goes with Don't-Fragment.

Over a loopback device of 1400 bytes, in a network of its own; both datapaths, both IP versions.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
import subprocess
import sys
from ipaddress import ip_address

import pytest

from dmmp.runtime.binding import bind
from dmmp.runtime.errorqueue import QUIET, ErrorQueue
from dmmp.runtime.fragments import LIMITS_LIMIT, WHOLE_BYTES, Fragments
from dmmp.runtime.sockets import endpoint_of, new_counters
from dmmp.types import Endpoint
from tests.runtime.loopback import ANY_PORT
from tests.runtime.test_sockets import DATAPATHS

IP_MTU_DISCOVER, DONT, PROBE = 10, 0, 3
PEER = ("127.0.0.1", 9)

NARROW = """
import asyncio, sys
from ipaddress import ip_address
from dmmp.forwarding.burst import Transmit
from dmmp.runtime.sockets import open_socket
from dmmp.types import Endpoint
from tests.runtime.inbox import receive

async def arrives(other, count):
    got = []
    while sum(len(burst.data) for burst in got) < count:
        got += await receive(other, 5)
    return [bytes(burst.data) for burst in got]

async def main(datapath, bound, heard):
    one = await open_socket(Endpoint(ip_address(bound), 0), datapath)
    other = await open_socket(Endpoint(ip_address(heard), 0), datapath)
    to, drops = other.local, one.counters
    burst = b"".join(bytes([number]) * 1400 for number in range(8))
    # Nothing known; known too narrow; known wrongly, which this host's own interface tells.
    for limit in (0, 1232, 1400):
        one.set_path_mtu(to, limit)
        one.send([Transmit(burst, 1400, to), Transmit(bytes(1400), 1400, to)])
        assert b"".join(await arrives(other, 9 * 1400)) == burst + bytes(1400), limit
        one.send_control(b"c" * 60000, to)
        assert await arrives(other, 60000) == [b"c" * 60000]
    one.set_path_mtu(to, 1300)
    one.send([Transmit(bytes(2600), 1300, to)])
    assert sum(map(len, await arrives(other, 2600))) == 2600
    assert one.send_probe(bytes(1348), to) and not one.send_probe(bytes(1376), to)
    assert await arrives(other, 1348) == [bytes(1348)]
    assert not drops["too_big"] and not drops["send_failed"], drops
    one.send([Transmit(bytes(65530), 65530, to)])
    assert drops["too_big"] == 1, drops

asyncio.run(main(*sys.argv[1:]))
"""


@DATAPATHS
@pytest.mark.parametrize(
    ("bound", "heard"), [("127.0.0.1", "127.0.0.1"), ("::", "127.0.0.1"), ("::", "::1")]
)
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a network of its own")
def test_what_is_too_large_arrives_in_fragments(datapath: str, bound: str, heard: str) -> None:
    program = shlex.join([sys.executable, "-c", NARROW, datapath, bound, heard])
    inside = f"ip link set lo mtu 1400 up && exec {program}"
    done = subprocess.run(["unshare", "-n", "sh", "-c", inside], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="socket options of Linux")
def test_options_are_switched_where_datagrams_differ_and_not_elsewhere() -> None:
    with bind(ANY_PORT) as opened:
        fragments = Fragments(opened)

        def mode() -> int:
            return opened.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER)

        fragments.before(PEER, 5000)
        assert mode() == DONT
        fragments.limit(PEER, 5000)
        fragments.before(PEER, 5000)
        assert mode() == PROBE
        fragments.before(PEER, 5001)
        assert mode() == DONT
        # What is small fits whatever is set.
        fragments.before(PEER, WHOLE_BYTES)
        assert mode() == DONT
        fragments.before(PEER, 5000)
        fragments.give_way()
        assert mode() == DONT
        fragments.limit(PEER, 0)
        fragments.before(PEER, 2000)
        assert mode() == DONT
        # An address of another family than the socket's has no kernel address.
        fragments.limit(None, 1400)


def test_limits_are_bounded() -> None:
    with bind(ANY_PORT) as opened:
        fragments = Fragments(opened)
        for port in range(LIMITS_LIMIT + 10):
            fragments.limit(("127.0.0.1", port), 1400)
        assert len(fragments._limits) == LIMITS_LIMIT


ROUTED = """
ip netns add {n}r; ip netns add {n}a; ip netns add {n}b
ip link add to1 netns {n}r type veth peer name eth0 netns {n}a
ip link add to2 netns {n}r mtu 1400 type veth peer name eth0 netns {n}b
ip netns exec {n}r sysctl -qw net.ipv4.ip_forward=1
ip -n {n}r addr add 10.1.0.1/24 dev to1; ip -n {n}r addr add 10.2.0.1/24 dev to2
ip -n {n}a addr add 10.1.0.2/24 dev eth0
for end in "{n}r dev to1" "{n}r dev to2" "{n}a dev eth0" "{n}a dev lo"; do
  set -- $end; ip -n $1 link set $3 up
done
ip -n {n}a route add default via 10.1.0.1
"""

NAMESPACE = f"dmmp-fragments-{os.getpid()}-"


@pytest.mark.namespace
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a network of its own")
def test_an_icmp_message_is_told_of_with_the_size_it_names() -> None:
    program = """
import asyncio, time
from dmmp.runtime.sockets import open_socket
from tests.runtime.inbox import listen
from dmmp.types import Endpoint
from ipaddress import ip_address
async def main():
    one = await open_socket(Endpoint(ip_address("0.0.0.0"), 0))
    told = []
    one.on_too_large(lambda endpoint, fits: told.append((str(endpoint), fits)))
    listen(one)
    to = Endpoint(ip_address("10.2.0.2"), 9)
    deadline = time.monotonic() + 5
    while not told:
        assert time.monotonic() < deadline, one.counters
        assert one.send_probe(bytes(1472), to)
        await asyncio.sleep(0.01)
    assert told == [("10.2.0.2:9", 1372)], told
asyncio.run(main())
"""
    names = [f"{NAMESPACE}{letter}" for letter in "rab"]
    try:
        subprocess.run(["sh", "-ec", ROUTED.format(n=NAMESPACE)], check=True)
        inside = ["ip", "netns", "exec", names[1], sys.executable, "-c", program]
        done = subprocess.run(inside, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def test_one_endpoint_is_told_of_once_in_a_while_for_each_reason() -> None:
    async def main() -> None:
        opened = bind(ANY_PORT)
        now = [0.0]
        queue = ErrorQueue(opened, endpoint_of, new_counters(), lambda: now[0])
        gone: list[Endpoint] = []
        queue.report = gone.append
        sizes: list[int] = []
        queue.report_size = lambda endpoint, fits: sizes.append(fits)
        for _ in range(3):
            opened.sendto(b"x", (str(ip_address("127.0.0.1")), 1))
            queue.drain()
            now[0] += 0.6 * QUIET
        assert len(gone) == 2 and not sizes
        queue.close()
        opened.close()

    asyncio.run(main())
