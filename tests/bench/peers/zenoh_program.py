"""Programs written to zenoh, with the words and reports of programs/traffic.c.

`zenoh_program send TO:PORT SIZE RATE BURST SECONDS PAUSE`, `receive AT:PORT GROUP 0 0`. The
publisher listens on TCP at the address in `ZENOH_AT`, the subscribers connect to it.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any

KEY = "bench/stream"
STAMP = struct.Struct("!12xI8xq")
"""The sequence number and the instant, where programs/traffic.c has them."""

JOIN_SECONDS = 1.0
RETRY = '{"period_init_ms": 100, "period_max_ms": 100, "period_increase_factor": 1}'


def opened(mode: str) -> Any:
    """Open a session that only knows the publisher's address."""
    zenoh = import_module("zenoh")
    config = zenoh.Config()
    config.insert_json5("mode", '"peer"')
    config.insert_json5("scouting/multicast/enabled", "false")
    config.insert_json5("connect/retry", RETRY)
    config.insert_json5(f"{mode}/endpoints", json.dumps([f"tcp/{os.environ['ZENOH_AT']}"]))
    return zenoh.open(config)


def send(words: Sequence[str]) -> dict[str, object]:
    """Publish a stream, every datagram when it is due."""
    size, rate, seconds = int(words[1]), float(words[2]), float(words[4])
    session = opened("listen")
    zenoh = import_module("zenoh")
    publisher = session.declare_publisher(KEY, congestion_control=zenoh.CongestionControl.DROP)
    time.sleep(JOIN_SECONDS)
    payload = bytearray(size)
    begun = time.monotonic()
    sent = 0
    while (due := begun + sent / rate) < begun + seconds and time.monotonic() < begun + seconds + 1:
        if (ahead := due - time.monotonic()) > 0:
            time.sleep(ahead)
        sent += 1
        STAMP.pack_into(payload, 0, sent, time.monotonic_ns())
        publisher.put(bytes(payload))
    took = time.monotonic() - begun
    session.close()
    return {"sent": sent, "failed": 0, "seconds": took}


def receive(words: Sequence[str]) -> dict[str, object]:
    """Count what comes until SIGTERM."""
    numbers: set[int] = set()
    counts = {"received": 0, "bytes": 0}

    def take(sample: Any) -> None:
        data = sample.payload.to_bytes()
        numbers.add(STAMP.unpack_from(data)[0])
        counts["received"] += 1
        counts["bytes"] += len(data)

    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    session = opened("connect")
    subscriber = session.declare_subscriber(KEY, take)
    print("ready", flush=True)
    while not ended.wait(0.1):
        pass
    subscriber.undeclare()
    session.close()
    return counts | {
        "distinct": len(numbers),
        "highest": max(numbers, default=0),
        "latency_us": [],
    }


if __name__ == "__main__":
    program = {"send": send, "receive": receive}[sys.argv[1]]
    print(json.dumps(program(sys.argv[2:])), flush=True)
