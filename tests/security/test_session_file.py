"""The session file: complete, readable, and not to be changed by anybody but a root (slide 23)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmmp.errors import AuthenticationError, UsageError
from dmmp.security.authority import DENIED_LIMIT, SERIAL_LEAST, Authority
from dmmp.security.session_file import Contact, SessionFile, is_contact_address
from tests.security.certifying import NOW, SESSION, STATIC_KEY, authority, credential, dice

OTHER = Authority.create(dice("another root"))
POINT = Contact("rp.example:47700", STATIC_KEY)
SECOND = Contact("[2001:db8::1]:4000", bytes(range(32)))


def unsigned() -> SessionFile:
    return SessionFile(SESSION, 1, (authority().public,), (POINT,))


def full() -> SessionFile:
    return replace(
        unsigned(),
        serial=7,
        roots=(authority().public, OTHER.public),
        rendezvous_points=(POINT, SECOND),
        authority=Contact("192.0.2.1:47701", bytes(32)),
        denied=authority().deny(SESSION, 2, [credential().peer.serial, SERIAL_LEAST]),
    ).signed(authority().sign)


def refused(text: str, pinned: str | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        SessionFile.parse(text, pinned)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 300
    return line


def test_a_session_file_comes_back_as_it_was() -> None:
    for made in (unsigned().signed(authority().sign), full()):
        assert SessionFile.parse(made.text()) == made
        assert SessionFile.parse(made.text()).text() == made.text()


def test_people_can_read_it() -> None:
    text = full().text()
    assert f"# root {authority().fingerprint}" in text
    for line in ('session = "conference"', "serial = 7", 'address = "rp.example:47700"'):
        assert line in text.splitlines()
    assert STATIC_KEY.hex() in text and max(map(len, text.splitlines())) < 200


def test_comments_and_layout_are_everybodys() -> None:
    text = full().text()
    changed = "# from the operator\n" + text.replace(" = ", "=").replace("\n[", "\n\n  [")
    assert SessionFile.parse(changed) == full()


@given(
    st.text(min_size=1, max_size=16).filter(str.isprintable),
    st.integers(0, 0xFFFFFFFF),
)
def test_any_session_name_can_be_written(name: str, serial: int) -> None:
    made = replace(unsigned(), session=name, serial=serial).signed(authority().sign)
    assert SessionFile.parse(made.text()) == made


def test_the_largest_session_file_can_be_read() -> None:
    others = [Authority.create(dice(f"root {n}")).public for n in range(7)]
    denied = authority().deny("ü" * 32, 9, range(SERIAL_LEAST, SERIAL_LEAST + DENIED_LIMIT))
    made = replace(
        full(),
        session="ü" * 32,
        roots=(authority().public, *others),
        rendezvous_points=tuple(Contact("x" * 253 + f":{n}", STATIC_KEY) for n in range(1, 9)),
        denied=denied,
    ).signed(authority().sign)
    assert SessionFile.parse(made.text()) == made
    assert len(made.text()) < 8000


def test_it_says_whom_to_trust() -> None:
    held, other = credential("m1"), credential("m2")
    trust = full().trust()
    assert trust.check(other.certificate, other.peer.static_key, NOW) == other.peer
    with pytest.raises(AuthenticationError, match="denied"):
        trust.check(held.certificate, held.peer.static_key, NOW)
    assert unsigned().trust().denied == frozenset()


# What must not be changed.


def swapped(pattern: str, replacement: str) -> str:
    text = full().text()
    changed, count = re.subn(pattern, replacement, text, count=1)
    assert count == 1 and changed != text, pattern
    return changed


CHANGES = {
    "session": ('"conference"', '"conferences"'),
    "serial": ("serial = 7", "serial = 8"),
    "address": ("rp.example", "rp.attacker.example"),
    "port": ("47700", "47701"),
    "key of a point": (STATIC_KEY.hex(), bytes(32).hex()),
    "a point left out": (r"\[\[rendezvous_points\]\]\naddress = \"\[.*\n.*\n", ""),
    "the authority left out": (r"\[authority\]\n.*\n.*\n", ""),
    "the deny list left out": (r"\[denied\]\n.*\n.*\n.*\n", ""),
    "a root left out": (f', "{OTHER.public.hex()}"', ""),
    "number of the deny list": ("number = 2", "number = 3"),
    "a serial": (f"{SERIAL_LEAST:016x}", f"{SERIAL_LEAST + 1:016x}"),
    "the signature": (r"\[signature\]\ned25519 = \"....", '[signature]\ned25519 = "AAAA'),
}


@pytest.mark.parametrize("what", CHANGES)
def test_every_change_of_a_value_is_noticed(what: str) -> None:
    assert "changed after it was signed" in refused(swapped(*CHANGES[what]))


def test_whatever_is_changed_in_the_text_changes_nothing_or_is_refused() -> None:
    text, meant = full().text(), full()
    for at in range(len(text)):
        for put in ("x", "\x00"):
            try:
                found = SessionFile.parse(text[:at] + put + text[at + 1 :])
            except UsageError:
                continue
            assert found == meant


def test_a_signature_by_a_root_that_is_not_in_it_is_refused() -> None:
    assert "changed" in refused(unsigned().signed(OTHER.sign).text())
    assert "changed" in refused(unsigned().signed(credential().sign).text())


def test_a_deny_list_in_it_must_be_a_roots_as_well() -> None:
    by_other = replace(full(), denied=OTHER.deny(SESSION, 2, []), roots=(authority().public,))
    assert "deny list" in refused(by_other.signed(authority().sign).text())
    elsewhere = replace(full(), denied=authority().deny("elsewhere", 2, []))
    assert "deny list" in refused(elsewhere.signed(authority().sign).text())


def test_a_pinned_root_must_have_signed_it() -> None:
    ours = authority().fingerprint
    assert SessionFile.parse(full().text(), ours) == full()
    assert SessionFile.parse(full().text(), f"{ours[:8]}-{ours[8:]} ".upper()) == full()
    assert OTHER.fingerprint in refused(
        unsigned().signed(authority().sign).text(), OTHER.fingerprint
    )
    # The other root is named in the file, but it was ours that signed.
    assert "changed" in refused(full().text(), OTHER.fingerprint)


def test_who_adds_a_root_of_their_own_does_not_pass_for_the_pinned_one() -> None:
    attacked = replace(
        full(), roots=(authority().public, OTHER.public), rendezvous_points=(SECOND,)
    ).signed(OTHER.sign)
    assert "changed" in refused(attacked.text(), authority().fingerprint)
    # Without a pin nobody can tell.
    assert SessionFile.parse(attacked.text()) == attacked


# What is no session file.

BAD: dict[str, Callable[[str], str]] = {
    "empty": lambda text: "",
    "not TOML": lambda text: "session",
    "nested without end": lambda text: "a = " + "[" * 20000,
    "endless": lambda text: text + " " * 70000,
    "no session": lambda text: text.replace('session = "conference"', ""),
    "session of another type": lambda text: text.replace('"conference"', "5"),
    "empty session": lambda text: text.replace('"conference"', '""'),
    "session with a newline": lambda text: text.replace('"conference"', r'"a\nb"'),
    "serial that is true": lambda text: text.replace("serial = 7", "serial = true"),
    "serial below zero": lambda text: text.replace("serial = 7", "serial = -7"),
    "huge serial": lambda text: text.replace("serial = 7", "serial = 4294967296"),
    "no roots": lambda text: re.sub(r"roots = \[.*\]", "roots = []", text),
    "roots twice": lambda text: text.replace(OTHER.public.hex(), authority().public.hex()),
    "nine roots": lambda text: re.sub(
        r"roots = \[.*\]", f"roots = {[f'{n:064x}' for n in range(9)]}", text
    ),
    "short root": lambda text: text.replace(OTHER.public.hex(), "00"),
    "root in capitals": lambda text: text.replace(OTHER.public.hex(), "AB" * 32),
    "roots that are numbers": lambda text: re.sub(r"roots = \[.*\]", "roots = [1]", text),
    "no points": lambda text: re.sub(r"\[\[rendezvous_points\]\]\n.*\n.*\n", "", text),
    "points that are texts": lambda text: (
        'rendezvous_points = ["x"]\n' + re.sub(r"\[\[rendezvous_points\]\]\n.*\n.*\n", "", text)
    ),
    "address without a port": lambda text: text.replace("rp.example:47700", "rp.example"),
    "port 0": lambda text: text.replace(":47700", ":0"),
    "port beyond": lambda text: text.replace(":47700", ":65536"),
    "unknown value": lambda text: "hello = 1\n" + text,
    "unknown table": lambda text: text + "[hello]\n",
    "unknown value of a point": lambda text: text.replace("address =", "name = 'x'\naddress =", 1),
    "unknown value of the signature": lambda text: text + "more = 1\n",
    "no signature": lambda text: text[: text.index("[signature]")],
    "short signature": lambda text: re.sub(
        r"\[signature\]\n.*\n", '[signature]\ned25519 = "AAAA"\n', text
    ),
    "signature that is no base64": lambda text: re.sub(
        r"\[signature\]\n.*\n", '[signature]\ned25519 = "?"\n', text
    ),
    "serial of no certificate": lambda text: text.replace(f"{SERIAL_LEAST:016x}", "0" * 16),
    "too many serials": lambda text: re.sub(
        r"serials = \[.*\]", f"serials = {[f'{SERIAL_LEAST:016x}'] * 129}", text
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_session_file_is_one_clear_line(what: str) -> None:
    text = full().text()
    changed = BAD[what](text)
    assert changed != text
    assert refused(changed).startswith("no session file: ")


@given(st.text(max_size=200))
def test_whatever_text_is_refused_in_one_line(text: str) -> None:
    refused(text)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("rp.example:47700", True),
        ("192.0.2.1:1", True),
        ("[2001:db8::1]:65535", True),
        ("2001:db8::1:4000", False),
        ("rp.example", False),
        (":4000", False),
        ("rp example:4000", False),
        ("rp.example:04000", False),
        ("rp.example:4000\n", False),
        ("x" * 254 + ":1", False),
    ],
)
def test_an_address_is_host_and_port(text: str, good: bool) -> None:
    assert is_contact_address(text) is good
