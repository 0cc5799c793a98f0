"""Session files with and without what may be left out, data under a shared secret: step by step.

The names of the files' sessions have all that is written otherwise in JSON. Keys are for tests.
"""

from __future__ import annotations

from hashlib import sha256
from ipaddress import ip_address

from dmmp.messages import Heartbeat, Rekey, encode
from dmmp.messages.header import HEADER, VERSION
from dmmp.messages.options import Option, TlvType
from dmmp.security.authority import Authority
from dmmp.security.session_file import Contact, SessionFile
from dmmp.types import HostId, SessionId
from tests.examples import IPV4_PACKET
from tests.key_examples import key_examples
from tests.security.data_sheets import extract
from tests.security.derivations import Part, Sheet, number

FLAG_HEARTBEAT, FLAG_SEALED, FLAG_SIGNED = 0x01000000, 0x02000000, 0x08000000
SIGNATURE_BYTES, TAG_BYTES = 64, 16
CHANNEL, EPOCH, ORIGIN = 1, 3, HostId(1)

PLAIN_NAME = "Übertragung"
FULL_NAME = 'Gerät "7" \\ / \u4e2d \U0001d11e'
"""A letter beyond ASCII, a quotation mark, both strokes, U+4E2D, and U+1D11E, beyond U+FFFF."""


def session_file() -> Sheet:
    """Make the sheet of two session files: with the least, and with everything, that one can have.

    The text of each is given, as it stands on a disk; what its signatures cover is a step.
    """
    sheet = Sheet(
        "session_file",
        "security.md, Session file",
        "Two session files of one root: one without [authority] and [denied], one with both. The "
        "names have letters beyond ASCII, even beyond U+FFFF, and what JSON escapes.",
    )
    authority = Authority(sheet.given("seed of the root", bytes(range(32))))
    sheet.step("root", "Ed25519 public key", seed=("seed of the root",))
    points = tuple(
        Contact(address, sha256(address.encode()).digest())
        for address in ("rp.example.org:47700", "[2001:db8::1]:4000")
    )
    least = SessionFile(PLAIN_NAME, 0, (authority.public,), points[:1])
    _file(sheet, "least", authority, least)
    denied = authority.deny(FULL_NAME, 3, ((1 << 62) + 0xABCDEF, 1 << 62))
    name = FULL_NAME.encode()
    sheet.step(
        "signature of the deny list",
        "Ed25519 signature",
        seed=("seed of the root",),
        message=(
            b"DMMP deny list\0",
            ("session as text", bytes((len(name),)) + name),
            number("number", 3, 4),
            ("count of serials", b"\x02"),
            *(number("serial", serial, 8) for serial in denied.serials),
            ("two zero bytes", bytes(2)),
        ),
    )
    desk = Contact("authority.example.org:47701", sha256(b"an authority's key").digest())
    full = SessionFile(FULL_NAME, 0xFFFFFFFF, (authority.public,), points, desk, denied)
    _file(sheet, "full", authority, full)
    return sheet


def _file(sheet: Sheet, which: str, authority: Authority, file: SessionFile) -> None:
    label, _, document = file.content().partition(b"\0")
    sheet.step(
        f"signature of the {which} session file",
        "Ed25519 signature",
        seed=("seed of the root",),
        message=(label + b"\0", ("the values as JSON", document)),
    )
    text = file.signed(authority.sign).text()
    sheet.given(f"text of the {which} session file, UTF-8", text.encode())


def shared_data() -> Sheet:
    """Make the sheet of an origin's packets where all share a secret."""
    sheet = Sheet(
        "shared_data",
        "security.md, With a shared secret",
        "Session film, secret `correct horse battery staple`: a packet of the source, its "
        "Heartbeat, and channel 0 with a Rekey. There is no manifest. The keys are for tests only.",
    )
    extract(sheet)
    label = b"DMMP shared secret: signing key"
    sheet.step("signing key", "HKDF-Expand, 32 bytes", key=("extracted",), info=(label,))
    sheet.step("public signing key", "Ed25519 public key", seed=("signing key",))
    sheet.given("epoch secret", bytes(range(32)))
    sheet.given("packet", IPV4_PACKET)
    sheet.step(
        "data key of block 0",
        "HKDF-Expand, 32 bytes",
        key=("epoch secret",),
        info=(
            b"dmmp data",
            "session id",
            number("origin", ORIGIN, 4),
            number("epoch", EPOCH, 1),
            number("channel", CHANNEL, 2),
            number("sequence >> 20", 0, 2),
        ),
    )
    header = _head(sheet, 1, FLAG_SEALED | EPOCH << 16 | CHANNEL, len(IPV4_PACKET) + TAG_BYTES)
    sheet.step(
        "ciphertext and tag of packet 1",
        "AES-256-GCM",
        key=("data key of block 0",),
        nonce=(("bytes 8 to 19 of the header", header[8:20]),),
        associated=(("header", header),),
        plaintext=("packet",),
    )
    sheet.step(
        "sealed packet 1",
        "concatenate",
        data=(("header", header), "ciphertext and tag of packet 1"),
    )
    _heartbeat(sheet, "Heartbeat", CHANNEL, ("239.10.20.30", "10.1.2.3"))
    _heartbeat(sheet, "Heartbeat of channel 0", 0, ("0.0.0.0", "0.0.0.0"))
    rekey = encode(next(made for _, made in key_examples() if isinstance(made, Rekey)))
    header = _head(sheet, 1, FLAG_SIGNED, len(rekey) + SIGNATURE_BYTES)
    content = ("header", header), ("the Rekey of rekey.json", rekey)
    _signed(sheet, "packet 1 of channel 0", b"dmmp packet 1", content)
    return sheet


def _session(sheet: Sheet) -> SessionId:
    return SessionId(int.from_bytes(sheet.values["session id"]))


def _head(sheet: Sheet, sequence: int, reserved: int, length: int) -> bytes:
    fields = (Option.DATA, _session(sheet), ORIGIN, sequence, reserved, length)
    return HEADER.pack(VERSION, 0, *fields)


def _heartbeat(sheet: Sheet, name: str, channel: int, stream: tuple[str, str]) -> None:
    group, origin_address = map(ip_address, stream)
    beat = encode(
        Heartbeat(
            session=_session(sheet),
            source=ORIGIN,
            sequence=1,
            reserved=FLAG_HEARTBEAT | EPOCH << 16 | channel,
            group=group,
            origin_address=origin_address,
            highest=1,
            started=1,
        )
    )
    length = len(beat) - 24 + 4 + SIGNATURE_BYTES
    content: tuple[Part, ...] = (
        ("header and fields", beat[:20] + length.to_bytes(4) + beat[24:]),
        number("type SIGNATURE", TlvType.SIGNATURE, 2),
        number("length", SIGNATURE_BYTES, 2),
    )
    _signed(sheet, name, b"dmmp heartbeat 1", content)


def _signed(sheet: Sheet, name: str, label: bytes, content: tuple[Part, ...]) -> None:
    signature = f"signature of the {name}"
    sheet.step(signature, "Ed25519 signature", seed=("signing key",), message=(label, *content))
    sheet.step(f"signed {name}", "concatenate", data=(*content, signature))
