"""Tests of believing: manifests, signatures, tags, keys that come late, and forgers."""

from __future__ import annotations

from heapq import heapify
from random import Random

import pytest

from dmmp.forwarding.burst import Burst
from dmmp.messages import decode, encode
from dmmp.messages.data import Credential, DataRequest
from dmmp.messages.header import (
    FLAG_MANIFEST,
    FLAG_SEALED,
    FLAG_SIGNED,
    HEADER,
    HEADER_BYTES,
    VERSION,
)
from dmmp.messages.local import Forged, KeyWanted
from dmmp.messages.options import Option
from dmmp.security.data_keys import DataKeys, sealed
from dmmp.security.manifest import digests_of, signed_manifest
from tests.forwarding.build import GROUP, ORIGIN, SESSION, SOURCE, TREE
from tests.forwarding.guards import (
    OTHER_SIGNER,
    SECRET,
    Guards,
    by_manifest,
    by_tag,
    give_key,
    give_keys,
)
from tests.forwarding.overlay import Host, Links, Overlay, through_gates

KEY = SESSION << 32 | ORIGIN
MARKER = b"in clear nowhere"


def tree(guards: Guards, links: Links | None = None, seed: int = 1) -> tuple[Overlay, list[Host]]:
    """Make a source, two relays one below the other, and a leaf."""
    overlay = Overlay(Random(seed), links or Links(), guards=guards)
    hosts = [overlay.source]
    for number in range(1, 4):
        hosts.append(overlay.add(number, hosts[-1]))
        hosts[-1].repairers = ()
    give_keys(overlay)
    return overlay, hosts


@pytest.mark.parametrize("guards", [by_manifest, by_tag])
def test_sealed_data_reaches_every_program_once(guards: Guards) -> None:
    overlay, _ = tree(guards)
    overlay.stream(50, 0.01)
    overlay.originate(100)
    overlay.originate(1)
    overlay.run(overlay.now + 1)
    assert overlay.missed() == {}
    for host in overlay.hosts.values():
        dropped = host.forwarder.counters.dropped
        assert (dropped["forged"], dropped["unopened"]) == (0, 0)


@pytest.mark.parametrize("guards", [by_manifest, by_tag])
@pytest.mark.parametrize("seed", range(3))
def test_loss_and_disorder_are_repaired_under_seal(guards: Guards, seed: int) -> None:
    overlay, _ = tree(guards, Links(loss=0.05, repeat=0.05, jitter=0.004), seed)
    overlay.stream(300, 0.002)
    assert overlay.missed() == {}


def test_a_lost_manifest_is_asked_for_and_costs_no_packet() -> None:
    overlay, hosts = tree(by_manifest)
    overlay.stream(3, 0.01)
    overlay.originate(64)
    lost = [
        (at, count, sender, to, data)
        for at, count, sender, to, data in overlay.queue
        if data[16] == FLAG_MANIFEST >> 24
    ]
    assert lost
    for each in lost:
        overlay.queue.remove(each)
    overlay.run(overlay.now + 2)
    assert overlay.missed() == {}
    assert hosts[1].forwarder.counters.dropped["unproven"] == 0


def under_way(overlay: Overlay) -> list[int]:
    """List the numbers of the packets under way, without manifests."""
    return [
        int.from_bytes(data[12:16])
        for *_, data in overlay.queue
        if data[3] == Option.DATA and not data[16] & FLAG_MANIFEST >> 24
    ]


def requests_for(overlay: Overlay, numbers: list[int]) -> list[int]:
    """Note which of these numbers are asked for from now on."""
    asked: list[int] = []

    def note(datagram: bytes) -> None:
        if datagram[3] == Option.DATA_REQUEST:
            request = decode(datagram)
            assert isinstance(request, DataRequest)
            bits = int.from_bytes(request.bitmap) if request.bitmap else 0
            size = 8 * len(request.bitmap)
            asked.extend(
                number
                for number in numbers
                if 0 <= (at := number - request.base) < size and bits >> size - 1 - at & 1
            )

    overlay.on_send = note
    return asked


def stopped_manifests(overlay: Overlay) -> None:
    """Take the manifests out of what is under way."""
    for each in [each for each in overlay.queue if each[4][16] == FLAG_MANIFEST >> 24]:
        overlay.queue.remove(each)


def test_what_waits_for_a_lost_manifest_is_not_asked_for() -> None:
    overlay, hosts = tree(by_manifest)
    overlay.stream(3, 0.01)
    overlay.originate(20)
    asked = requests_for(overlay, under_way(overlay))
    stopped_manifests(overlay)
    overlay.run(overlay.now + 0.001)
    overlay.originate(20)
    overlay.run(overlay.now + 2)
    assert overlay.missed() == {} and asked == []
    assert all(host.forwarder.counters.duplicates == 0 for host in hosts)


def test_what_was_made_up_delays_the_true_packet_once() -> None:
    """A forgery that waits for its proof looks as if the packet was here: but not for long."""
    overlay, hosts = tree(by_manifest)
    overlay.stream(3, 0.01)
    overlay.originate(1)
    (lost,) = under_way(overlay)
    overlay.queue.clear()
    asked = requests_for(overlay, [lost])
    for _ in range(40):
        fake = Burst(insider(lost), len(insider(lost)), hosts[0].at)
        overlay.carry_out(hosts[1], hosts[1].forwarder.forward(fake, overlay.now))
        overlay.originate(1)
        overlay.run(overlay.now + 0.02)
    overlay.run(overlay.now + 2)
    assert lost in asked and overlay.missed() == {}


def forged(sequence: int, flags: int, payload: bytes) -> bytes:
    """Build a data packet of the source's channel 1 that a member may have made."""
    reserved = flags | 1 << 16 | 1
    return (
        HEADER.pack(VERSION, TREE, 0, SESSION, ORIGIN, sequence, reserved, len(payload)) + payload
    )


def insider(sequence: int, flags: int = 0) -> bytes:
    """Build a packet with a valid tag: whoever has the group's key can."""
    flags |= FLAG_SEALED
    size = 9 + 16 + (64 if flags & FLAG_SIGNED else 0)
    head = HEADER.pack(VERSION, TREE, 0, SESSION, ORIGIN, sequence, flags | 1 << 16 | 1, size)
    keys = DataKeys()
    keys.install(KEY, 1, SECRET, 0.0)
    cipher = keys.cipher(KEY, 1 << 16 | 1, sequence)
    assert cipher is not None
    datagram = sealed(cipher, head, b"forgeries")
    if flags & FLAG_SIGNED:
        datagram += OTHER_SIGNER.sign(b"dmmp packet 1" + datagram)
    return datagram


def manifest_of(datagrams: list[bytes], sequence: int) -> bytes:
    """List packets under the wrong signature."""
    digests = digests_of(b"".join(datagrams), len(datagrams[0]))
    first = int.from_bytes(datagrams[0][12:16])
    payload = signed_manifest(OTHER_SIGNER, KEY, 1, first, [digests])
    return forged(sequence, FLAG_MANIFEST, payload)


def test_an_insider_with_the_key_forges_in_vain() -> None:
    overlay, hosts = tree(by_manifest)
    overlay.stream(5, 0.02)
    relay, child = hosts[1], hosts[2]
    got, next_number = list(child.got), 40
    attempts = [insider(next_number + n) for n in range(8)]
    attempts += [insider(next_number + 8, FLAG_SIGNED), manifest_of(attempts[:4], next_number - 1)]
    for each in attempts:
        outcome = child.forwarder.forward(through_gates(each, relay.at), overlay.now)
        overlay.carry_out(child, outcome)
        assert not outcome.deliveries and not outcome.transmits
    overlay.run(overlay.now + 1)
    assert child.got == got
    blamed = [note for host, note in overlay.notes if host is child and isinstance(note, Forged)]
    assert {note.forger for note in blamed} == {relay.at} and len(blamed) == 2
    # What the source sends under these numbers is heard all the same.
    for _ in range(40):
        overlay.originate()
        overlay.run(overlay.now + 0.02)
    overlay.run(overlay.now + 2)
    assert overlay.missed() == {}


def test_in_anothers_name_an_insider_forges_in_vain_too_and_nobody_is_blamed() -> None:
    overlay, hosts = tree(by_manifest)
    overlay.stream(5, 0.02)
    relay, child = hosts[1], hosts[2]
    checked = child.forwarder.counters.dropped
    signed = [insider(40, FLAG_SIGNED), manifest_of([insider(42), insider(43)], 41)]
    beats = [each.heartbeat for each in child.forwarder._table.announced()]
    for each in (*signed, *beats):
        burst = Burst(each, len(each), relay.at)
        outcome = child.forwarder.forward(burst, overlay.now)
        assert not outcome.deliveries and not outcome.transmits and not outcome.notes
    assert checked["unsealed"] == len(signed) + len(beats) >= 3 and not checked["forged"]


def test_a_listed_packet_that_was_changed_is_fetched_and_nobody_blamed() -> None:
    overlay, hosts = tree(by_manifest)
    overlay.stream(3, 0.02)
    overlay.originate(10)
    overlay.run(overlay.now + 0.001)
    for at, entry in enumerate(overlay.queue):
        data = entry[4]
        if data[16] == FLAG_SEALED >> 24 and len(data) == HEADER_BYTES + 8 + 16:
            overlay.queue[at] = (*entry[:4], data[:-1] + bytes((data[-1] ^ 1,)))
            break
    else:
        raise AssertionError("no packet found")
    overlay.run(overlay.now + 2)
    assert overlay.missed() == {}
    # Whoever can forge an address may have sent it.
    assert not any(isinstance(note, Forged) for _, note in overlay.notes)
    assert hosts[1].forwarder.counters.dropped["forged"] == 1


@pytest.mark.parametrize("flip", range(0, HEADER_BYTES + 8 + 16))
@pytest.mark.parametrize("guards", [by_manifest, by_tag])
def test_no_bit_of_a_sealed_packet_can_be_changed(guards: Guards, flip: int) -> None:
    overlay, hosts = tree(guards)
    overlay.stream(3, 0.02)
    host = hosts[1]
    got = list(host.got)
    overlay.originate(2)
    overlay.run(overlay.now + 0.001)
    last = next(e for e in reversed(overlay.queue) if len(e[4]) == HEADER_BYTES + 8 + 16)
    data = bytearray(last[4])
    data[flip] ^= 1
    overlay.queue.clear()
    overlay.carry_out(
        host, host.forwarder.forward(Burst(bytes(data), len(data), overlay.source.at), overlay.now)
    )
    assert host.got == got


@pytest.mark.parametrize("guards", [by_manifest, by_tag])
def test_data_that_came_before_its_key_is_delivered_when_the_key_comes(guards: Guards) -> None:
    overlay, hosts = tree(guards)
    late = overlay.add(9, hosts[1])
    # A member asks for a key half a second to one and a half after it was needed first.
    overlay.stream(5, 0.02, settle=1.2)
    assert late.got == []
    assert any(host is late and isinstance(note, KeyWanted) for host, note in overlay.notes)
    give_key(overlay, late)
    assert overlay.missed() == {}


def test_whoever_left_opens_nothing_of_the_next_epoch() -> None:
    overlay, hosts = tree(by_manifest)
    overlay.stream(3, 0.02)
    left = hosts[3]
    got = list(left.got)
    for host in hosts[2::-1]:
        give_key(overlay, host, 2, b"f" * 32)
    for _ in range(20):
        overlay.originate()
        overlay.run(overlay.now + 0.02)
    overlay.run(overlay.now + 3)
    assert left.got == got
    assert set(overlay.missed()) == {left.at}


def test_a_relay_without_keys_checks_all_the_same() -> None:
    def guards(is_source: bool) -> object:
        return by_manifest(is_source, delivers=is_source)

    overlay = Overlay(Random(1), Links(), guards=guards)  # type: ignore[arg-type]
    relay = overlay.add(1, overlay.source)
    child = overlay.add(2, relay)
    give_key(overlay, overlay.source)
    overlay.stream(20, 0.01)
    assert relay.forwarder.snapshot()["tables"]["keys"] == 0
    assert relay.forwarder.counters.data_forwarded >= 20
    assert child.forwarder.counters.dropped["forged"] == 0


@pytest.mark.parametrize("certificate", [b"a member's", b"nobody's"])
def test_only_a_source_may_be_an_origin(certificate: bytes) -> None:
    overlay, hosts = tree(by_manifest)
    datagram = encode(Credential(session=SESSION, source=ORIGIN, certificate=certificate))
    outcome = hosts[1].forwarder.forward(through_gates(datagram, overlay.source.at), overlay.now)
    assert not outcome.transmits and not outcome.notes
    assert hosts[1].forwarder.counters.dropped["forged"] == 1


def test_the_stream_is_in_clear_nowhere() -> None:
    overlay, _ = tree(by_manifest)
    seen = bytearray()
    overlay.on_send = seen.extend
    overlay.stream(2, 0.02)
    packets = [MARKER * 4 for _ in range(100)]
    outcome = overlay.source.forwarder.originate(
        SESSION, ORIGIN, TREE, GROUP, SOURCE, packets, overlay.now
    )
    assert outcome.transmits
    overlay.carry_out(overlay.source, outcome)
    assert len(seen) > 6400 and MARKER not in seen


def test_a_source_without_a_key_sends_nothing() -> None:
    overlay = Overlay(Random(1), Links(), guards=by_manifest)
    overlay.add(1, overlay.source)
    overlay.originate(3)
    assert overlay.source.forwarder.counters.dropped["no_key"] == 3
    assert not any(data[3] == 0 for *_, data in overlay.queue)


def test_another_source_does_not_speak_for_an_origin_that_has_spoken() -> None:
    overlay, hosts = tree(by_manifest)
    overlay.stream(3, 0.02)
    datagram = encode(Credential(session=SESSION, source=ORIGIN, certificate=b"another source's"))
    child = hosts[2]
    outcome = child.forwarder.forward(through_gates(datagram, hosts[1].at), overlay.now)
    assert not outcome.transmits and child.forwarder.counters.dropped["forged"] == 1
    forgery = insider(40, FLAG_SIGNED)
    outcome = child.forwarder.forward(through_gates(forgery, hosts[1].at), overlay.now)
    assert not outcome.deliveries and child.forwarder.counters.dropped["forged"] == 2


def test_a_channel_that_upstream_announces_no_more_is_asked_for_elsewhere() -> None:
    """After a rest that was announced, a parent keeps back what the source sends, and its word."""
    overlay = Overlay(Random(1), Links(), guards=by_manifest)
    parent, other = overlay.add(1, overlay.source), overlay.add(2, overlay.source)
    leaf = overlay.add(3, parent)
    leaf.repairers = (other.at,)
    overlay.install(leaf)
    give_keys(overlay)
    overlay.stream(3, 0.01, settle=40.0)
    around: list[bytes] = []

    def note(datagram: bytes) -> None:
        if datagram[3] == Option.DATA_REQUEST:
            request = decode(datagram)
            assert isinstance(request, DataRequest)
            if not request.origin:
                around.append(datagram)

    overlay.on_send = note

    def kept_back(until: float) -> None:
        while overlay.now < until:
            overlay.run(overlay.now + 0.005)
            overlay.queue[:] = [each for each in overlay.queue if each[2] != parent.at]
            heapify(overlay.queue)

    kept_back(overlay.now + 1.0)
    assert not around
    for _ in range(300):
        overlay.originate()
        kept_back(overlay.now + 0.05)
    overlay.run(overlay.now + 2.0)
    assert around
    # What had left the cache by then is lost, nothing after that.
    assert set(range(overlay.sent - 200, overlay.sent + 1)) <= set(leaf.got)
