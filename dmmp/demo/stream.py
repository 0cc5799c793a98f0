"""The stream: an MPEG-TS of constant rate over RTP from ffmpeg, or datagrams of the same shape.

The picture is small and padded to the rate, so that playing it costs next to nothing. It also
starts the receivers, ordinary programs whose counts can be read while they run.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from dmmp.demo.internet import Host, InternetError
from dmmp.demo.programs import Flow, program_command

PAYLOAD_BYTES: Final = 1328
"""Seven packets of MPEG-TS and the RTP header (RFC 2250 §2)."""

INNER_HEADER_BYTES: Final = {4: 28, 6: 48}
"""IP and UDP headers of the program's own packets."""

PICTURE: Final = "testsrc2=size=640x360:rate=25"
SOUND: Final = "sine=frequency=440:beep_factor=4"

POLL: Final = 0.02

Report = dict[str, Any]


def find_ffmpeg() -> str | None:
    """Find ffmpeg on this machine."""
    return shutil.which("ffmpeg")


def ffmpeg_command(ffmpeg: str, flow: Flow, rate: int, seconds: float) -> list[str]:
    """Give ffmpeg's command line for a test picture and sound to a flow, `rate` in bit/s."""
    return [
        *(ffmpeg, "-hide_banner", "-loglevel", "error", "-nostdin"),
        *("-re", "-f", "lavfi", "-i", PICTURE, "-re", "-f", "lavfi", "-i", SOUND),
        *("-t", f"{seconds:g}", "-c:v", "mpeg2video", "-b:v", f"{rate // 2}"),
        *("-c:a", "mp2", "-b:a", "128k", "-f", "rtp_mpegts"),
        # The RTP muxer passes no other option to the one that pads the stream to its rate.
        *("-mpegts_muxer_options", f"muxrate={rate}"),
        f"rtp://{flow}?pkt_size={PAYLOAD_BYTES}&ttl=16",
    ]


def play(
    host: Host, flow: Flow, rate: int, seconds: float, log: Path, ffmpeg: str | None
) -> subprocess.Popen[str]:
    """Start to send; without ffmpeg the generator."""
    if ffmpeg is not None:
        command = ffmpeg_command(ffmpeg, flow, rate, seconds)
    else:
        command = program_command(
            *("send", str(flow), "--rate", str(rate), "--size", str(PAYLOAD_BYTES)),
            *("--seconds", f"{seconds:g}"),
        )
    with log.open("a") as errors:
        return host.popen(*command, standard_output=subprocess.DEVNULL, standard_error=errors)


def packet_bytes(flow: Flow, report: Report) -> int:
    """Count the bytes of a flow's IP packets from what a program received of it."""
    headers = INNER_HEADER_BYTES[flow.address.version]
    return int(report["bytes"]) + headers * int(report["count"])


class Listener:
    """An ordinary program that receives flows on a host; its files lie in `directory`."""

    def __init__(self, host: Host, directory: Path, *words: str) -> None:
        self.host = host
        self.name = host.name
        self.output = directory / f"{host.name}.received"
        self.digests = directory / f"{host.name}.digests"
        self._report = directory / f"{host.name}.report"
        command = program_command(
            "receive", *words, "--digests", self.digests, "--output", self._report
        )
        with self.output.open("w") as output:
            self.process = host.popen(
                *command, standard_output=output, standard_error=subprocess.STDOUT
            )

    def lines(self) -> list[str]:
        """What it has printed so far."""
        return self.output.read_text().splitlines()

    @property
    def is_ready(self) -> bool:
        """Whether it has joined."""
        return "ready" in self.lines()[:1]

    def counts(self) -> list[int]:
        """How many datagrams of each flow it had when it last told; needs `--progress`."""
        for line in reversed(self.lines()):
            if line.startswith("{"):
                counts: list[int] = json.loads(line)["counts"]
                return counts
        return []

    def finish(self) -> list[Report]:
        """End it; return what it received, flow by flow."""
        self.process.terminate()
        self.process.wait()
        flows: list[Report] = json.loads(self._report.read_text())["flows"]
        return flows


def await_ready(listeners: Iterable[Listener], patience: float = 10.0) -> None:
    """Wait until every program has joined; one that cannot raises `InternetError`."""
    deadline = time.monotonic() + patience
    for listener in listeners:
        while not listener.is_ready:
            if listener.process.poll() is not None or time.monotonic() > deadline:
                said = " ".join(listener.lines()) or "no word"
                raise InternetError(f"the program on {listener.name} cannot receive: {said}")
            time.sleep(POLL)
