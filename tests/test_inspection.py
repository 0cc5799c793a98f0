"""Inspection agrees with `decode` on every datagram; captures are read as tcpdump writes them."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings

from dmmp.captures import Captured, packets_of_capture
from dmmp.errors import DecodeError, DecodeReason
from dmmp.inspection import describe, inner_line, option_table
from dmmp.messages import REGISTRY, Message, SourceRequest, decode, encode
from dmmp.messages.common import HostFlag, HostRecord
from dmmp.messages.header import HEADER_BYTES
from dmmp.tun.packets import ip_packet, wrap_udp
from dmmp.types import STUN_MAGIC, Endpoint
from tests.examples import examples
from tests.mutations import datagrams
from tests.strategies import messages

EXAMPLES = dict(examples())
SENDER = Endpoint(ip_address("192.0.2.1"), 47700)
RECEIVER = Endpoint(ip_address("192.0.2.2"), 4000)
SENDER_V6 = Endpoint(ip_address("2001:db8::1"), 47700)
RECEIVER_V6 = Endpoint(ip_address("2001:db8::2"), 4000)


@settings(max_examples=60)
@given(message=messages())
def test_rows_tell_every_byte_once(message: Message) -> None:
    datagram = encode(message)
    found = describe(datagram)
    assert found.fault is None
    assert found.name == type(message).__name__
    assert "".join(row.octets for row in found.rows) == datagram.hex()
    assert all(row.field and row.value != "not read" for row in found.rows)
    names = {row.field.split("[")[0].split(".")[0] for row in found.rows[8:]} - {"tlvs"}
    assert names == set(type(message).PACKED.names)


def test_the_fault_is_what_decode_raises_and_no_byte_is_hidden() -> None:
    for datagram in datagrams(seed=3, count=3000):
        found = describe(datagram)
        assert "".join(row.octets for row in found.rows) == datagram.hex()
        assert [row.offset for row in found.rows] == sorted(row.offset for row in found.rows)
        try:
            decode(datagram)
        except DecodeError as error:
            assert found.fault is not None
            assert (found.fault.reason, found.fault.offset) == (error.reason, error.offset)
            assert str(error) in found.summary
        else:
            assert found.fault is None


def test_a_data_packet_shows_what_it_carries() -> None:
    rows = {row.field: row for row in describe(encode(EXAMPLES["an IPv4 packet"])).rows}
    assert rows["payload"].value == (
        "IPv4 10.1.2.3 > 239.10.20.30, ttl 16, UDP 49152 > 5004, 34 bytes"
    )
    assert rows["reserved"].value == "flags 0x00, key epoch 0, channel 1"
    assert rows["option"].value == "0x0000 (Data)"


def test_names_of_values_are_shown() -> None:
    rows = {
        row.field: row.value
        for row in describe(encode(EXAMPLES["refused: the applicant is above me"])).rows
    }
    assert rows["status"] == "3 (LOOP)"
    message = EXAMPLES["a super node names its successor"]
    rows = {row.field: row.value for row in describe(encode(message)).rows}
    assert rows["reason"] == "0 (SHUTDOWN)"
    host = HostRecord(flags=HostFlag.SUPER_NODE | HostFlag.RELAY_ONLY | 0x80)
    rows = {row.field: row.value for row in describe(encode(SourceRequest(host=host))).rows}
    assert rows["host.flags"] == "134 (SUPER_NODE + RELAY_ONLY)"
    changed = bytearray(encode(message))
    changed[HEADER_BYTES] = 200
    assert describe(bytes(changed)).rows[8].value == "200 (unknown)"


def test_a_cut_message_shows_what_was_readable() -> None:
    datagram = encode(EXAMPLES["child to parent with its groups"])
    cut = bytearray(datagram[:60])
    struct.pack_into("!I", cut, 20, 60 - HEADER_BYTES)
    found = describe(bytes(cut))
    assert found.fault is not None
    assert found.fault.reason is DecodeReason.TRUNCATED
    assert found.name == "RefreshRequest"
    assert [row.field for row in found.rows][-2:] == ["sender.uptime", ""]
    assert found.rows[-1].value == "not read"


def test_a_list_that_is_too_long_ends_the_reading() -> None:
    datagram = bytearray(encode(EXAMPLES["offer at depth two"]))
    count_at = HEADER_BYTES + 1 + 36 + 4
    assert datagram[count_at] == 2
    datagram[count_at] = 65
    found = describe(bytes(datagram))
    assert found.fault is not None
    assert (found.fault.reason, found.fault.offset) == (DecodeReason.VALUE, count_at)
    assert [(row.field, row.value) for row in found.rows[-2:]] == [
        ("root_path.count", "65"),
        ("", "not read"),
    ]


def test_what_is_no_message_is_named_as_such() -> None:
    stun = bytes.fromhex("00010000") + struct.pack("!I", STUN_MAGIC) + bytes(12)
    assert describe(stun).name == ""
    assert "STUN" in describe(stun).summary
    assert describe(b"").rows == ()
    assert [row.value for row in describe(b"\x01\x02\x00").rows] == ["1", "2", "not read"]
    assert describe(b"\x01\x02").name == ""


def test_inner_line_of_what_is_no_packet() -> None:
    assert inner_line(b"").startswith("0 bytes, no IP packet")
    report = ip_packet(SENDER.address, ip_address("224.0.0.22"), 2, bytes(8), ttl=1)
    assert inner_line(report) == "IPv4 192.0.2.1 > 224.0.0.22, ttl 1, protocol 2, 28 bytes"


def test_the_table_of_options_has_them_all_with_their_sections() -> None:
    table = option_table()
    assert [row.code for row in table] == sorted(REGISTRY)
    for row in table:
        assert row.meaning.endswith((".", "?")), row
        assert any(row.section.startswith(kind) for kind in ("Slide", "-0", "Decision")), row


# Captures.


def _ethernet(packet: bytes) -> bytes:
    return bytes(12) + (b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd") + packet


def _frame(link: int, packet: bytes) -> bytes:
    """Put a packet into a frame of a link type."""
    kind = b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"
    heads = {
        0: b"\x02\x00\x00\x00",
        1: bytes(12) + kind,
        101: b"",
        113: bytes(14) + kind,
        276: kind + bytes(18),
    }
    return heads[link] + packet


def _pcap(frames: list[bytes], link: int, order: str = "<", nanoseconds: bool = False) -> bytes:
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    made = struct.pack(order + "IHHIIII", magic, 2, 4, 0, 0, 65535, link)
    for frame in frames:
        made += struct.pack(order + "IIII", 1000, 500, len(frame), len(frame)) + frame
    return made


def _block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    size = 12 + len(body)
    return struct.pack(order + "II", kind, size) + body + struct.pack(order + "I", size)


def _pcapng(frames: list[bytes], link: int, order: str = "<") -> bytes:
    made = _block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    resolution = struct.pack(order + "HHB3xHH", 9, 1, 9, 0, 0)
    made += _block(order, 1, struct.pack(order + "HHI", link, 0, 65535) + resolution)
    made += _block(order, 5, bytes(12))
    for number, frame in enumerate(frames):
        head = struct.pack(order + "IIIII", 0, 0, 2_000_000_000, len(frame), len(frame))
        simple = struct.pack(order + "I", len(frame))
        made += (
            _block(order, 6, head + frame) if number % 2 == 0 else _block(order, 3, simple + frame)
        )
    return made


PAYLOADS = [encode(message) for message in EXAMPLES.values()][:6]
PACKETS = [wrap_udp(SENDER, RECEIVER, payload) for payload in PAYLOADS] + [
    wrap_udp(SENDER_V6, RECEIVER_V6, payload) for payload in PAYLOADS
]


@pytest.mark.parametrize("link", [0, 1, 101, 113, 276])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("make", [_pcap, _pcapng])
def test_every_kind_of_capture_gives_the_datagrams(make: object, order: str, link: int) -> None:
    frames = [_frame(link, packet) for packet in PACKETS]
    capture = _pcap(frames, link, order) if make is _pcap else _pcapng(frames, link, order)
    found = list(packets_of_capture(capture))
    assert [one.payload for one in found] == PAYLOADS * 2
    assert [one.number for one in found] == list(range(1, 13))
    assert found[0].source == SENDER
    assert found[0].destination == RECEIVER
    assert found[-1].source == SENDER_V6
    assert found[0].time == pytest.approx(1000.0005 if make is _pcap else 2.0)


def test_a_nanosecond_capture() -> None:
    capture = _pcap([_ethernet(PACKETS[0])], 1, nanoseconds=True)
    assert next(packets_of_capture(capture)).time == pytest.approx(1000.0000005, abs=1e-7)


def test_filter_by_port_or_by_look() -> None:
    other = wrap_udp(RECEIVER, Endpoint(SENDER.address, 53), b"a question of names")
    stun = wrap_udp(
        RECEIVER, Endpoint(SENDER.address, 3478), b"\1" + bytes(3) + b"\x21\x12\xa4\x42"
    )
    capture = _pcap([_ethernet(packet) for packet in (other, PACKETS[0], stun)], 1)
    assert [one.number for one in packets_of_capture(capture)] == [2]
    assert [one.number for one in packets_of_capture(capture, 53)] == [1]
    assert [one.number for one in packets_of_capture(capture, 4000)] == [1, 2, 3]
    assert list(packets_of_capture(capture, 9)) == []


def test_a_batch_that_the_kernel_shows_as_one_is_taken_apart() -> None:
    batch = wrap_udp(SENDER, RECEIVER, b"".join(PAYLOADS))
    found = list(packets_of_capture(_pcap([_ethernet(batch)], 1)))
    assert [one.payload for one in found] == PAYLOADS
    assert {one.number for one in found} == {1}


def test_vlan_tags_padding_fragments_and_other_frames() -> None:
    packet = PACKETS[0]
    tagged = bytes(12) + b"\x81\x00\x00\x07" + b"\x08\x00" + packet + bytes(9)
    fragment = bytearray(packet)
    fragment[6] = 0x20
    frames = [
        b"",
        b"\0" * 13,
        _ethernet(bytes(fragment)),
        bytes(12) + b"\x08\x06" + bytes(28),
        tagged,
    ]
    found = list(packets_of_capture(_pcap(frames, 1)))
    assert [(one.number, one.payload) for one in found] == [(5, PAYLOADS[0])]
    assert list(packets_of_capture(_pcap([packet], 147))) == []


@pytest.mark.parametrize(
    "capture",
    [b"", b"GIF89a", b"\xd4\xc3\xb2\xa1", b"\x0a\x0d\x0d\x0a", b"\x0a\x0d\x0d\x0a" + bytes(20)],
)
def test_what_is_no_capture_is_a_decode_error(capture: bytes) -> None:
    with pytest.raises(DecodeError):
        list(packets_of_capture(capture))


def test_a_cut_capture_gives_what_is_whole_and_then_the_error() -> None:
    capture = _pcap([_ethernet(packet) for packet in PACKETS], 1)
    found: list[Captured] = []
    with pytest.raises(DecodeError) as refused:
        for one in packets_of_capture(capture[:-1]):
            found.append(one)
    assert len(found) == len(PACKETS) - 1
    assert refused.value.reason is DecodeReason.TRUNCATED


def test_a_frame_larger_than_its_block_is_a_decode_error() -> None:
    capture = bytearray(_pcapng([_ethernet(PACKETS[0])], 1))
    (size,) = struct.unpack_from("<I", capture, capture.index(b"\x06\0\0\0") + 4)
    struct.pack_into("<I", capture, len(capture) - size + 20, size)
    with pytest.raises(DecodeError) as refused:
        list(packets_of_capture(bytes(capture)))
    assert refused.value.reason is DecodeReason.LENGTH


def test_hostile_captures_give_packets_or_a_decode_error() -> None:
    rng = Random(5)
    frames = [_ethernet(packet) for packet in PACKETS[:2] + PACKETS[-2:]]
    bases = [_pcap(frames, 1), _pcapng(frames, 1), _pcapng(frames, 1, ">"), _pcap(PACKETS, 101)]
    whole = 0
    for _ in range(4000):
        capture = bytearray(rng.choice(bases))
        for _ in range(rng.randrange(1, 6)):
            capture[rng.randrange(len(capture))] = rng.randrange(256)
        del capture[rng.randrange(len(capture)) if rng.random() < 0.2 else len(capture) :]
        try:
            for one in packets_of_capture(bytes(capture), None if rng.random() < 0.5 else 4000):
                assert len(one.payload) <= len(capture)
            whole += 1
        except DecodeError as error:
            assert 0 <= error.offset <= len(capture)
    assert whole > 1000


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"dmmp-inspection{os.getpid()}"
    subprocess.run(["ip", "netns", "delete", name], capture_output=True)
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    yield name
    subprocess.run(["ip", "netns", "delete", name], check=True)


SENDER_PROGRAM = """
import socket, sys
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        for payload in sys.argv[1:]:
            sender.sendto(bytes.fromhex(payload), (address, 47700))
"""


@pytest.mark.namespace
@pytest.mark.parametrize(("interface", "link"), [("lo", 1), ("any", 276)])
def test_a_capture_by_tcpdump(namespace: str, tmp_path: Path, interface: str, link: int) -> None:
    """What the real program wrote of real datagrams, over Ethernet's look and the cooked one."""
    capture = tmp_path / "real.pcap"
    inside = ["ip", "netns", "exec", namespace]
    listen = [*inside, "tcpdump", "-i", interface, "-U", "-w", str(capture), "udp port 47700"]
    with subprocess.Popen(listen, stderr=subprocess.PIPE, text=True) as tcpdump:
        assert tcpdump.stderr is not None
        try:
            assert any("listening on" in line for line in tcpdump.stderr)
            send = [*inside, sys.executable, "-c", SENDER_PROGRAM]
            subprocess.run([*send, *[payload.hex() for payload in PAYLOADS]], check=True)
            found = _read_when_complete(capture)
        finally:
            tcpdump.terminate()
    assert struct.unpack_from("<I", capture.read_bytes(), 20)[0] == link
    for address in ("127.0.0.1", "::1"):
        heard = [one.payload for one in found if one.destination == (ip_address(address), 47700)]
        assert list(dict.fromkeys(heard)) == PAYLOADS
    assert all(describe(one.payload).fault is None for one in found)


def _read_when_complete(capture: Path) -> list[Captured]:
    """Read the capture as soon as it holds the last datagram; tcpdump writes when it likes."""
    deadline = time.monotonic() + 10
    while True:
        found: list[Captured] = []
        try:
            for one in packets_of_capture(capture.read_bytes(), 47700):
                found.append(one)
        except DecodeError:
            pass
        if {one.payload for one in found if one.source.address.version == 6} >= set(PAYLOADS):
            return found
        assert time.monotonic() < deadline, "tcpdump did not write the datagrams"
        time.sleep(0.02)
