"""Sealed and signed data, the group's keys, a shared secret, a certificate: step by step.

The session is that of `tests.examples`; the certificate and the keys of the tree are those of the
message vectors.
"""

from __future__ import annotations

from hashlib import sha256
from ipaddress import ip_address

from dmmp.messages import Heartbeat, KeyResponse, Rekey, encode
from dmmp.messages.header import HEADER, VERSION
from dmmp.messages.options import Option, TlvType
from dmmp.security.authority import Authority, Request
from dmmp.security.key_wrap import ROOT, is_above, unwrap
from dmmp.security.peer import Capability
from dmmp.security.session_file import Contact, SessionFile
from tests.examples import IPV4_PACKET, SESSION, SOURCE, TREE
from tests.key_examples import LEAF, key_examples
from tests.security.derivations import Part, Sheet, number

CHANNEL, EPOCH = 1, 3
FLAG_SEALED, FLAG_MANIFEST, FLAG_SIGNED = 0x02000000, 0x04000000, 0x08000000
SIGNATURE_BYTES, TAG_BYTES = 64, 16
ISSUED_AT = 1_800_000_000.0


def origin_parts() -> tuple[Part, Part]:
    """Name an origin: O of the notes."""
    return number("session", SESSION, 4), number("origin", SOURCE.host, 4)


def head(
    sequence: int, flags: int, length: int, epoch: int = EPOCH, channel: int = CHANNEL
) -> bytes:
    """Make the header of a packet of the channel."""
    reserved = flags | epoch << 16 | channel
    return HEADER.pack(VERSION, TREE, Option.DATA, SESSION, SOURCE.host, sequence, reserved, length)


def data() -> Sheet:
    """Make the sheet of sealed packets, a signed packet, manifests and signed heartbeats."""
    sheet = Sheet(
        "data",
        "security.md, Data",
        "One packet in the clear, sealed, sealed and signed; two sealed ones and their manifest, "
        "which is then repeated in both ways; a heartbeat; channel 0 with a Rekey. The keys are "
        "for tests only.",
    )
    sheet.given("epoch secret", bytes(range(32)))
    sheet.given("signing seed of the origin", bytes(range(32, 64)))
    sheet.step(
        "signing key of the origin", "Ed25519 public key", seed=("signing seed of the origin",)
    )
    sheet.given("packet", IPV4_PACKET)
    sheet.step(
        "packet in the clear",
        "concatenate",
        data=(("header", head(41, 0, len(IPV4_PACKET), 0)), "packet"),
    )
    for block in (0, 5):
        sheet.step(
            f"data key of block {block}",
            "HKDF-Expand, 32 bytes",
            key=("epoch secret",),
            info=(
                b"dmmp data",
                *origin_parts(),
                number("epoch", EPOCH, 1),
                number("channel", CHANNEL, 2),
                number("sequence >> 20", block, 2),
            ),
        )
    for name, sequence in (
        ("42", 42),
        ("43", 43),
        ("52", 52),
        ("54", 54),
        ("5 * 2^20 + 3", (5 << 20) + 3),
    ):
        _sealed(sheet, f"sealed packet {name}", sequence, FLAG_SEALED, 0)
    _sealed(sheet, "packet 44 before its signature", 44, FLAG_SEALED | FLAG_SIGNED, SIGNATURE_BYTES)
    _signed(sheet, "signature of packet 44", (b"dmmp packet 1", "packet 44 before its signature"))
    sheet.step(
        "sealed and signed packet 44",
        "concatenate",
        data=("packet 44 before its signature", "signature of packet 44"),
    )
    _manifest(sheet, "manifest of packets 42 and 43", 41, 42, ("42", "43"))
    _repeated(sheet)
    _heartbeat(sheet, "heartbeat", CHANNEL, ("239.10.20.30", "10.1.2.3"), highest=44)
    _channel_of_keys(sheet)
    return sheet


def _sealed(sheet: Sheet, name: str, sequence: int, flags: int, behind: int) -> None:
    header = head(sequence, flags, len(IPV4_PACKET) + TAG_BYTES + behind)
    sheet.step(
        f"ciphertext and tag of {name}",
        "AES-256-GCM",
        key=(f"data key of block {sequence >> 20}",),
        nonce=(("bytes 8 to 19 of the header", header[8:20]),),
        associated=(("header", header),),
        plaintext=("packet",),
    )
    sheet.step(name, "concatenate", data=(("header", header), f"ciphertext and tag of {name}"))


def _signed(sheet: Sheet, name: str, message: tuple[Part, ...]) -> None:
    sheet.step(name, "Ed25519 signature", seed=("signing seed of the origin",), message=message)


def _manifest(
    sheet: Sheet, name: str, sequence: int, first: int, listed: tuple[str, ...], again: int = 0
) -> tuple[Part, ...]:
    """Make a manifest; of what it lists the first `again` were listed before, then zeros stand."""
    for packet in listed[again:]:
        sheet.step(
            f"digest of packet {packet}",
            "SHA-256, first 16 bytes",
            data=(f"sealed packet {packet}",),
        )
    digests: list[Part] = [f"digest of packet {packet}" for packet in listed]
    if again:
        digests.insert(again, ("16 zero bytes, in place of this manifest", bytes(16)))
    content: tuple[Part, ...] = (number("first number listed", first, 4), *digests)
    signature = f"signature of the {name}"
    _signed(
        sheet,
        signature,
        (b"dmmp manifest 1", *origin_parts(), number("channel", CHANNEL, 2), *content),
    )
    length = 4 + 16 * len(digests) + SIGNATURE_BYTES
    header = ("header", head(sequence, FLAG_MANIFEST, length, 0))
    sheet.step(name, "concatenate", data=(header, *content, signature))
    return (*content, signature)


def _repeated(sheet: Sheet) -> None:
    """Say a manifest again: by itself, signed as a packet; and listed by the next one."""
    content = _manifest(sheet, "manifest of packet 52", 51, 52, ("52",))
    before = "manifest of packet 52 once more, before its signature"
    length = 4 + 16 + 2 * SIGNATURE_BYTES
    header = ("header", head(53, FLAG_MANIFEST | FLAG_SIGNED, length, 0))
    sheet.step(before, "concatenate", data=(header, *content))
    _signed(sheet, "signature of the second copy", (b"dmmp packet 1", before))
    sheet.step(
        "manifest of packet 52 once more, as packet 53",
        "concatenate",
        data=(before, "signature of the second copy"),
    )
    _manifest(sheet, "manifest 53 that lists 52 again, and 54", 53, 52, ("52", "54"), again=1)


def _heartbeat(
    sheet: Sheet, name: str, channel: int, stream: tuple[str, str], highest: int
) -> None:
    group, origin_address = map(ip_address, stream)
    beat = Heartbeat(
        session=SESSION,
        source=SOURCE.host,
        sequence=12,
        tree_version=TREE,
        reserved=EPOCH << 16 | channel,
        group=group,
        origin_address=origin_address,
        highest=highest,
        started=1,
    )
    length = len(encode(beat)) - 24 + 4 + SIGNATURE_BYTES
    before = encode(beat)[:20] + length.to_bytes(4) + encode(beat)[24:]
    element = number("type SIGNATURE", TlvType.SIGNATURE, 2), number("length", SIGNATURE_BYTES, 2)
    signature = f"signature of the {name}"
    _signed(sheet, signature, (b"dmmp heartbeat 1", ("header and fields", before), *element))
    sheet.step(
        f"signed {name}",
        "concatenate",
        data=(("header and fields", before), *element, signature),
    )


def _channel_of_keys(sheet: Sheet) -> None:
    """Make the heartbeat and a packet of channel 0: signed, not sealed, epoch 0 in the packet."""
    _heartbeat(sheet, "heartbeat of channel 0", 0, ("0.0.0.0", "0.0.0.0"), highest=1)
    rekey = encode(next(made for _, made in key_examples() if isinstance(made, Rekey)))
    header = head(1, FLAG_SIGNED, len(rekey) + SIGNATURE_BYTES, 0, channel=0)
    content: tuple[Part, ...] = (("header", header), ("the Rekey of rekey.json", rekey))
    _signed(sheet, "signature of packet 1 of channel 0", (b"dmmp packet 1", *content))
    sheet.step(
        "signed packet 1 of channel 0",
        "concatenate",
        data=(*content, "signature of packet 1 of channel 0"),
    )


def group_key() -> Sheet:
    """Make the sheet of leaf 1, which opens a Rekey after leaf 2 has gone."""
    sheet = Sheet(
        "group_key",
        "messages.md, Group key",
        "The member at leaf 1 has its path from key_response.json and opens rekey.json with it. "
        "Then somebody joins.",
    )
    listed = [message for _, message in key_examples()]
    path = next(made for made in listed if isinstance(made, KeyResponse) and made.path)
    rekey = next(made for made in listed if isinstance(made, Rekey))
    for key in path.path:
        sheet.given(f"key of node {key.node:#010x}, version {key.version}", key.key)
    old_root = f"key of node {ROOT:#010x}, version {path.epoch}"
    _epoch_secret(sheet, path.epoch, old_root)
    for renewal in rekey.renewals:
        if not is_above(renewal.node, LEAF):
            continue
        wrap = next(each for each in renewal.wraps if is_above(each.under, LEAF))
        _rewrapped(sheet, renewal.node, rekey.epoch, wrap.under, wrap.version)
    root = f"key of node {ROOT:#010x}, version {rekey.epoch}"
    _epoch_secret(sheet, rekey.epoch, root)
    after = f"key of node {ROOT:#010x}, version {rekey.epoch + 1}"
    sheet.step(after, "HKDF-Expand, 32 bytes", key=(root,), info=(b"dmmp ratchet",))
    _epoch_secret(sheet, rekey.epoch + 1, after)
    return sheet


def _epoch_secret(sheet: Sheet, epoch: int, root: str) -> None:
    sheet.step(
        f"secret of epoch {epoch}",
        "HKDF-Expand, 32 bytes",
        key=(root,),
        info=(b"dmmp epoch", number("epoch", epoch, 4)),
    )


def _rewrapped(sheet: Sheet, node: int, version: int, under: int, under_version: int) -> None:
    """Seal a renewed key as the source did: what comes out stands in the Rekey."""
    below = f"key of node {under:#010x}, version {under_version}"
    name = f"key of node {node:#010x}, version {version}"
    sheet.step(
        f"sealing key of node {under:#010x}, version {under_version}",
        "HKDF-Expand, 32 bytes",
        key=(below,),
        info=(b"dmmp wrap",),
    )
    sheet.given(name, renewed_keys()[node])
    sheet.step(
        f"seal of node {node:#010x}, version {version}",
        "AES-256-GCM",
        key=(f"sealing key of node {under:#010x}, version {under_version}",),
        nonce=(
            ("four zero bytes", bytes(4)),
            number("node", node, 4),
            number("version", version, 4),
        ),
        associated=(("nothing", b""),),
        plaintext=(name,),
    )


def renewed_keys() -> dict[int, bytes]:
    """Open the example's Rekey as the member at leaf 1 does: the fresh key of each node above."""
    listed = [message for _, message in key_examples()]
    path = next(made for made in listed if isinstance(made, KeyResponse) and made.path)
    rekey = next(made for made in listed if isinstance(made, Rekey))
    held = {key.node: key.key for key in path.path}
    renewed: dict[int, bytes] = {}
    for renewal in rekey.renewals:
        if is_above(renewal.node, LEAF):
            wrap = next(each for each in renewal.wraps if is_above(each.under, LEAF))
            under = renewed.get(wrap.under, held.get(wrap.under, b""))
            renewed[renewal.node] = unwrap(under, renewal.node, rekey.epoch, wrap.sealed)
    return renewed


def extract(sheet: Sheet) -> None:
    """Go from a secret and a session's name to what all keys are expanded from."""
    sheet.given("secret", b"correct horse battery staple")
    sheet.given("session name", b"film")
    sheet.step("session id", "SHA-256, first 4 bytes", data=("session name",))
    sheet.step("salt", "SHA-256", data=("session name",))
    sheet.step("extracted", "HKDF-Extract", salt=("salt",), material=("secret",))


def shared_secret() -> Sheet:
    """Make the sheet of what follows from a shared secret and a session's name."""
    sheet = Sheet(
        "shared_secret",
        "security.md, Shared secret",
        "Session film, secret `correct horse battery staple`: the session's id, the keys of all "
        "its hosts, and what handshakes of either mode begin with.",
    )
    extract(sheet)
    for name, public, operation in (
        ("static key", "static public key", "X25519 public key"),
        ("signing key", "public signing key", "Ed25519 public key"),
    ):
        sheet.step(
            name,
            "HKDF-Expand, 32 bytes",
            key=("extracted",),
            info=(f"DMMP shared secret: {name}".encode(),),
        )
        argument = "private" if operation.startswith("X") else "seed"
        sheet.step(public, operation, **{argument: (name,)})
    sheet.step("node", "SHA-256, first 16 bytes", data=("public signing key",))
    for mode, value in (("certificates", 1), ("shared secret", 2)):
        sheet.step(
            f"prologue, mode {mode}",
            "concatenate",
            data=(b"DMMP", number("version", 1, 1), number("mode", value, 1), "salt"),
        )
    return sheet


def certificate() -> Sheet:
    """Make the sheet of a root, a host's certificate, a deny list and a session file."""
    sheet = Sheet(
        "certificate",
        "security.md, Names and keys",
        "A root certifies anna for the session film, as a member that may feed 12 and send to "
        "239.1.2.3, at 1,800,000,000 s for 24 h; it denies two others, and signs a session file.",
    )
    authority = Authority(sheet.given("seed of the root", bytes(range(32))))
    sheet.step("root", "Ed25519 public key", seed=("seed of the root",))
    sheet.step(
        "fingerprint of the root",
        "base32 of the first 10 bytes of SHA-256, lower case",
        data=("root",),
    )
    request = Request("anna", "film", Capability.MEMBER, 12, 10**8, (ip_address("239.1.2.3"),))
    drawn = iter(range(1, 9))
    held = authority.credential(request, ISSUED_AT, lambda size: bytes((next(drawn),)) * size)
    sheet.given("signing seed of anna", held.signing_secret)
    sheet.step("signing key of anna", "Ed25519 public key", seed=("signing seed of anna",))
    sheet.step("node of anna", "SHA-256, first 16 bytes", data=("signing key of anna",))
    sheet.given("static private key of anna", held.static_secret)
    sheet.step(
        "static public key of anna", "X25519 public key", private=("static private key of anna",)
    )
    _certificate(sheet, held.certificate)
    denied = authority.deny("film", 3, (1 << 62, (1 << 62) + 5))
    sheet.step(
        "signature of the deny list",
        "Ed25519 signature",
        seed=("seed of the root",),
        message=(
            b"DMMP deny list\0",
            ("session as text", b"\x04film"),
            number("number", 3, 4),
            ("count of serials", b"\x02"),
            *(number("serial", serial, 8) for serial in denied.serials),
            ("two zero bytes", bytes(2)),
        ),
    )
    point = Contact("rp.example.org:47700", sha256(b"a static key").digest())
    file = SessionFile("film", 7, (authority.public,), (point,), denied=denied)
    label, _, document = file.content().partition(b"\0")
    sheet.step(
        "signature of the session file",
        "Ed25519 signature",
        seed=("seed of the root",),
        message=(label + b"\0", ("the values as JSON", document)),
    )
    return sheet


def _certificate(sheet: Sheet, der: bytes) -> None:
    """Take the certificate apart, so that what is signed is a step."""
    grant = (
        number("capabilities, MEMBER", 1, 4),
        number("out-degree", 12, 2),
        number("bandwidth", 10**8, 8),
        ("session as text", b"\x04film"),
        number("length of the static key", 32, 2),
        "static public key of anna",
        ("count of groups", b"\x01"),
        ("group 239.1.2.3", bytes(10) + b"\xff\xff" + bytes((239, 1, 2, 3))),
    )
    held = sheet.step("grant of anna", "concatenate", data=grant)
    signed = der[4:-74]
    key = sheet.values["signing key of anna"]
    at_key, at_grant = signed.index(key), signed.index(held)
    sheet.step(
        "signed part of the certificate",
        "concatenate",
        data=(
            ("version, serial, issuer, validity, subject", signed[:at_key]),
            "signing key of anna",
            ("extensions up to the grant", signed[at_key + len(key) : at_grant]),
            "grant of anna",
            ("end", signed[at_grant + len(held) :]),
        ),
    )
    sheet.step(
        "signature of the certificate",
        "Ed25519 signature",
        seed=("seed of the root",),
        message=("signed part of the certificate",),
    )
    sheet.step(
        "certificate of anna",
        "concatenate",
        data=(
            ("outer length", der[:4]),
            "signed part of the certificate",
            ("algorithm, and head of the signature", der[-74:-64]),
            "signature of the certificate",
        ),
    )
