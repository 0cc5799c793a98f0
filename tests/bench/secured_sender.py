"""A source for the secured benches: `… secured_sender WAY FROM TO BYTES RATE SECONDS`.

Seals and signs everything before the clock runs, as `Forwarder` and driver do it, then sends at the
rate, in bursts of one send each. BYTES are those of a program's datagram, which travels as an IP
packet. At the end it says how many of them it sent.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from ipaddress import ip_address

from dmmp.actions import Branch, ForwardingEntry, Install
from dmmp.forwarding.burst import Outcome, Transmit, group, split
from dmmp.interest import interest
from dmmp.runtime.locate import parse_endpoint
from dmmp.security.gate import goes_sealed
from dmmp.tun.packets import wrap_udp
from dmmp.types import Endpoint
from tests.bench.relay_node import GROUP, ORIGIN, PROGRAM, SESSION, TREE
from tests.bench.secured_parts import PORT, UNGUARDED, association, forwarder

BATCH = 47
"""Packets that go at once: as many as fit one send, sealed."""
UDP_SEGMENT = 103


def main(words: list[str]) -> None:
    """Prepare, send, and say what was sent."""
    way, at, to, size, rate, seconds = words
    start, target = parse_endpoint(at), parse_endpoint(to)
    packets = int(float(rate) * float(seconds))
    rounds = prepared(way, target, int(size), packets)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind((str(start.address), start.port))
        place = (str(target.address), target.port)
        for transmit in rounds[0]:
            send(opened, transmit, place)
        time.sleep(0.2)
        begun = time.monotonic()
        for number, transmits in enumerate(rounds[1:]):
            due = begun + number * BATCH / float(rate)
            while (early := due - time.monotonic()) > 0:
                time.sleep(early)
            for transmit in transmits:
                send(opened, transmit, place)
        took = time.monotonic() - begun
    sent = (len(rounds) - 1) * BATCH
    print(json.dumps({"sent": sent, "seconds": took}), flush=True)


def prepared(way: str, to: Endpoint, size: int, packets: int) -> list[list[Transmit]]:
    """Make what is to be sent: announcements first, then batches."""
    now = time.monotonic()
    source = forwarder(way, now, seals=True)
    packet = wrap_udp(Endpoint(PROGRAM, PORT), Endpoint(GROUP, PORT), bytes(size))
    child = Branch(Endpoint(ip_address(str(to.address)), to.port), (interest(GROUP),))
    entry = ForwardingEntry(SESSION, tree_version=TREE, downstream=(child,), me=ORIGIN)
    source.apply(Install(entry), now)

    def originate(count: int) -> Outcome:
        nonlocal now
        # Each batch finds the time for its own signature.
        now += 0.0201
        return source.originate(SESSION, ORIGIN, TREE, GROUP, PROGRAM, [packet] * count, now)

    link = association(0, to, now, near=True)

    def sealed(transmits: list[Transmit]) -> list[Transmit]:
        """Seal what goes so, one send for what is ahead of a burst, as a parent does it."""
        found: list[Transmit] = []
        waiting: list[bytes] = []
        for each in transmits:
            if way not in UNGUARDED and goes_sealed(each.data):
                segments = split(each.data, each.stride)
                waiting += [link.seal(bytes(segment), now) for segment in segments]
                continue
            found += [Transmit(*burst, to) for burst in group(waiting)]
            waiting = []
            found.append(each)
        return found + [Transmit(*burst, to) for burst in group(waiting)]

    rounds = [sealed(originate(1).transmits)]
    for _ in range(packets // BATCH):
        rounds.append(sealed(originate(BATCH).transmits))
    return rounds


def send(opened: socket.socket, transmit: Transmit, place: tuple[str, int]) -> None:
    """Send a burst with one call."""
    if len(transmit.data) <= transmit.stride:
        opened.sendto(transmit.data, place)
        return
    segment = transmit.stride.to_bytes(2, sys.byteorder)
    control = [(socket.IPPROTO_UDP, UDP_SEGMENT, segment)]
    opened.sendmsg([transmit.data], control, 0, place)


if __name__ == "__main__":
    main(sys.argv[1:])
