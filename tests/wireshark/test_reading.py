"""What goes beyond one datagram: answers and their requests, other ports, batches, key logs."""

from __future__ import annotations

import subprocess
from pathlib import Path
from random import Random

import pytest

from dmmp.messages.options import Option
from dmmp.types import STUN_MAGIC
from tests.forwarding.build import ORIGIN, SESSION
from tests.forwarding.guards import SECRET, Guards, by_manifest, by_tag, give_keys
from tests.forwarding.overlay import Links, Overlay
from tests.wireshark.examples import ASSOCIATION_LINE, introductions, put, sealed, vector
from tests.wireshark.tshark import (
    CAPTURE_HEAD,
    DISSECTOR,
    Sent,
    columns,
    dissected,
    plugin_home,
    record,
    tshark,
    write_capture,
)

pytestmark = pytest.mark.namespace

PORT = 47700
X, P, G = ((bytes((10, 0, 0, number)), PORT) for number in (1, 2, 3))
SEQUENCE = slice(12, 16)

PAIRS = [
    ("subscription_request", "subscription_response"),
    ("ping_rp_request", "ping_rp_response"),
    ("source_request", "source_response"),
    ("cluster_request", "cluster_response"),
    ("join_request", "join_response"),
    ("setup_request", "setup_response"),
    ("refresh_request", "refresh_response"),
    ("probe_request", "probe_response"),
    ("status_report", "status_response"),
    ("leave_report", "leave_response"),
    ("promotion_request", "promotion_ack"),
    ("join_notification", "promotion_confirm"),
    ("break_request", "break_response"),
    ("break_confirm", "break_confirm"),
    ("key_request", "key_response"),
    ("key_leave", "key_response"),
    ("renewal_request", "renewal_response"),
]


def answering(request: bytes, response: bytes) -> bytes:
    return put(response, SEQUENCE.start, request[SEQUENCE])


@pytest.mark.parametrize("request_name, response_name", PAIRS)
def test_a_response_is_linked_to_its_request(request_name: str, response_name: str) -> None:
    request = vector(request_name)
    response = answering(request, vector(response_name))
    asked, other, answered = dissected(
        [Sent(request, X, P), Sent(request, X, G), Sent(response, P, X)]
    )
    assert asked.texts("dmmp.response_in") == ["3"]
    assert answered.texts("dmmp.response_to") == ["1"]
    assert answered.texts("dmmp.response_time") == ["0.200000000"]
    anybody = request_name in ("join_request", "cluster_request")
    assert other.texts("dmmp.response_in") == (["3"] if anybody else [])


@pytest.mark.parametrize("response_name", ["handshake_response", "cookie_reply"])
def test_a_handshake_is_linked_by_its_index(response_name: str) -> None:
    sent = [Sent(vector("handshake_initiation"), X, P), Sent(vector(response_name), P, X)]
    _, answered = dissected(sent)
    assert answered.texts("dmmp.response_to") == ["1"]


def test_an_introduction_is_linked_by_what_was_asked_for() -> None:
    request, response = vector("introduction_request"), vector("introduction_response")
    other = put(request, 39, b"\7")
    frames = dissected(
        [
            Sent(request, X, P),
            Sent(other, X, P),
            Sent(put(response, SEQUENCE.start, bytes(4)), P, X),
        ]
    )
    assert frames[2].texts("dmmp.response_to") == ["1"]


def test_a_join_that_was_passed_down_is_answered_by_who_has_a_place() -> None:
    request = vector("join_request")
    applicant = (bytes((203, 0, 113, 60)), PORT)
    passed = put(put(request, 8, (2).to_bytes(4)), 60, b"\7")
    offer = answering(request, vector("join_response"))
    frames = dissected([Sent(request, applicant, P), Sent(passed, P, G), Sent(offer, G, applicant)])
    assert frames[2].texts("dmmp.response_to") == ["2"]
    assert [frame.texts("dmmp.response_in") for frame in frames[:2]] == [["3"], ["3"]]
    assert not any("sent_again" in frame.faults() for frame in frames)


def test_a_refresh_of_a_parent_asks_for_no_answer() -> None:
    request = put(vector("refresh_request"), 24, b"\1")
    response = answering(request, vector("refresh_response"))
    _, answered = dissected([Sent(request, X, P), Sent(response, P, X)])
    assert answered.faults() == {"unasked"}


def test_an_error_is_linked_to_what_it_names() -> None:
    error = vector("error")
    join = put(vector("join_request"), SEQUENCE.start, error[SEQUENCE])
    named = put(error, 25, join[2:4])
    other = put(error, 25, vector("probe_request")[2:4])
    frames = dissected([Sent(join, X, P), Sent(named, P, X), Sent(other, P, X)])
    assert [frame.texts("dmmp.response_to") for frame in frames[1:]] == [["1"], []]
    assert frames[2].faults() == {"unasked"}


def test_other_ports_are_recognised_by_the_header() -> None:
    one, two = (X[0], 5000), (P[0], 6000)
    join = vector("join_request")
    good, stranger, broken = dissected(
        [Sent(join, one, two), Sent(put(join, 0, b"\2"), (G[0], 7000), two),
         Sent(put(join, 0, b"\2"), one, two)]
    )  # fmt: skip
    assert good.messages()
    assert not stranger.messages()
    # Between those that spoke DMMP before, what is broken is seen as well.
    assert broken.faults() == {"version"}


def test_what_is_not_dmmp_is_left_to_others() -> None:
    stun = bytes((0, 1, 0, 0)) + STUN_MAGIC.to_bytes(4) + bytes(12)
    on_port, name_lookup, unfit = dissected(
        [Sent(stun, X, P),
         Sent(bytes(30), (X[0], 5001), (P[0], 5002)),
         Sent(vector("join_request") + b"\0", (X[0], 5003), (P[0], 5004))]
    )  # fmt: skip
    for frame in (on_port, name_lookup, unfit):
        assert not frame.messages()
    assert "stun" in [each.name for each in on_port.protocols]


def test_the_port_is_a_preference() -> None:
    broken = put(vector("join_request"), 0, b"\2")
    sent = [Sent(broken, (X[0], 6001), (P[0], 6002)), Sent(broken, X, P)]
    here, there = dissected(sent, {"dmmp.udp_ports": "6001"})
    assert here.faults() == {"version"}
    assert not there.messages()


def test_a_batch_in_one_frame_is_taken_apart() -> None:
    join, probe = vector("join_request"), vector("probe_request")
    (frame,) = dissected([join + probe + join])
    assert len(frame.messages()) == 3
    assert frame.texts("dmmp.batch") == ["3", "3", "3"]
    assert frame.texts("dmmp.probe_request.timestamp")


def test_what_an_icmp_error_quotes_is_neither_sent_again_nor_a_fault() -> None:
    request = vector("join_request")
    response = answering(request, vector("join_response"))
    sent = [Sent(request, X, P), Sent(request, X, P, quoted=len(request)),
            Sent(request, X, P, quoted=30), Sent(response, P, X)]  # fmt: skip
    asked, whole, part, answered = dissected(sent)
    assert whole.messages() and part.messages()
    assert (asked.faults(), whole.faults(), part.faults()) == (set(), set(), {"cut"})
    assert answered.texts("dmmp.response_to") == ["1"]


def test_the_columns_say_what_it_is(tmp_path: Path) -> None:
    path, log = tmp_path / "few.pcap", tmp_path / "keys"
    log.write_text(ASSOCIATION_LINE)
    write_capture(
        path,
        map(Sent, [vector("data"), vector("join_request"), sealed(Option.SEALED, b""),
                   sealed(Option.SEALED, vector("leave_report")), vector("probe_request") * 5]),
    )  # fmt: skip
    keys = {"dmmp.keylog_file": str(log)}
    names = ("_ws.col.Protocol", "_ws.col.Source", "_ws.col.Info")
    shown = columns(path, "frame", *names, preferences=keys)
    assert {line[:2] for line in shown} == {("DMMP", "10.0.0.1")}
    assert [info for *_, info in shown] == [
        "Data 4711 of 1/1: 10.1.2.3 > 239.10.20.30",
        "JoinRequest applicant=6 passes=8",
        "Sealed for 0xb2b2b2b2: nothing",
        "Sealed for 0xb2b2b2b2: LeaveReport SHUTDOWN",
        "ProbeRequest | ProbeRequest | ProbeRequest | 2 more",
    ]


def test_any_host_and_any_address_can_be_looked_for(tmp_path: Path) -> None:
    frames = dissected([vector("join_response"), vector("probe_request")])
    assert all(frame.messages() for frame in frames)
    path = tmp_path / "one.pcap"
    write_capture(path, [Sent(vector("join_response")), Sent(vector("probe_request"))])
    found = columns(path, "dmmp.host == 4 && dmmp.ipv4 == 203.0.113.40", "frame.number")
    assert found == [("1",)]


def test_the_key_log_opens_what_is_sealed_and_names_whose_keys_stand_behind(tmp_path: Path) -> None:
    log = tmp_path / "keys"
    log.write_text("# a comment\nnonsense\n" + ASSOCIATION_LINE)
    join = vector("join_request") + introductions([0, 5])
    hop = sealed(Option.HOP_SEALED, vector("heartbeat"), 1 << 40)
    datagrams = [sealed(Option.SEALED, join), hop, sealed(Option.SEALED, b"", 9), vector("sealed")]
    frames = dissected(datagrams, {"dmmp.keylog_file": str(log)})
    opened, hop_opened, empty, foreign = frames
    assert opened.faults() == set()
    assert opened.texts("dmmp.join_request.passes") == ["8"]
    labels = [each.label for each in opened.everything() if each.name == "dmmp.introduction"]
    assert "203.0.113.60:47700" in labels[0]
    assert "nobody" in labels[1]
    assert hop_opened.texts("dmmp.heartbeat.highest") == ["4711"]
    assert [frame.texts("dmmp.opened") for frame in frames] == [["1"], ["1"], ["1"], ["0"]]
    assert not empty.faults()
    assert foreign.faults() == {"tag"}
    for frame in dissected(datagrams):
        assert (frame.texts("dmmp.opened"), frame.faults()) == (["0"], set())


def test_a_key_that_is_written_during_a_live_capture_is_found(tmp_path: Path) -> None:
    log = tmp_path / "keys"
    log.write_text("")
    command = ["tshark", "-l", "-i", "-", "-X", f"lua_script:{DISSECTOR}", "-T", "fields"]
    command += ["-e", "_ws.col.Info", "-o", f"dmmp.keylog_file:{log}"]
    leaving = Sent(sealed(Option.SEALED, vector("leave_report")))
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin and process.stdout
        process.stdin.write(CAPTURE_HEAD + record(leaving, 0))
        process.stdin.flush()
        before = process.stdout.readline()
        log.write_text(ASSOCIATION_LINE)
        process.stdin.write(record(leaving, 1))
        process.stdin.flush()
        after = process.stdout.readline()
    assert before == b"Sealed for 0xb2b2b2b2\n"
    assert after == b"Sealed for 0xb2b2b2b2: LeaveReport SHUTDOWN\n"


@pytest.mark.parametrize("guards", [by_manifest, by_tag])
def test_the_key_log_opens_what_a_forwarder_sent(tmp_path: Path, guards: Guards) -> None:
    overlay = Overlay(Random(1), Links(), guards=guards)
    overlay.add(1, overlay.source)
    give_keys(overlay, 3)
    wire: list[bytes] = []
    overlay.on_send = wire.append
    overlay.stream(3, 0.05)
    overlay.originate(5)
    overlay.run(overlay.now + 1)
    log = tmp_path / "keys"
    wrong = f"DMMP_EPOCH {SESSION:08x} {ORIGIN:08x} 03 {bytes(32).hex()}\n"
    log.write_text(wrong + f"DMMP_EPOCH {SESSION:08x} {ORIGIN:08x} 03 {SECRET.hex()}\n")
    frames = dissected(wire, {"dmmp.keylog_file": str(log)})
    assert not any(frame.faults() for frame in frames)
    plain = [each for frame in frames for each in frame.everything() if "plaintext" in each.name]
    assert {int.from_bytes(each.value) for each in plain} == set(range(1, 10))
    manifests = [frame for frame in frames if frame.texts("dmmp.data.manifest.first")]
    assert bool(manifests) == (guards is by_manifest)

    log.write_text(wrong)
    frames = dissected(wire, {"dmmp.keylog_file": str(log)})
    sealed_ones = [frame for frame in frames if frame.texts("dmmp.data.ciphertext")]
    assert all(frame.faults() == {"tag"} for frame in sealed_ones)


def test_one_command_installs_it(tmp_path: Path) -> None:
    home = plugin_home(tmp_path)
    installed = tmp_path / ".local/lib/wireshark/plugins/dmmp.lua"
    installed.unlink()
    script = DISSECTOR.parent / "install.sh"
    done = subprocess.run(
        [script], env={"PATH": "/usr/bin:/bin", **home}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{installed}\n"
    assert installed.read_bytes() == DISSECTOR.read_bytes()
    assert "\tdmmp\n" in tshark("-G", "protocols", environment=home)
