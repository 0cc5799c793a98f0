"""The ordinary programs: their reading of flows, and the comparison that verdicts rest on."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmmp.demo.digests import compare_digests
from dmmp.demo.programs import (
    DIGEST_BYTES,
    HEADER,
    MOST_RANGES,
    Flow,
    Receiver,
    absent,
    parse_arguments,
    parse_rate,
    program_command,
)


def digests(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(DIGEST_BYTES, "big") for number in numbers)


@pytest.mark.parametrize("text", ["239.1.2.3:5004", "[ff1e::1234]:5004"])
def test_a_flow_is_read_as_it_is_written(text: str) -> None:
    assert str(Flow.parse(text)) == text


def test_rates_take_the_usual_letters() -> None:
    assert [parse_rate(text) for text in ("500", "64k", "8M", "1.5G")] == [500, 64e3, 8e6, 1.5e9]


def test_all_of_the_reference_in_order_is_identical() -> None:
    assert compare_digests(digests(1, 2, 2, 3), digests(1, 2, 2, 3)).is_identical


def test_missing_ones_are_told_apart_by_where_they_miss() -> None:
    compared = compare_digests(digests(1, 2, 3, 4, 5, 6, 7), digests(3, 5))
    assert compared.missing_before == 2
    assert compared.missing_within == 1
    assert compared.missing_after == 2
    assert compared.in_order
    assert not compared.is_identical


def test_order_duplicates_and_strangers_are_noticed() -> None:
    compared = compare_digests(digests(1, 2, 3), digests(2, 1, 2, 3, 9))
    assert not compared.in_order
    assert compared.duplicates == 1
    assert compared.unexpected == 1


def test_nothing_received_is_all_missing() -> None:
    compared = compare_digests(digests(1, 2), b"")
    assert (compared.missing_before, compared.missing_within, compared.missing_after) == (2, 0, 0)


@given(st.lists(st.integers(0, 9)), st.lists(st.integers(0, 9)))
def test_the_comparison_accounts_for_every_datagram(sent: list[int], received: list[int]) -> None:
    compared = compare_digests(digests(*sent), digests(*received))
    hits = compared.received_count - compared.unexpected - compared.duplicates
    missing = compared.missing_before + compared.missing_within + compared.missing_after
    assert hits + missing == len(sent)
    assert compared.is_identical == (sent == received)


def test_sender_and_receiver_agree_over_loopback(tmp_path: Path) -> None:
    receiver = subprocess.Popen(
        program_command(
            *("receive", "127.0.0.1:47811", "127.0.0.1:47812", "--sequence"),
            *("--count", "50", "--seconds", "20", "--digests", tmp_path / "in"),
            *("--output", tmp_path / "report"),
        ),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert receiver.stdout is not None
    assert receiver.stdout.readline() == "ready\n"
    sender = subprocess.run(
        program_command(
            *("send", "127.0.0.1:47811", "127.0.0.1:47812", "--rate", "20M"),
            *("--count", "50", "--digests", tmp_path / "out"),
        ),
        capture_output=True,
        check=True,
    )
    receiver.communicate(timeout=30)
    sent = json.loads(sender.stdout.splitlines()[-1])["flows"]
    received = json.loads((tmp_path / "report").read_text())["flows"]
    for number in (0, 1):
        reference = (tmp_path / f"out.{number}").read_bytes()
        assert compare_digests(reference, (tmp_path / f"in.{number}").read_bytes()).is_identical
        assert sent[number]["sha256"] == received[number]["sha256"]
        assert received[number]["sequence"]["lost"] == 0
        assert received[number]["joined_ns"] <= received[number]["first_ns"]


def test_the_receiver_lists_gaps_and_late_and_absent_datagrams() -> None:
    options = parse_arguments(
        ["receive", "127.0.0.1:47814", "--sequence", "--gaps", "0.1", "--late", "5"]
    )
    receiver = Receiver(options.flows[0], options, None)
    for number, sent_ms, now_ms in ((0, 0, 1), (1, 2, 5003), (4, 5000, 5010), (6, 5110, 5110)):
        payload = HEADER.pack(number, sent_ms * 1_000_000)
        receiver.take(memoryview(payload), now_ms * 1_000_000)
    report = receiver.report()
    receiver.close()
    assert report["gaps_ns"] == [(1_000_000, 5_002_000_000), (5_010_000_000, 100_000_000)]
    sequence = report["sequence"]
    assert isinstance(sequence, dict)
    assert sequence["absent"] == [(2, 3), (5, 5)]
    assert sequence["late"] == 1


def test_only_so_many_ranges_are_listed() -> None:
    assert len(absent(set(range(1, 1000, 2)), 999)) == MOST_RANGES


def test_a_taken_port_is_one_clear_line() -> None:
    done = subprocess.run(
        program_command("receive", "203.0.113.1:47813"), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
