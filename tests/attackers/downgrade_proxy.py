"""Somebody on the path who would have both ends speak an older version, or another cipher.

Row 8 of the threat table: there is one version and one suite, and both are part of what the
handshake proves, so it must fail; a host must never fall back to less.
"""

from __future__ import annotations

import asyncio
import sys
from argparse import ArgumentParser
from collections.abc import Callable

from dmmp.messages.header import HEADER_BYTES
from dmmp.messages.options import Option
from dmmp.security.cookies import MACS_BYTES, NO_MAC, mac, mac1_key
from dmmp.types import Endpoint
from tests.attackers.mutating_proxy import open_proxy
from tests.attackers.wire import parse_endpoint

Downgrade = Callable[[bytes], bytes]

_OPENING = (Option.HANDSHAKE_INITIATION, Option.HANDSHAKE_RESPONSE)


def version(data: bytes) -> bytes:
    """Say another version in every header."""
    return bytes((data[0] - 1 & 0xFF,)) + data[1:] if data else data


def tree_version(data: bytes) -> bytes:
    """Change the byte behind the version, where others might put flags."""
    return data[:1] + b"\x7f" + data[2:] if len(data) > 1 else data


def suite(data: bytes) -> bytes:
    """Set bits in a handshake's reserved word, where others might name a suite."""
    if int.from_bytes(data[2:4]) in _OPENING and len(data) >= HEADER_BYTES:
        return data[:16] + b"\0\0\0\x01" + data[20:]
    return data


def cleartext(data: bytes) -> bytes:
    """Take handshakes for messages in clear: the option is another."""
    if int.from_bytes(data[2:4]) in _OPENING:
        return data[:2] + int(Option.PING_RP_REQUEST).to_bytes(2) + data[4:]
    return data


def strip(data: bytes) -> bytes:
    """Let no handshake pass at all."""
    return b"" if int.from_bytes(data[2:4]) in _OPENING else data


def signed_again(change: Downgrade, static_key: bytes) -> Downgrade:
    """Make mac1 hold again behind a change: its key is no secret."""
    key = mac1_key(static_key)

    def changed(data: bytes) -> bytes:
        made = change(data)
        if made != data and int.from_bytes(data[2:4]) in _OPENING:
            body = made[:-MACS_BYTES]
            return body + mac(key, body) + NO_MAC
        return made

    return changed


DOWNGRADES: dict[str, Downgrade] = {
    "version": version,
    "tree version": tree_version,
    "suite": suite,
    "cleartext": cleartext,
    "strip": strip,
}


async def serve(listen: Endpoint, target: Endpoint, name: str, seconds: float) -> None:
    """Run as a program."""
    change = DOWNGRADES[name]
    proxy, where = await open_proxy(
        listen, target, lambda data, up: [made] if (made := change(data)) else []
    )
    sys.stdout.write(f"listening on {where}\n")
    sys.stdout.flush()
    await asyncio.sleep(seconds)
    proxy.close()
    sys.stdout.write(f"passed {proxy.counts[True]} there, {proxy.counts[False]} back\n")


def main() -> int:
    """Read the command line."""
    arguments = ArgumentParser(description=__doc__)
    arguments.add_argument("listen", type=parse_endpoint, metavar="ADDRESS:PORT")
    arguments.add_argument("target", type=parse_endpoint, metavar="ADDRESS:PORT")
    arguments.add_argument("--change", choices=sorted(DOWNGRADES), default="version")
    arguments.add_argument("--seconds", type=float, default=3600.0)
    options = arguments.parse_args()
    asyncio.run(serve(options.listen, options.target, options.change, options.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
