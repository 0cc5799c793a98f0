"""Certificates: what may vary, and everything that may not (slide 23)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from dmmp.errors import AuthenticationError, DecodeError
from dmmp.security.authority import Request
from dmmp.security.certificate import (
    CERTIFICATE_LIMIT_BYTES,
    Grant,
    build_grant,
    read_certificate,
    read_grant,
)
from dmmp.security.identity import Credential, node_of, static_public
from dmmp.security.peer import EVERY_CAPABILITY, Capability
from tests.security.certifying import (
    CONSTRAINTS,
    GRANT,
    NOW,
    OTHER_ROOT,
    SESSION,
    SIGNING_KEY,
    STATIC_KEY,
    authority,
    credential,
    dice,
    forged,
    grant_extension,
    named,
    refused,
    signed_again,
    trust,
)
from tests.strategies import addresses, integers

GROUP = ip_address("239.1.2.3")


# What a certificate says.


def test_a_certificate_says_who_holds_it_and_what_it_may_do() -> None:
    wanted = Request(
        "s1", SESSION, Capability.SOURCE | Capability.MEMBER, 7, 20_000_000_000, (GROUP,)
    )
    held = authority().credential(wanted, NOW, dice("s1"))
    peer = trust().check(held.certificate, static_public(held.static_secret), NOW)
    assert peer == held.peer
    assert (peer.name, peer.capabilities) == ("s1", Capability.SOURCE | Capability.MEMBER)
    assert (peer.out_degree, peer.bandwidth, peer.groups) == (7, 20_000_000_000, (GROUP,))
    assert peer.node == sha256(peer.signing_key).digest()[:16] == node_of(peer.signing_key)
    assert peer.not_after == NOW + 24 * 3600
    assert peer.serial >> 62 == 1


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
sessions = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1).filter(
    lambda name: name.isprintable() and len(name.encode()) <= 64
)


@given(
    name=names,
    session=sessions,
    may=st.integers(1, int(EVERY_CAPABILITY)),
    out_degree=integers(16),
    bandwidth=integers(64),
    groups=st.lists(addresses().filter(lambda drawn: drawn.is_multicast), max_size=16),
)
def test_whatever_can_be_granted_is_read_as_it_was_granted(
    name: str,
    session: str,
    may: int,
    out_degree: int,
    bandwidth: int,
    groups: list[object],
) -> None:
    wanted = Request(
        name,
        session,
        Capability(may),
        out_degree,
        bandwidth,
        tuple(groups),  # type: ignore[arg-type]
    )
    held = authority().credential(wanted, NOW, dice("any"))
    assert len(held.certificate) <= 712
    peer = trust(session).check(held.certificate, held.peer.static_key, NOW)
    told = Request(
        peer.name, session, peer.capabilities, peer.out_degree, peer.bandwidth, peer.groups
    )
    assert told == wanted
    assert Credential.parse(held.text()) == held


def test_the_longest_certificate_still_fits_into_a_handshake() -> None:
    longest = Request(
        "m" * 64, "s" * 64, EVERY_CAPABILITY, 65535, (1 << 64) - 1, (ip_address("ff3e::1"),) * 16
    )
    der = authority().credential(longest, NOW, dice("longest"), 366 * 24 * 3600.0).certificate
    assert len(der) == 712


def test_the_bytes_of_a_certificate_stay_as_they_are() -> None:
    der = credential().certificate
    assert len(der) == 331
    assert sha256(der).hexdigest() == (
        "4f327972aa02eb67ce744f3cda17d10fce522c3dfcb6e3027a095c81a7fde062"
    )


@given(
    st.builds(
        Grant,
        capabilities=st.integers(0, int(EVERY_CAPABILITY)),
        out_degree=integers(16),
        bandwidth=integers(64),
        session=sessions,
        static_key=st.binary(min_size=32, max_size=32),
        groups=st.lists(addresses(), max_size=16).map(tuple),
    )
)
def test_a_grant_comes_back_as_it_was_and_none_of_its_prefixes_does(grant: Grant) -> None:
    built = build_grant(grant)
    assert read_grant(built) == grant
    for length in range(len(built)):
        with pytest.raises(DecodeError):
            read_grant(built[:length])


# Who is believed.


def test_the_forger_of_these_tests_makes_good_certificates_too() -> None:
    assert trust().check(forged(), STATIC_KEY, NOW).signing_key == SIGNING_KEY


def grant(**changes: object) -> bytes:
    return build_grant(replace(GRANT, **changes))  # type: ignore[arg-type]


def with_grant(content: bytes) -> Callable[[], bytes]:
    return lambda: forged([(CONSTRAINTS, True), (grant_extension(content), True)])


GOOD = build_grant(GRANT)
STRANGE = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes(64))
CA = x509.BasicConstraints(ca=True, path_length=None)
CURVE_KEY = ec.derive_private_key(1, ec.SECP256R1()).public_key()

FORGERIES: dict[str, tuple[Callable[[], bytes], str]] = {
    "an authority": (lambda: forged([(CA, True), (grant_extension(), True)]), "authority"),
    "no constraints": (lambda: forged([(grant_extension(), True)]), "extensions"),
    "no grant": (
        lambda: forged([(CONSTRAINTS, True)], subject=named((NameOID.COMMON_NAME, "m" * 64))),
        "extensions",
    ),
    "nothing": (
        lambda: forged([], subject=named((NameOID.COMMON_NAME, "m" * 64))),
        "extensions",
    ),
    "nothing, and short": (lambda: forged([]), "form"),
    "one more extension": (
        lambda: forged([(CONSTRAINTS, True), (grant_extension(), True), (STRANGE, False)]),
        "extensions",
    ),
    "another in place of ours": (
        lambda: forged([(CONSTRAINTS, True), (STRANGE, True)]),
        "extensions",
    ),
    "other order": (lambda: forged([(grant_extension(), True), (CONSTRAINTS, True)]), "extensions"),
    "constraints not critical": (
        lambda: forged([(CONSTRAINTS, False), (grant_extension(), True)]),
        "critical",
    ),
    "grant not critical": (
        lambda: forged([(CONSTRAINTS, True), (grant_extension(), False)]),
        "critical",
    ),
    "grant and more": (with_grant(GOOD + b"\0"), "trailing"),
    "half a grant": (with_grant(GOOD[:-1]), "truncated"),
    "empty grant": (with_grant(b""), "truncated"),
    "unknown capability": (with_grant(grant(capabilities=32)), "capabilities"),
    "highest capability": (with_grant(grant(capabilities=1 << 31)), "capabilities"),
    "short static key": (with_grant(grant(static_key=STATIC_KEY[:-1])), "static key"),
    "no session": (with_grant(grant(session="")), "session"),
    "session with a newline": (with_grant(grant(session="a\nb")), "session"),
    "session not UTF-8": (with_grant(GOOD.replace(b"conf", b"\xff\xff\xff\xff")), "UTF-8"),
    "17 groups": (with_grant(GOOD[:-1] + b"\x11" + bytes(17 * 16)), "17"),
    "two names": (
        lambda: forged(subject=named((NameOID.COMMON_NAME, "a"), (NameOID.COMMON_NAME, "b"))),
        "subject",
    ),
    "no common name": (
        lambda: forged(subject=named((NameOID.ORGANIZATION_NAME, "m1"))),
        "subject",
    ),
    "no name": (lambda: forged(subject=named()), "subject"),
    "a name for terminals": (
        lambda: forged(subject=named((NameOID.COMMON_NAME, "m1\x1b[2J"))),
        "certificate for",
    ),
    "a path for a name": (
        lambda: forged(subject=named((NameOID.COMMON_NAME, "../m1"))),
        "certificate for",
    ),
    "a static key for a signing key": (
        lambda: forged(key=X25519PublicKey.from_public_bytes(STATIC_KEY)),
        "not Ed25519",
    ),
    "another curve": (lambda: forged(key=CURVE_KEY), "not Ed25519"),
    "short serial": (lambda: forged(serial=1), "form"),
    "long serial": (lambda: forged(serial=1 << 100), "form"),
    "another root": (lambda: forged(signer=OTHER_ROOT), "unknown"),
    "another root in our root's name": (
        lambda: forged(signer=OTHER_ROOT, issuer=authority().fingerprint),
        "signature",
    ),
    "our root in another name": (lambda: forged(issuer="a" * 16), "unknown"),
    "our root in a name of another length": (lambda: forged(issuer="DMMP"), "form"),
    "a host as an authority": (
        lambda: forged(signer=credential().signing_secret),
        "unknown",
    ),
    "not a certificate": (lambda: b"-----BEGIN CERTIFICATE-----", "form"),
    "zeros": (lambda: bytes(331), "form"),
    "one byte more": (lambda: forged() + b"\0", "form"),
    "too long to look at": (lambda: forged() + bytes(CERTIFICATE_LIMIT_BYTES), "bytes"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_no_forgery_is_believed(forgery: str) -> None:
    make, named_in = FORGERIES[forgery]
    assert named_in in refused(make())


def test_every_prefix_of_a_certificate_is_refused() -> None:
    der = forged()
    for length in range(len(der)):
        refused(der[:length])


def test_every_changed_byte_of_a_certificate_is_noticed() -> None:
    der = forged()
    for at in range(len(der)):
        for bits in (0x01, 0x80, 0xFF):
            refused(der[:at] + bytes((der[at] ^ bits,)) + der[at + 1 :])


@pytest.mark.long
@pytest.mark.slow
def test_every_other_value_of_every_byte_is_noticed() -> None:
    der = forged()
    for at in range(len(der)):
        for value in set(range(256)) - {der[at]}:
            refused(der[:at] + bytes((value,)) + der[at + 1 :])


@pytest.mark.parametrize("bits", [0x01, 0x80, 0xFF])
def test_what_a_root_signs_is_a_certificate_or_is_refused_and_nothing_else(bits: int) -> None:
    der = forged()
    believed = 0
    for at in range(4, len(der) - 74):
        changed = signed_again(der[:at] + bytes((der[at] ^ bits,)) + der[at + 1 :])
        try:
            trust().check(changed, STATIC_KEY, NOW)
            believed += 1
        except AuthenticationError:
            pass
    # Other serials, keys, dates and ceilings are certificates just as well.
    assert 0 < believed < len(der) / 2


@given(st.binary(max_size=1100))
def test_whatever_comes_is_refused_and_nothing_else(junk: bytes) -> None:
    refused(junk)
    with pytest.raises(AuthenticationError):
        read_certificate(junk)
