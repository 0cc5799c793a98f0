"""Faults planted into vectors, byte by byte: each is flagged by an expert info of its own kind."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from dmmp.messages.options import Option, TlvType
from dmmp.types import DEFAULT_PORT
from tests.wireshark.examples import (
    ASSOCIATION_LINE,
    data,
    element,
    introductions,
    measured,
    put,
    sealed,
    vector,
    with_bytes,
    without_bytes,
)
from tests.wireshark.tshark import HOST_1, HOST_2, Frame, Sent, dissected, plugin_home, tshark

pytestmark = pytest.mark.namespace

JOIN = vector("join_request")
JOINED = vector("join_response")
REFRESH = vector("refresh_request")
LINKS = vector("refresh_request", 1)
HEARTBEAT = vector("heartbeat")
LEAVE = vector("leave_report")
SEALED, HOP_SEALED = int(Option.SEALED), int(Option.HOP_SEALED)
ROOT_PATH = 65
"""Where the root path begins in a RefreshRequest and a JoinResponse: kind or status, host, id."""

INTEREST = ROOT_PATH + 1 + 2 * 4 + 1
"""Where the first Interest stands in the first vector of RefreshRequest."""


class Planted(NamedTuple):
    """What a fault is, the datagrams of which the last has it, and what else is then flagged."""

    kind: str
    what: str
    datagrams: Sequence[Sent | bytes]
    besides: frozenset[str] = frozenset()


def planted(kind: str, what: str, *datagrams: Sent | bytes, besides: str = "") -> Planted:
    return Planted(kind, what, datagrams, frozenset(besides.split()))


def back(datagram: bytes) -> Sent:
    """Send something the other way."""
    return Sent(datagram, (HOST_2, DEFAULT_PORT), (HOST_1, DEFAULT_PORT))


FAULTS = [
    # What receivers refuse.
    planted("short", "20 bytes", JOIN[:20]),
    planted("version", "version 2", put(JOIN, 0, b"\2")),
    planted("length", "one byte more than it says", JOIN + b"\0"),
    planted("length", "ten bytes fewer than it says", put(JOIN, 20, (47).to_bytes(4))),
    planted("option", "an unassigned option", put(JOIN, 2, b"\x01\xf0")),
    planted("option_reserved", "an option of security's", put(JOIN, 2, b"\x00\xdd")),
    planted("truncated", "a HostRecord that ends too soon", without_bytes(JOIN, 3)),
    planted("truncated", "a list that ends too soon", without_bytes(LINKS, 9)),
    planted("truncated", "a text that ends too soon", without_bytes(vector("error"), 2)),
    planted("truncated", "no room for a tag", measured(vector("sealed")[:30])),
    planted("list_bound", "65 ids in a root path", put(REFRESH, ROOT_PATH, b"\x41")),
    planted(
        "list_bound", "13 refused super nodes", put(vector("ping_rp_request", 1), 68, b"\x0d")
    ),
    planted("list_bound", "17 sources", put(REFRESH, INTEREST + 17, b"\x11")),
    planted("list_bound", "5 wraps of a key", put(vector("rekey"), 37, b"\5")),
    planted(
        "text_bound", "a name of 65 bytes", put(vector("subscription_request"), 24, b"\x41")
    ),
    planted("octets_bound", "a bitmap of 129 bytes", put(vector("data_request"), 34, b"\0\x81")),
    planted("text", "a name that is no UTF-8", put(vector("subscription_request"), 25, b"\xff")),
    planted("text", "half a character", put(vector("subscription_request"), 28, b"\xc3")),
    planted("value", "an Interest of mode 2", put(REFRESH, INTEREST + 16, b"\2")),
    planted("trailing", "two bytes that make no element", with_bytes(JOIN, b"\0\0")),
    planted(
        "trailing", "bytes where no element may be",
        back(with_bytes(vector("cookie_reply"), element(TlvType.PADDING))), besides="unasked",
    ),
    planted(
        "element_truncated", "an element of 9 bytes in 8",
        with_bytes(JOIN, element(0x8001, bytes(9))[:-4]),
    ),
    planted(
        "element_padding", "padding that is not zero",
        with_bytes(JOIN, element(0x8001, b"\0", b"\0\0\1")),
    ),
    planted(
        "element_bound", "17 elements",
        with_bytes(JOIN, b"".join(element(0x8100 + n) for n in range(17))),
        besides="element_ignored",
    ),
    planted("element_unknown", "a critical element", with_bytes(JOIN, element(0x0001))),
    planted("manifest", "half a digest", data(0x04, bytes(4 + 24 + 64))),
    planted("manifest", "no digest", data(0x04, bytes(4 + 64))),
    planted("manifest", "77 digests", data(0x04, bytes(4 + 77 * 16 + 64))),
    # What must not be, but is read.
    planted("session_zero", "a request of no session", put(JOIN, 4, bytes(4))),
    planted(
        "session_nonzero", "a session before it is known",
        put(vector("subscription_request"), 4, b"\0\0\0\1"),
    ),
    planted("source_zero", "data of nobody", put(vector("data"), 8, bytes(4))),
    planted("source_zero", "sealed for no index", put(vector("sealed"), 8, bytes(4))),
    planted(
        "source_nonzero", "an id before it is known",
        put(vector("subscription_request"), 8, b"\0\0\0\1"),
    ),
    planted("tree_version", "a tree version in a handshake",
            put(vector("handshake_initiation"), 1, b"\1")),
    planted("reserved", "a reserved word in control", put(JOIN, 16, b"\0\0\0\1")),
    planted("flag_heartbeat", "a heartbeat without its flag", put(HEARTBEAT, 16, b"\0")),
    planted("flag_heartbeat", "data with the flag of heartbeats", data(0x01, b"")),
    planted("flags", "a sealed manifest", data(0x06, bytes(100))),
    planted("flags", "something sealed in channel 0", data(0x02, bytes(20), channel=0)),
    planted("flags", "a manifest in channel 0", data(0x04, bytes(84), channel=0)),
    planted("flags", "a packet that is signed, not sealed",
            data(0x08, vector("rekey") + bytes(64))),
    planted("key_epoch", "a key epoch, and nothing sealed", data(0x00, b"", epoch=3)),
    planted("flags_unknown", "a flag without a name", data(0x10, b"")),
    planted("host_zero", "an applicant without an id", put(JOIN, 24, bytes(4))),
    planted("host_zero", "nobody in a root path", put(REFRESH, ROOT_PATH + 1, bytes(4))),
    planted("root_path", "a host twice in a root path",
            put(REFRESH, ROOT_PATH + 1, bytes((0, 0, 0, 7)) * 2)),
    planted("interest_group", "a group that is none", put(REFRESH, INTEREST + 12, b"\x0a")),
    planted("interest_group", "a group of the link", put(REFRESH, INTEREST + 12, b"\xe0\0\0\5")),
    planted(
        "interest_order", "one source twice",
        measured(
            REFRESH[: INTEREST + 17] + b"\2" + bytes(32) + REFRESH[INTEREST + 18 :]
        ),
    ),
    planted("kind", "links of a child", put(LINKS, 24, b"\0")),
    planted("kind", "interest of a relative", put(REFRESH, 24, b"\5")),
    planted("value_unknown", "a state without a name", put(vector("status_report"), 24, b"\x09")),
    planted("flags_unknown", "what a host cannot be", put(JOIN, 46, b"\x80")),
    planted("element_ignored", "an unknown element", with_bytes(JOIN, element(0x80FF))),
    planted("element_repeated", "PADDING twice", with_bytes(JOIN, element(0x8001) * 2)),
    planted("element_value", "PADDING that is not zero", with_bytes(JOIN, element(0x8001, b"\1"))),
    planted("element_value", "a NAME that is no UTF-8",
            with_bytes(JOIN, element(0x8002, b"\xff"))),
    planted("element_value", "a request with a signature",
            with_bytes(JOIN, element(0x8003, bytes(64)))),
    planted("option_private", "a private option", put(JOIN, 2, b"\x80\x01")),
    planted("datagram_size", "an initiation of 599 bytes",
            measured(vector("handshake_initiation")[:599])),
    planted("rekey_part", "part 1 of 1", put(vector("rekey"), 28, b"\0\1")),
    planted("key_path", "keys that end below the root",
            back(put(vector("key_response"), 34 + 80, b"\6")), besides="unasked"),
    # What was sealed.
    planted("tag", "one bit of the ciphertext", put(sealed(SEALED, LEAVE), 40, b"\0")),
    planted("sealed_content", "a heartbeat in a Sealed", sealed(SEALED, HEARTBEAT)),
    planted("sealed_content", "control in a HopSealed", sealed(HOP_SEALED, LEAVE)),
    planted("sealed_content", "a handshake in a Sealed",
            sealed(SEALED, vector("handshake_initiation"))),
    planted("sealed_content", "a signed request",
            data(0x08, LEAVE + bytes(64), channel=0)),
    planted("introductions", "half a key", sealed(SEALED, JOIN + introductions([0])[:-1])),
    planted("introductions", "one endpoint twice", sealed(SEALED, JOIN + introductions([0, 0]))),
    planted("introductions", "65 of them", sealed(SEALED, JOIN + introductions(range(65)))),
    # What belongs together.
    planted("unasked", "an offer to nobody", JOINED),
    planted("unasked", "an answer from who was not asked",
            vector("probe_request"),
            Sent(vector("probe_response"), (bytes((10, 0, 0, 3)), DEFAULT_PORT),
                 (HOST_1, DEFAULT_PORT))),
    planted("sent_again", "a request that is sent again", JOIN, JOIN),
    planted("answered_again", "two answers to one request",
            vector("probe_request"), *[back(put(vector("probe_response"), 12,
                                                vector("probe_request")[12:16]))] * 2),
    planted("cut", "a capture of the first 40 bytes", Sent(JOIN, captured=40)),
]  # fmt: skip


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    """Take all apart in one capture, each between hosts of its own; give the last frame of each."""
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text(ASSOCIATION_LINE)
    sent = [
        between(number, each if isinstance(each, Sent) else Sent(each))
        for number, fault in enumerate(FAULTS)
        for each in fault.datagrams
    ]
    found = dissected(sent, {"dmmp.keylog_file": str(path)})
    ends = itertools.accumulate(len(fault.datagrams) for fault in FAULTS)
    return [found[end - 1] for end in ends]


def between(number: int, sent: Sent) -> Sent:
    """Move a datagram to a network of its own, so that it answers none of another."""
    (source, source_port), (destination, destination_port) = sent.source, sent.destination
    network = bytes((10, number, 0))
    return sent._replace(
        source=(network + source[3:], source_port),
        destination=(network + destination[3:], destination_port),
    )


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=lambda n: f"{FAULTS[n].what}")
def test_a_planted_fault_is_flagged_by_its_own_kind(number: int, frames: list[Frame]) -> None:
    fault = FAULTS[number]
    assert frames[number].faults() == {fault.kind, *fault.besides}
    assert not [each for each in frames[number].everything() if each.name == "_ws.lua.error"]


def test_every_kind_of_expert_info_has_been_planted(tmp_path: Path) -> None:
    lines = tshark("-G", "fields", environment=plugin_home(tmp_path)).splitlines()
    start = "dmmp.expert."
    kinds = {line.split("\t")[2].removeprefix(start) for line in lines if f"\t{start}" in line}
    assert kinds == {fault.kind for fault in FAULTS}
    assert len(kinds) > 20
