"""Who is believed and when; the credential and its file; the two kinds of party (slide 23)."""

from __future__ import annotations

import hmac
from hashlib import sha256

import pytest

from dmmp.errors import AuthenticationError, UsageError
from dmmp.security.authority import Authority
from dmmp.security.certificate import fingerprint
from dmmp.security.identity import (
    CLOCK_SKEW,
    CertifiedParty,
    Credential,
    SharedSecretParty,
    Trust,
    static_public,
    verify,
)
from dmmp.security.peer import EVERY_CAPABILITY, Party
from dmmp.security.pem import certificate_pem, ed25519_pem, x25519_pem
from tests.security.certifying import (
    NOW,
    OTHER_ROOT,
    ROOT_SECRET,
    SESSION,
    SIGNING_KEY,
    STATIC_KEY,
    authority,
    credential,
    dice,
    forged,
    refused,
    request,
    trust,
)

# Who is believed.


def test_a_certificate_holds_for_its_time_and_five_minutes_around() -> None:
    der = forged()
    first, last = NOW - CLOCK_SKEW, NOW + 3600 + CLOCK_SKEW
    for at in (first, NOW, last):
        trust().check(der, STATIC_KEY, at)
    assert "not yet valid" in refused(der, at=first - 0.001)
    assert "expired" in refused(der, at=last + 0.001)
    for at in (float("nan"), float("inf"), float("-inf"), 0.0):
        refused(der, at=at)


def test_a_certificate_is_for_one_session() -> None:
    held = credential(session="elsewhere")
    assert "another session" in refused(held.certificate, held.peer.static_key)
    assert trust("elsewhere").check(held.certificate, held.peer.static_key, NOW) == held.peer


def test_a_certificate_is_shown_only_by_who_holds_its_static_key() -> None:
    thief = static_public(sha256(b"thief").digest())
    for key in (thief, b"", bytes(32), STATIC_KEY[:-1], STATIC_KEY + b"\0"):
        assert "another key" in refused(forged(), static_key=key)


def test_a_denied_certificate_is_refused_and_its_neighbours_are_not() -> None:
    held, other = credential("m1"), credential("m2")
    denying = trust(denied=frozenset((held.peer.serial,)))
    denying.check(other.certificate, other.peer.static_key, NOW)
    with pytest.raises(AuthenticationError, match="denied"):
        denying.check(held.certificate, held.peer.static_key, NOW)


def test_each_of_several_roots_is_believed() -> None:
    other = Authority(OTHER_ROOT)
    both = Trust([authority().public, other.public], SESSION)
    for root in (ROOT_SECRET, OTHER_ROOT):
        assert both.check(forged(signer=root), STATIC_KEY, NOW).name == "m1"


@pytest.mark.parametrize("roots", [[], [b"short"], [bytes((n,)) * 32 for n in range(9)]])
def test_roots_that_are_none_or_too_many_are_a_mistake(roots: list[bytes]) -> None:
    with pytest.raises(UsageError):
        Trust(roots, SESSION)


def test_a_root_is_named_by_sixteen_letters() -> None:
    names = {fingerprint(bytes((n,)) * 32) for n in range(50)}
    assert len(names) == 50
    assert all(len(name) == 16 and name.isascii() and name.islower() for name in names)


# Keys and signatures.


def test_static_keys_are_those_of_rfc_7748() -> None:
    pair = (
        "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
    )
    assert static_public(bytes.fromhex(pair[0])).hex() == pair[1]


def test_signatures_are_those_of_rfc_8032() -> None:
    secret = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    static = sha256(b"static").digest()
    certificate = authority().issue(request(), public, static_public(static), NOW, dice("rfc"))
    held = Credential(certificate, secret, static)
    assert held.sign(b"\x72") == signature
    verify(public, signature, b"\x72")


@pytest.mark.parametrize("what", ["data", "signature", "key", "short", "long", "no key"])
def test_a_signature_holds_for_its_key_and_data_only(what: str) -> None:
    held = credential()
    key, data = held.peer.signing_key, b"I leave"
    signature = held.sign(data)
    verify(key, signature, data)
    changed = {
        "data": (key, signature, b"You leave"),
        "signature": (key, bytes(64), data),
        "key": (SIGNING_KEY, signature, data),
        "short": (key, signature[:-1], data),
        "long": (key, signature + b"\0", data),
        "no key": (key[:-1], signature, data),
    }
    with pytest.raises(AuthenticationError):
        verify(*changed[what])


# The credential and its file.


def test_a_credential_is_one_file_and_shows_no_secret_when_printed() -> None:
    held = credential()
    assert held.text().count("-----BEGIN ") == 3
    assert Credential.parse(held.text()) == held
    assert Credential.parse("from a mail\n" + held.text().replace("\n", "\r\n")) == held
    shown = repr(held) + str(held.peer)
    assert repr(held.signing_secret) not in shown and repr(held.static_secret) not in shown


def test_a_credential_is_due_for_renewal_after_two_thirds_of_its_life() -> None:
    life = 24 * 3600 + 300
    assert credential().renewal_at == pytest.approx(NOW - 300 + life * 2 / 3)


HELD, OTHER = credential("m1"), credential("m2")
PARTS = (
    certificate_pem(HELD.certificate),
    ed25519_pem(HELD.signing_secret),
    x25519_pem(HELD.static_secret),
)
BAD_FILES = {
    "empty": "",
    "no certificate": "".join(PARTS[1:]),
    "certificate alone": PARTS[0],
    "no static key": "".join(PARTS[:2]),
    "two static keys": "".join(PARTS) + PARTS[2],
    "two certificates": PARTS[0] + "".join(PARTS),
    "another signing key": PARTS[0] + ed25519_pem(OTHER.signing_secret) + PARTS[2],
    "another static key": PARTS[0] + PARTS[1] + x25519_pem(OTHER.static_secret),
    "a certificate that is none": certificate_pem(b"none") + PARTS[1] + PARTS[2],
    "damaged": "".join(PARTS).replace("MC4", "M!4"),
    "a key that is none": "".join(PARTS).replace("MC4", "AC4"),
    "something else": "".join(PARTS) + PARTS[0].replace("CERTIFICATE", "X509 CRL"),
    "a key of another kind": (
        "-----BEGIN PRIVATE KEY-----\n"
        "MEcCAQAwBQYDK2VxBDsEOWyCpWLLgI0Q1jK+ichRPr9skp803fqMn2PJlg7240ij\n"
        "UoyKP8wvBE45o/xblEkvjwMudUmiAJj5Ww==\n-----END PRIVATE KEY-----\n"
    ),
    "a key of no bytes": (
        "-----BEGIN PRIVATE KEY-----\nMA4CAQAwBQYDK2VuBAIEAA==\n-----END PRIVATE KEY-----\n"
    ),
    "endless": "".join(PARTS) + " " * 20000,
}


@pytest.mark.parametrize("bad", BAD_FILES)
def test_a_bad_credential_file_is_one_clear_line(bad: str) -> None:
    with pytest.raises(UsageError) as caught:
        Credential.parse(BAD_FILES[bad])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


# The two kinds of party.


def test_a_certified_party_shows_its_certificate_and_checks_others() -> None:
    mine, yours = credential("m1"), credential("m2")
    party: Party = CertifiedParty(mine, trust())
    assert (party.credential, party.static_secret) == (mine.certificate, mine.static_secret)
    assert party.check(yours.certificate, yours.peer.static_key, NOW) == yours.peer
    with pytest.raises(AuthenticationError):
        party.check(yours.certificate, mine.peer.static_key, NOW)
    with pytest.raises(AuthenticationError):
        party.check(b"", yours.peer.static_key, NOW)


def test_what_both_ends_must_agree_on_is_mode_version_and_session() -> None:
    certified = CertifiedParty(credential(), trust()).prologue
    assert certified == b"DMMP\x01\x01" + sha256(b"conference").digest()
    shared = SharedSecretParty(b"x" * 16, SESSION).prologue
    assert shared == b"DMMP\x01\x02" + sha256(b"conference").digest()
    assert SharedSecretParty(b"x" * 16, "elsewhere").prologue != shared


def test_a_credential_of_another_session_or_authority_is_a_mistake() -> None:
    for other in (Trust([authority().public], "elsewhere"), Trust([SIGNING_KEY], SESSION)):
        with pytest.raises(UsageError, match="session file"):
            CertifiedParty(credential(), other)


def test_a_running_party_shows_its_renewed_certificate() -> None:
    held = credential()
    party = CertifiedParty(held, trust())
    later = authority().renew(held.certificate, frozenset(), NOW + 1000, dice("later"))
    party.renew(held.renewed(later))
    assert party.credential == later != held.certificate
    assert party.static_secret == held.static_secret
    peer = trust().check(later, held.peer.static_key, NOW + 24 * 3600 + 1000)
    assert peer.node == held.peer.node
    verify(peer.signing_key, party.sign(b"x"), b"x")


def test_a_renewal_that_others_would_refuse_changes_nothing() -> None:
    held = credential()
    party = CertifiedParty(held, trust())
    older = authority().renew(held.certificate, frozenset(), NOW - 1000, dice("older"))
    strange = Authority(OTHER_ROOT).credential(request(), NOW + 1000, dice("strange"))
    for refused_one in (held.renewed(older), credential("m2"), strange, credential("m1", "x")):
        with pytest.raises(AuthenticationError):
            party.renew(refused_one)
    with pytest.raises(AuthenticationError):
        held.renewed(strange.certificate)
    assert party.credential == held.certificate


def test_a_running_party_obeys_a_newer_deny_list() -> None:
    mine, yours = credential("m1"), credential("m2")
    party = CertifiedParty(mine, trust())
    party.deny(frozenset((yours.peer.serial,)))
    with pytest.raises(AuthenticationError, match="denied"):
        party.check(yours.certificate, yours.peer.static_key, NOW)
    with pytest.raises(AuthenticationError, match="denied"):
        party.renew(credential("m2"))
    party.deny(frozenset())
    party.check(yours.certificate, yours.peer.static_key, NOW)


def derived(secret: bytes, label: bytes, session: str) -> bytes:
    """Compute HKDF-SHA256 for 32 bytes by hand (RFC 5869)."""
    extracted = hmac.digest(sha256(session.encode()).digest(), secret, "sha256")
    return hmac.digest(extracted, label + b"\x01", "sha256")


def test_holders_of_a_shared_secret_know_each_other() -> None:
    one: Party = SharedSecretParty(b"correct horse battery", SESSION)
    two = SharedSecretParty(b"correct horse battery\n", SESSION)
    assert one.static_secret == two.static_secret and one.credential == b""
    peer = one.check(two.credential, static_public(two.static_secret), NOW)
    assert peer.capabilities == EVERY_CAPABILITY
    assert (peer.out_degree, peer.name, peer.groups) == (65535, "shared secret", ())
    verify(peer.signing_key, two.sign(b"data"), b"data")


def test_the_keys_of_a_shared_secret_are_derived_by_hkdf() -> None:
    secret = b"correct horse battery"
    party = SharedSecretParty(secret, SESSION)
    assert party.static_secret == derived(secret, b"DMMP shared secret: static key", SESSION)


def test_who_holds_another_secret_is_refused() -> None:
    party = SharedSecretParty(b"correct horse battery", SESSION)
    for other in (
        SharedSecretParty(b"wrong horse battery", SESSION),
        SharedSecretParty(b"correct horse battery", "elsewhere"),
    ):
        with pytest.raises(AuthenticationError):
            party.check(b"", static_public(other.static_secret), NOW)
    mine = static_public(party.static_secret)
    for shown, key in ((b"x", mine), (credential().certificate, mine), (b"", b""), (b"", mine[1:])):
        with pytest.raises(AuthenticationError):
            party.check(shown, key, NOW)


@pytest.mark.parametrize(
    "secret", [b"", b"\n", b"x" * 15, b"x" * 15 + b"\n", b"x" * 257, b"\xff" * 32]
)
def test_a_secret_that_is_no_good_is_refused_with_the_cure(secret: bytes) -> None:
    with pytest.raises(UsageError, match="openssl rand"):
        SharedSecretParty(secret, SESSION)


@pytest.mark.parametrize("secret", [b"x" * 16, b"x" * 256, b"x" * 256 + b"\r\n", "ü".encode() * 8])
def test_a_secret_has_16_to_256_bytes(secret: bytes) -> None:
    SharedSecretParty(secret, SESSION)
