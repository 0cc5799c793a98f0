"""What the authority centre grants, renews and denies, and what it does not (slide 23)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmmp.errors import AuthenticationError, DecodeError, UsageError
from dmmp.security.authority import (
    DENIED_LIMIT,
    DENY_LIST_LIMIT_BYTES,
    LIFETIME_LEAST,
    LIFETIME_MOST,
    SERIAL_LEAST,
    Authority,
    DenyList,
    Request,
    read_deny_list,
)
from dmmp.security.certificate import fingerprint, read_certificate
from dmmp.security.identity import Trust
from dmmp.security.peer import Capability
from tests.security.certifying import (
    NOW,
    SESSION,
    SIGNING_KEY,
    STATIC_KEY,
    authority,
    credential,
    dice,
    forged,
    request,
)

OTHER = Authority.create(dice("another root"))
GROUP = ip_address("239.1.2.3")


def test_a_root_is_one_file() -> None:
    made = Authority.create(dice("root"))
    again = Authority.parse(made.text())
    assert again.public == made.public and again.fingerprint == fingerprint(made.public)
    assert made.text().startswith("-----BEGIN PRIVATE KEY-----\n")
    assert Authority.create(dice("another root")).public != made.public
    for bad in ("", credential().text(), made.text() * 2):
        with pytest.raises(UsageError, match="root key"):
            Authority.parse(bad)


def test_a_certificate_begins_five_minutes_ago_and_lasts_a_day_unless_told() -> None:
    der = authority().issue(request(), SIGNING_KEY, STATIC_KEY, NOW + 0.9, dice("day"))
    says = read_certificate(der)
    assert (says.not_before, says.peer.not_after) == (NOW - 300, NOW + 24 * 3600)
    short = authority().issue(request(), SIGNING_KEY, STATIC_KEY, NOW, dice("short"), 60.0)
    assert read_certificate(short).peer.not_after == NOW + 60


def test_keys_and_serials_are_drawn_and_not_used_twice() -> None:
    throw = dice("hosts")
    made = [authority().credential(request(f"m{n}"), NOW, throw) for n in range(50)]
    assert (
        len({each.signing_secret for each in made} | {each.static_secret for each in made}) == 100
    )
    serials = {each.peer.serial for each in made}
    assert len(serials) == 50 and all(serial >> 62 == 1 for serial in serials)


@pytest.mark.parametrize("drawn", [bytes(8), b"\xff" * 8])
def test_every_serial_has_eight_bytes_and_is_positive(drawn: bytes) -> None:
    der = authority().issue(request(), SIGNING_KEY, STATIC_KEY, NOW, lambda _: drawn)
    assert SERIAL_LEAST <= read_certificate(der).peer.serial < 2 * SERIAL_LEAST


REFUSED: dict[str, Callable[[Request], Request]] = {
    "no name": lambda it: replace(it, name=""),
    "a path": lambda it: replace(it, name="../m1"),
    "a hidden file": lambda it: replace(it, name=".m1"),
    "a long name": lambda it: replace(it, name="m" * 65),
    "a name in colour": lambda it: replace(it, name="\x1b[31mm1"),
    "letters of others": lambda it: replace(it, name="mü"),
    "no session": lambda it: replace(it, session=""),
    "a long session": lambda it: replace(it, session="ü" * 33),
    "half a character": lambda it: replace(it, session="\ud800"),
    "no role": lambda it: replace(it, capabilities=Capability.NONE),
    "an unknown role": lambda it: replace(it, capabilities=Capability(33)),
    "a negative out-degree": lambda it: replace(it, out_degree=-1),
    "a huge out-degree": lambda it: replace(it, out_degree=65536),
    "a negative bandwidth": lambda it: replace(it, bandwidth=-1),
    "a huge bandwidth": lambda it: replace(it, bandwidth=1 << 64),
    "17 groups": lambda it: replace(it, groups=(GROUP,) * 17),
    "a group that is a host": lambda it: replace(it, groups=(ip_address("10.0.0.1"),)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_granted_is_one_clear_line(what: str) -> None:
    with pytest.raises(UsageError) as caught:
        authority().credential(REFUSED[what](request()), NOW, dice(what))
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    "lifetime", [0.0, -1.0, LIFETIME_LEAST - 1, LIFETIME_MOST + 1, float("nan"), float("inf")]
)
def test_a_lifetime_has_bounds(lifetime: float) -> None:
    with pytest.raises(UsageError, match="lifetime"):
        authority().credential(request(), NOW, dice("life"), lifetime)


def test_keys_of_another_length_are_not_certified() -> None:
    for keys in ((SIGNING_KEY[1:], STATIC_KEY), (SIGNING_KEY, STATIC_KEY + b"\0")):
        with pytest.raises(UsageError, match="32 bytes"):
            authority().issue(request(), *keys, NOW, dice("keys"))


# Renewal.


def test_a_renewed_certificate_differs_in_dates_and_serial_only() -> None:
    wanted = replace(request("s1"), capabilities=Capability.SOURCE, groups=(GROUP,))
    held = authority().credential(wanted, NOW, dice("s1"), 7200.0)
    later = NOW + 5000
    renewed = read_certificate(
        authority().renew(held.certificate, frozenset(), later, dice("renewal"))
    )
    assert renewed.peer.serial != held.peer.serial
    assert (renewed.not_before, renewed.peer.not_after) == (later - 300, later + 7200)
    same = replace(renewed.peer, serial=held.peer.serial, not_after=held.peer.not_after)
    assert same == held.peer and renewed.session == SESSION


def test_a_renewal_may_last_otherwise_and_may_come_late() -> None:
    held = credential()
    renewed = authority().renew(held.certificate, frozenset(), NOW + 1e7, dice("late"), 3600.0)
    assert read_certificate(renewed).peer.not_after == NOW + 1e7 + 3600


def test_lifetimes_stay_as_they_are_over_many_renewals() -> None:
    der, at = credential().certificate, NOW
    for n in range(20):
        at += 57_600.37
        der = authority().renew(der, frozenset(), at, dice(f"renewal {n}"))
    says = read_certificate(der)
    assert says.peer.not_after - says.not_before == 24 * 3600 + 300


def test_only_ones_own_certificates_are_renewed_and_no_denied_ones() -> None:
    held = credential()
    denied = frozenset((held.peer.serial,))
    with pytest.raises(AuthenticationError, match="denied"):
        authority().renew(held.certificate, denied, NOW, dice("denied"))
    with pytest.raises(AuthenticationError, match="unknown"):
        OTHER.renew(held.certificate, frozenset(), NOW, dice("other"))
    in_our_name = forged(signer=held.signing_secret, issuer=authority().fingerprint)
    with pytest.raises(AuthenticationError, match="signature"):
        authority().renew(in_our_name, frozenset(), NOW, dice("forged"))
    with pytest.raises(AuthenticationError):
        authority().renew(b"junk", frozenset(), NOW, dice("junk"))


# The deny list.

ROOTS = (OTHER.public, authority().public)
SERIALS = (SERIAL_LEAST + 5, SERIAL_LEAST + 1)


def denied(number: int = 3) -> DenyList:
    return authority().deny(SESSION, number, SERIALS)


def test_a_deny_list_is_signed_and_sent() -> None:
    found = read_deny_list(denied().encode(), SESSION, ROOTS, 0)
    assert found == denied()
    assert (found.number, found.serials) == (3, tuple(sorted(SERIALS)))
    assert (
        read_deny_list(authority().deny(SESSION, 0, ()).encode(), SESSION, ROOTS, 0).serials == ()
    )


def test_an_older_deny_list_is_refused() -> None:
    sent = denied(3).encode()
    assert read_deny_list(sent, SESSION, ROOTS, 3).number == 3
    with pytest.raises(AuthenticationError, match="older than 4"):
        read_deny_list(sent, SESSION, ROOTS, 4)


def test_a_deny_list_of_another_session_or_root_is_refused() -> None:
    with pytest.raises(AuthenticationError, match="session"):
        read_deny_list(authority().deny("elsewhere", 9, ()).encode(), SESSION, ROOTS, 0)
    with pytest.raises(AuthenticationError, match="signature"):
        read_deny_list(denied().encode(), SESSION, [OTHER.public], 0)
    host = credential()
    by_host = replace(denied(), signature=host.sign(denied().content()))
    with pytest.raises(AuthenticationError, match="signature"):
        read_deny_list(by_host.encode(), SESSION, ROOTS, 0)


def test_every_prefix_and_every_changed_bit_of_a_deny_list_is_refused() -> None:
    sent = denied().encode()
    changed = [sent[:length] for length in range(len(sent))] + [sent + b"\0"]
    for at in range(len(sent)):
        changed += [sent[:at] + bytes((sent[at] ^ 1 << bit,)) + sent[at + 1 :] for bit in range(8)]
    for each in changed:
        with pytest.raises(DecodeError):
            read_deny_list(each, SESSION, ROOTS, 0)


@given(st.binary(max_size=200))
def test_junk_is_no_deny_list(junk: bytes) -> None:
    with pytest.raises(DecodeError):
        read_deny_list(junk, SESSION, ROOTS, 0)


def test_the_longest_deny_list_travels_in_one_datagram() -> None:
    serials = range(SERIAL_LEAST, SERIAL_LEAST + DENIED_LIMIT)
    longest = authority().deny("s" * 64, 0xFFFFFFFF, serials)
    sent = longest.encode()
    assert len(sent) <= DENY_LIST_LIMIT_BYTES
    assert read_deny_list(sent, "s" * 64, ROOTS, 0) == longest
    with pytest.raises(UsageError, match="at most"):
        authority().deny(SESSION, 1, range(SERIAL_LEAST, SERIAL_LEAST + DENIED_LIMIT + 1))
    with pytest.raises(DecodeError):
        read_deny_list(sent + bytes(DENY_LIST_LIMIT_BYTES), "s" * 64, ROOTS, 0)


def test_what_a_deny_list_names_is_refused_by_who_obeys_it() -> None:
    held = credential()
    found = authority().deny(SESSION, 1, [held.peer.serial])
    trust = Trust(ROOTS, SESSION, frozenset(found.serials))
    with pytest.raises(AuthenticationError, match="denied"):
        trust.check(held.certificate, held.peer.static_key, NOW)
