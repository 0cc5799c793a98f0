"""The handshake of the message vectors, its cookie and what is sealed after it, step by step.

Keys and datagrams are those of `tests.association_examples`.
"""

from __future__ import annotations

from dmmp.messages import IntroductionResponse, LeaveReport, encode
from dmmp.messages.header import HEADER, HEADER_BYTES, VERSION
from dmmp.messages.options import Option
from tests.association_examples import INDEX_1, INDEX_2, PROLOGUE, SAID
from tests.examples import M6, S2, S3, SESSION, TREE, signed_heartbeat
from tests.security.derivations import Part, Sheet, number

NAME = b"Noise_IK_25519_AESGCM_SHA256"
NO_MAC: Part = ("16 zero bytes: no cookie is held", bytes(16))
TAG_BYTES = 16
ZERO_NONCE: Part = ("nonce of 12 zero bytes", bytes(12))


def head(option: Option, source: int, sequence: int, reserved: int, length: int) -> Part:
    """Make a header as a part."""
    packed = HEADER.pack(VERSION, 0, option, 0, source, sequence, reserved, length)
    return f"header: {option.name}, length {length}", packed


def mix_key(sheet: Sheet, count: int, chain: str, agreed: str) -> None:
    """Add MixKey of Noise: the next chaining key and cipher key of one agreement."""
    sheet.step(f"temporary key {count}", "HMAC-SHA-256", key=(chain,), data=(agreed,))
    sheet.step(
        f"chaining key {count}",
        "HMAC-SHA-256",
        key=(f"temporary key {count}",),
        data=(("the byte 1", b"\x01"),),
    )
    sheet.step(
        f"cipher key {count}",
        "HMAC-SHA-256",
        key=(f"temporary key {count}",),
        data=(f"chaining key {count}", ("the byte 2", b"\x02")),
    )


def handshake() -> Sheet:
    """Make the sheet."""
    sheet = Sheet(
        "handshake",
        "security.md, Associations",
        "Host 1 calls host 2, is asked for a cookie, calls again with the same Noise message, and "
        "host 2 answers. Whole datagrams are vectors of handshake_initiation, cookie_reply, "
        "handshake_response, sealed and hop_sealed.",
    )
    for name, byte in (("1", 0x11), ("2", 0x22)):
        sheet.given(f"static private key of host {name}", bytes((byte,)) * 32)
        sheet.step(
            f"static public key of host {name}",
            "X25519 public key",
            private=(f"static private key of host {name}",),
        )
    for name, byte in (("1", 0x33), ("2", 0x44)):
        sheet.given(f"ephemeral private key of host {name}", bytes((byte,)) * 32)
        sheet.step(
            f"ephemeral public key of host {name}",
            "X25519 public key",
            private=(f"ephemeral private key of host {name}",),
        )
    sheet.given("prologue", PROLOGUE)
    _initiation(sheet)
    _cookie(sheet)
    _response(sheet)
    _transport(sheet)
    _back(sheet)
    _cookie_over_ipv6(sheet)
    return sheet


def _initiation(sheet: Sheet) -> None:
    start: Part = ("name of the protocol, filled up with zeros to 32 bytes", NAME.ljust(32, b"\0"))
    sheet.step("chaining key 0", "concatenate", data=(start,))
    sheet.step("hash 1", "SHA-256", data=("chaining key 0", "prologue"))
    sheet.step("hash 2", "SHA-256", data=("hash 1", "static public key of host 2"))
    sheet.step("hash 3", "SHA-256", data=("hash 2", "ephemeral public key of host 1"))
    _agree(sheet, "es", "ephemeral private key of host 1", "static public key of host 2")
    mix_key(sheet, 1, "chaining key 0", "es")
    _seal(sheet, "sealed static key", 1, "hash 3", ("static public key of host 1",))
    sheet.step("hash 4", "SHA-256", data=("hash 3", "sealed static key"))
    _agree(sheet, "ss", "static private key of host 1", "static public key of host 2")
    mix_key(sheet, 2, "chaining key 1", "ss")
    fixed = HEADER_BYTES + 32 + 48 + 16 + 32
    said = 18 + len(SAID.credential)
    sheet.step(
        "what host 1 says",
        "concatenate",
        data=(
            number("timestamp, microseconds since 1970", SAID.timestamp, 8),
            number("instance", SAID.instance, 8),
            number("length of the credential", len(SAID.credential), 2),
            ("credential", SAID.credential),
            ("zeros, up to a datagram of 820 bytes", bytes(820 - fixed - said)),
        ),
    )
    _seal(sheet, "sealed payload of host 1", 2, "hash 4", ("what host 1 says",))
    sheet.step("hash 5", "SHA-256", data=("hash 4", "sealed payload of host 1"))
    sheet.step(
        "initiation without macs",
        "concatenate",
        data=(
            head(Option.HANDSHAKE_INITIATION, INDEX_1, 0, 0, 820 - HEADER_BYTES),
            "ephemeral public key of host 1",
            "sealed static key",
            "sealed payload of host 1",
        ),
    )
    _mac1(sheet, "initiation", "2")
    sheet.step(
        "initiation",
        "concatenate",
        data=("initiation without macs", "mac1 of the initiation", NO_MAC),
    )


def _agree(sheet: Sheet, name: str, private: str, public: str) -> None:
    sheet.step(name, "X25519", private=(private,), public=(public,))


def _seal(sheet: Sheet, name: str, key: int, under: str, plaintext: tuple[Part, ...]) -> None:
    sheet.step(
        name,
        "AES-256-GCM",
        key=(f"cipher key {key}",),
        nonce=(ZERO_NONCE,),
        associated=(under,),
        plaintext=plaintext,
    )


def _mac1(sheet: Sheet, what: str, receiver: str) -> None:
    sheet.step(
        f"key of mac1 towards host {receiver}",
        "SHA-256",
        data=(b"dmmp mac1", f"static public key of host {receiver}"),
    )
    sheet.step(
        f"mac1 of the {what}",
        "BLAKE2s, keyed, 16 bytes",
        key=(f"key of mac1 towards host {receiver}",),
        data=(f"{what} without macs",),
    )


def _cookie(sheet: Sheet) -> None:
    sheet.given("cookie secret of host 2", bytes(range(32)))
    sheet.step(
        "cookie of host 1",
        "BLAKE2s, keyed, 16 bytes",
        key=("cookie secret of host 2",),
        data=(
            (f"address {M6.endpoint.address}", M6.endpoint.address.packed),
            number("port", M6.endpoint.port, 2),
        ),
    )
    sheet.step(
        "key of cookie replies of host 2",
        "SHA-256",
        data=(b"dmmp cookie", "static public key of host 2"),
    )
    sheet.given("nonce of the cookie reply", bytes(range(12)))
    sheet.step(
        "sealed cookie",
        "AES-256-GCM",
        key=("key of cookie replies of host 2",),
        nonce=("nonce of the cookie reply",),
        associated=("mac1 of the initiation",),
        plaintext=("cookie of host 1",),
    )
    sheet.step(
        "cookie reply",
        "concatenate",
        data=(
            head(Option.COOKIE_REPLY, 0, INDEX_1, 0, 44),
            "nonce of the cookie reply",
            "sealed cookie",
        ),
    )
    sheet.step(
        "mac2 of the second initiation",
        "BLAKE2s, keyed, 16 bytes",
        key=("cookie of host 1",),
        data=("initiation without macs", "mac1 of the initiation"),
    )
    sheet.step(
        "second initiation",
        "concatenate",
        data=(
            "initiation without macs",
            "mac1 of the initiation",
            "mac2 of the second initiation",
        ),
    )


def _response(sheet: Sheet) -> None:
    credential = b"certificate of host 2"
    sheet.step("hash 6", "SHA-256", data=("hash 5", "ephemeral public key of host 2"))
    _agree(sheet, "ee", "ephemeral private key of host 2", "ephemeral public key of host 1")
    mix_key(sheet, 3, "chaining key 2", "ee")
    _agree(sheet, "se", "ephemeral private key of host 2", "static public key of host 1")
    mix_key(sheet, 4, "chaining key 3", "se")
    sheet.step(
        "what host 2 says",
        "concatenate",
        data=(
            number("length of the credential", len(credential), 2),
            ("credential", credential),
        ),
    )
    _seal(sheet, "sealed payload of host 2", 4, "hash 6", ("what host 2 says",))
    sheet.step("hash 7", "SHA-256", data=("hash 6", "sealed payload of host 2"))
    length = 32 + 2 + len(credential) + 16 + 32
    sheet.step(
        "response without macs",
        "concatenate",
        data=(
            head(Option.HANDSHAKE_RESPONSE, INDEX_2, INDEX_1, 0, length),
            "ephemeral public key of host 2",
            "sealed payload of host 2",
        ),
    )
    _mac1(sheet, "response", "1")
    sheet.step(
        "response", "concatenate", data=("response without macs", "mac1 of the response", NO_MAC)
    )


def _transport(sheet: Sheet) -> None:
    empty: Part = ("nothing", b"")
    sheet.step("last temporary key", "HMAC-SHA-256", key=("chaining key 4",), data=(empty,))
    sheet.step(
        "key of what host 1 sends",
        "HMAC-SHA-256",
        key=("last temporary key",),
        data=(("the byte 1", b"\x01"),),
    )
    sheet.step(
        "key of what host 2 sends",
        "HMAC-SHA-256",
        key=("last temporary key",),
        data=("key of what host 1 sends", ("the byte 2", b"\x02")),
    )
    inner = _inner()
    for name, option, count, plaintext in (
        ("an empty Sealed", Option.SEALED, 0, b""),
        ("a Sealed with a datagram", Option.SEALED, (1 << 32) + 1, inner[0]),
        ("a HopSealed with a heartbeat", Option.HOP_SEALED, (1 << 32) + 2, inner[1]),
    ):
        header = head(option, INDEX_2, count & 0xFFFFFFFF, count >> 32, TAG_BYTES + len(plaintext))
        sheet.step(
            f"sealed part of {name}",
            "AES-256-GCM",
            key=("key of what host 1 sends",),
            nonce=(("four zero bytes", bytes(4)), number("counter", count, 8)),
            associated=(header,),
            plaintext=(("plaintext", plaintext),),
        )
        sheet.step(name, "concatenate", data=(header, f"sealed part of {name}"))


def _back(sheet: Sheet) -> None:
    """Seal what host 2 says: an answer, and behind it the key of the host that it names."""
    answer = encode(IntroductionResponse(wanted=S2.endpoint))
    header = head(Option.SEALED, INDEX_1, 0, 0, TAG_BYTES + len(answer) + 33)
    sheet.step(
        "sealed part of a Sealed of host 2 with an introduction",
        "AES-256-GCM",
        key=("key of what host 2 sends",),
        nonce=(("four zero bytes", bytes(4)), number("counter", 0, 8)),
        associated=(header,),
        plaintext=(
            (f"an IntroductionResponse about {S2.endpoint}", answer),
            number("which, the first endpoint of the message", 0, 1),
            ("its key: 32 bytes 0x66", bytes((0x66,)) * 32),
        ),
    )
    sheet.step(
        "a Sealed of host 2 with an introduction",
        "concatenate",
        data=(header, "sealed part of a Sealed of host 2 with an introduction"),
    )


def _cookie_over_ipv6(sheet: Sheet) -> None:
    """Make the reply that host 1 would get if it had called from an IPv6 address."""
    sheet.step(
        "cookie of an endpoint over IPv6",
        "BLAKE2s, keyed, 16 bytes",
        key=("cookie secret of host 2",),
        data=(
            (f"address {S3.endpoint.address}", S3.endpoint.address.packed),
            number("port", S3.endpoint.port, 2),
        ),
    )
    sheet.given("nonce of the reply over IPv6", bytes(range(12, 24)))
    sheet.step(
        "sealed cookie over IPv6",
        "AES-256-GCM",
        key=("key of cookie replies of host 2",),
        nonce=("nonce of the reply over IPv6",),
        associated=("mac1 of the initiation",),
        plaintext=("cookie of an endpoint over IPv6",),
    )
    sheet.step(
        "cookie reply over IPv6",
        "concatenate",
        data=(
            head(Option.COOKIE_REPLY, 0, INDEX_1, 0, 44),
            "nonce of the reply over IPv6",
            "sealed cookie over IPv6",
        ),
    )


def _inner() -> tuple[bytes, bytes]:
    """Give what is inside of the examples of Sealed and HopSealed: a farewell, a heartbeat."""
    farewell = LeaveReport(session=SESSION, source=M6.host, sequence=0x5EED0070, tree_version=TREE)
    return encode(farewell), signed_heartbeat()
