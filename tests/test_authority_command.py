"""`dmmp authority` as people use it: a directory of files, and one clear line for every mistake."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dmmp.cli import authority as command
from dmmp.cli.authority import capabilities, parse_lifetime, roles_of
from dmmp.errors import AuthenticationError, UsageError
from dmmp.security.authority import Authority, read_deny_list
from dmmp.security.identity import CertifiedParty, Credential
from dmmp.security.peer import Capability, Peer
from dmmp.security.session_file import SessionFile

DAY = 24 * 3600.0


class Clock:
    """The time of day that the command sees; seconds since 1970."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(command, "time", SimpleNamespace(time=made.time))
    return made


@pytest.fixture
def place(tmp_path: Path, clock: Clock) -> Path:
    """Make an authority with one rendezvous point."""
    made = tmp_path / "demo"
    ran("init", made, "--session", "demo", "--rp", "rp.example")
    return made


def run(*words: object) -> Result:
    return CliRunner().invoke(
        command.authority, [str(word) for word in words], standalone_mode=False
    )


def ran(*words: object) -> str:
    result = run(*words)
    assert result.exception is None and result.return_value == 0, (result.exception, result.output)
    return result.output


def refused(*words: object) -> str:
    result = run(*words)
    assert isinstance(result.exception, UsageError), (result.exception, result.output)
    line = str(result.exception)
    assert "\n" not in line
    return line


def session(place: Path) -> SessionFile:
    return SessionFile.parse((place / "session.toml").read_text("utf-8"))


def credential(place: Path, name: str) -> Credential:
    return Credential.parse((place / f"{name}.pem").read_text("utf-8"))


def listed(place: Path) -> list[dict[str, Any]]:
    found = json.loads(ran("list", place, "--json"))
    assert isinstance(found, list)
    return found


def checked(place: Path, held: Credential, at: float) -> Peer:
    """Let a rendezvous point with the present session file check a credential."""
    party = CertifiedParty(credential(place, "rp"), session(place).trust())
    return party.check(held.certificate, held.peer.static_key, at)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def contents(place: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in place.iterdir()}


# init


def test_init_makes_all_that_a_session_needs(tmp_path: Path, clock: Clock) -> None:
    place = tmp_path / "deep" / "demo"
    points = ("--rp", "rp.example", "--rp", "[2001:db8::1]:4000", "--rp", "2001:db8::2")
    said = ran("init", place, "--session", "demo", *points, "--authority", "192.0.2.1:9")
    names = {"root.pem", "session.toml", "issued.json", "authority.pem"}
    assert set(contents(place)) == names | {"rp.pem", "rp2.pem", "rp3.pem"}
    found = session(place)
    addresses = [point.address for point in found.rendezvous_points]
    assert addresses == ["rp.example:47700", "[2001:db8::1]:4000", "[2001:db8::2]:47700"]
    for name, point in zip(("rp", "rp2", "rp3"), found.rendezvous_points, strict=True):
        held = credential(place, name)
        assert held.peer.static_key == point.static_key
        assert held.peer.capabilities == Capability.RENDEZVOUS_POINT
        assert checked(place, held, clock.now) == held.peer
    assert found.authority is not None and found.authority.address == "192.0.2.1:9"
    assert found.authority.static_key == credential(place, "authority").peer.static_key
    assert credential(place, "authority").peer.capabilities == Capability.AUTHORITY
    root = Authority.parse((place / "root.pem").read_text())
    assert found.roots == (root.public,) and root.fingerprint in said
    assert f"dmmp rp --session-file {place}/session.toml --credential {place}/rp.pem" in said
    assert f"dmmp authority issue {place} NAME" in said


def test_secrets_are_for_their_owner_only(place: Path) -> None:
    ran("issue", place, "m1")
    for name in ("root.pem", "rp.pem", "m1.pem", "issued.json"):
        assert mode(place / name) == 0o600
    assert mode(place) == 0o700
    ran("renew", place, "--all")
    ran("deny", place, "m1")
    for name in ("root.pem", "rp.pem", "m1.pem", "issued.json"):
        assert mode(place / name) == 0o600
    assert mode(place / "session.toml") & 0o600 == 0o600


@pytest.mark.parametrize("name", ["root.pem", "session.toml", "issued.json", "rp.pem", "rp2.pem"])
def test_init_overwrites_nothing_and_leaves_nothing_behind(
    name: str, tmp_path: Path, clock: Clock
) -> None:
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    line = refused("init", tmp_path, "--session", "demo", "--rp", "a", "--rp", "b")
    assert name in line and "not overwritten" in line
    assert [path.name for path in tmp_path.iterdir()] == [name]


INIT = ("--session", "demo", "--rp")
INIT_MISTAKES = {
    "no name": ((*INIT, "not a name"), "HOST"),
    "bad port": ((*INIT, "rp.example:0"), "65535"),
    "long session": (("--session", "x" * 65, "--rp", "rp.example"), "64"),
    "too many points": (("--session", "demo", *("--rp", "rp.example") * 9), "at most 8"),
    "bad lifetime": ((*INIT, "rp.example", "--lifetime", "soon"), "24h"),
    "endless lifetime": ((*INIT, "rp.example", "--lifetime", "900d"), "366 days"),
}


@pytest.mark.parametrize("mistake", INIT_MISTAKES)
def test_a_mistake_at_init_makes_nothing(mistake: str, tmp_path: Path, clock: Clock) -> None:
    words, named = INIT_MISTAKES[mistake]
    assert named in refused("init", tmp_path / "new", *words)
    assert not (tmp_path / "new").exists()


# issue


def test_issue_admits_a_member_for_a_day(place: Path, clock: Clock) -> None:
    said = ran("issue", place, "m1")
    held = credential(place, "m1")
    peer = checked(place, held, clock.now)
    assert (peer.name, peer.capabilities) == ("m1", Capability.MEMBER)
    assert (peer.out_degree, peer.bandwidth, peer.groups) == (11, 100_000_000, ())
    assert peer.not_after == clock.now + DAY
    assert f"dmmp member --session-file {place}/session.toml --credential {place}/m1.pem" in said
    assert listed(place)[-1] == {
        "serial": f"{peer.serial:016x}",
        "name": "m1",
        "roles": ["member"],
        "from": "2027-01-15T07:55:00Z",
        "until": "2027-01-16T08:00:00Z",
        "file": "m1.pem",
        "denied": False,
        "state": "valid",
    }


def test_issue_grants_what_is_asked_for(place: Path, tmp_path: Path, clock: Clock) -> None:
    output = tmp_path / "s1.credential"
    words = ("--role", "source", "--role", "super-node", "--bandwidth", "1G", "--lifetime", "7d")
    groups = ("--group", "239.1.2.3", "--group", "ff3e::1")
    said = ran("issue", place, "s1", *words, *groups, "--output", output)
    assert "dmmp source " in said and str(output) in said
    peer = Credential.parse(output.read_text()).peer
    assert peer.capabilities == Capability.SOURCE | Capability.SUPER_NODE | Capability.MEMBER
    assert (peer.out_degree, peer.bandwidth) == (112, 10**9)
    assert [str(group) for group in peer.groups] == ["239.1.2.3", "ff3e::1"]
    assert peer.not_after == clock.now + 7 * DAY
    assert listed(place)[-1]["file"] == str(output) and mode(output) == 0o600
    assert listed(place)[-1]["roles"] == ["super-node", "source"]


def test_a_name_is_given_once_and_no_file_is_overwritten(place: Path, clock: Clock) -> None:
    ran("issue", place, "m1")
    before = contents(place)
    assert "renew" in refused("issue", place, "m1")
    assert "renew" in refused("issue", place, "rp")
    assert "not overwritten" in refused("issue", place, "root")
    assert "not overwritten" in refused("issue", place, "m2", "--output", place / "m1.pem")
    assert contents(place) == before
    # When its certificate has expired, or was denied, the name is free again.
    clock.now += 2 * DAY
    assert "not overwritten" in refused("issue", place, "m1")
    ran("issue", place, "m1", "--output", place / "again.pem")


ISSUE_MISTAKES = {
    "a path": (("../m1",), "letters"),
    "unknown role": (("m1", "--role", "king"), "king"),
    "out-degree": (("m1", "--out-degree", "-1"), "--out-degree"),
    "bandwidth": (("m1", "--bandwidth", "fast"), "8M"),
    "huge bandwidth": (("m1", "--bandwidth", "99999999T"), "bandwidth"),
    "lifetime": (("m1", "--lifetime", "1s"), "lifetime"),
    "group of a member": (("m1", "--group", "239.1.2.3"), "--role source"),
    "group that is none": (("s", "--role", "source", "--group", "10.0.0.1"), "multicast"),
    "group with a port": (("s", "--role", "source", "--group", "239.1.2.3:5"), "without a port"),
    "too many groups": (("s", "--role", "source", *("--group", "239.1.2.3") * 17), "at most 16"),
    "no directory to write to": (("m1", "--output", "/nowhere/m1.pem"), "/nowhere/m1.pem"),
}


@pytest.mark.parametrize("mistake", ISSUE_MISTAKES)
def test_a_mistake_at_issue_writes_no_credential(mistake: str, place: Path) -> None:
    before = set(contents(place))
    words, named = ISSUE_MISTAKES[mistake]
    result = run("issue", place, *words)
    assert result.exception is not None and named in str(
        getattr(result.exception, "message", result.exception)
    )
    assert set(contents(place)) == before


# renew


def test_renew_gives_new_dates_to_the_same_keys(place: Path, clock: Clock) -> None:
    ran("issue", place, "m1", "--lifetime", "12h")
    before = credential(place, "m1")
    clock.now += DAY / 3
    said = ran("renew", place, "m1")
    after = credential(place, "m1")
    assert after.signing_secret == before.signing_secret
    assert after.peer.serial != before.peer.serial
    assert after.peer.not_after == clock.now + DAY / 2
    assert "2027-01-16T04:00:00Z" in said
    assert checked(place, after, clock.now) == after.peer
    assert [entry["name"] for entry in listed(place)] == ["rp", "m1", "m1"]
    ran("renew", place, "m1", "--lifetime", "7d")
    assert credential(place, "m1").peer.not_after == clock.now + 7 * DAY


def test_renew_all_leaves_the_denied_out_and_goes_on_after_a_failure(
    place: Path, clock: Clock
) -> None:
    for name in ("m1", "m2", "m3"):
        ran("issue", place, name)
    ran("deny", place, "m1")
    (place / "m2.pem").unlink()
    clock.now += DAY / 2
    denied = contents(place)["m1.pem"]
    result = run("renew", place, "--all")
    assert result.exception is None and result.return_value == 1
    assert "m2.pem" in result.output
    assert contents(place)["m1.pem"] == denied
    assert not (place / "m2.pem").exists()
    for name in ("rp", "m3"):
        assert credential(place, name).peer.not_after == clock.now + DAY


def test_renew_keeps_owner_and_mode_and_leaves_no_other_file(place: Path) -> None:
    ran("issue", place, "m1")
    (place / "m1.pem").chmod(0o640)
    if os.geteuid() == 0:
        os.chown(place / "m1.pem", 12345, 54321)
    names, owner = set(contents(place)), (place / "m1.pem").stat()
    ran("renew", place, "m1")
    found = (place / "m1.pem").stat()
    assert mode(place / "m1.pem") == 0o640
    assert (found.st_uid, found.st_gid) == (owner.st_uid, owner.st_gid)
    assert set(contents(place)) == names


def test_what_cannot_be_renewed_stays_as_it_is(place: Path) -> None:
    for name in ("m1", "m2"):
        ran("issue", place, name)
    assert "one host or all" in refused("renew", place)
    assert "one host or all" in refused("renew", place, "m1", "--all")
    assert "never issued" in refused("renew", place, "m3")
    (place / "m1.pem").write_bytes(contents(place)["m2.pem"])
    assert "of m2" in refused("renew", place, "m1")
    ran("deny", place, "m2")
    assert "denied" in refused("renew", place, "m2")
    (place / "m1.pem").write_text("junk")
    assert "m1.pem" in refused("renew", place, "m1")


def test_what_has_expired_and_was_renewed_is_forgotten(place: Path, clock: Clock) -> None:
    ran("issue", place, "m1")
    for _ in range(5):
        clock.now += 2 * DAY
        ran("renew", place, "--all")
    entries = listed(place)
    assert [entry["name"] for entry in entries] == ["rp", "m1"]
    assert {entry["state"] for entry in entries} == {"valid"}


# deny


def test_deny_shuts_out_every_certificate_of_a_host(place: Path, clock: Clock) -> None:
    for name in ("m1", "m2"):
        ran("issue", place, name)
    first = credential(place, "m1")
    clock.now += DAY / 2
    ran("renew", place, "m1")
    second, other = credential(place, "m1"), credential(place, "m2")
    said = ran("deny", place, "m1")
    assert "session.toml" in said and f"{first.peer.serial:016x}" in said
    found = session(place)
    assert found.serial == 2 and found.denied is not None and found.denied.number == 1
    for held in (first, second):
        with pytest.raises(AuthenticationError, match="denied"):
            checked(place, held, clock.now)
    assert checked(place, other, clock.now) == other.peer
    # The list can also be sent by itself.
    sent = found.denied.encode()
    assert read_deny_list(sent, "demo", found.roots, 1) == found.denied
    states = {entry["serial"]: entry["state"] for entry in listed(place)}
    assert states[f"{second.peer.serial:016x}"] == "denied"


def test_each_deny_list_has_the_next_number_and_drops_what_has_expired(
    place: Path, clock: Clock
) -> None:
    ran("issue", place, "m1")
    ran("issue", place, "m2", "--lifetime", "7d")
    ran("issue", place, "m3", "--lifetime", "7d")
    ran("deny", place, "m1")
    ran("deny", place, f"{credential(place, 'm2').peer.serial:016X}")
    found = session(place).denied
    assert found is not None and found.number == 2 and len(found.serials) == 2
    clock.now += DAY + 200
    ran("deny", place, "aaaaaaaaaaaaaaaa".replace("a", "5"))
    found = session(place).denied
    # Not yet: some host's clock may be so late that it would still accept the first.
    assert found is not None and len(found.serials) == 3
    clock.now += DAY
    ran("deny", place, "m3")
    found = session(place).denied
    assert found is not None and found.number == 4 and session(place).serial == 5
    m2, m3 = (credential(place, name).peer.serial for name in ("m2", "m3"))
    assert set(found.serials) == {m2, m3, 0x5555555555555555}


def test_the_deny_list_stays_short_although_the_denied_come_back(place: Path, clock: Clock) -> None:
    for n in range(5):
        ran("issue", place, "m1", "--output", place / f"{n}.pem")
        ran("deny", place, "m1")
        clock.now += 2 * DAY
    ran("renew", place, "--all")
    ran("issue", place, "m2")
    ran("deny", place, "m2")
    found = session(place).denied
    assert found is not None and found.serials == (credential(place, "m2").peer.serial,)


def test_whom_nobody_knows_cannot_be_denied(place: Path, clock: Clock) -> None:
    ran("issue", place, "m1")
    before = contents(place)
    for whom in ("m2", "5555", "ffffffffffffffff0", "0000000000000001", ""):
        assert "neither" in refused("deny", place, whom)
    assert contents(place) == before
    ran("deny", place, "m1")
    assert "no certificate that is valid" in refused("deny", place, "m1")
    clock.now += 3 * DAY
    assert "no certificate that is valid" in refused("deny", place, "rp")


# What may be wrong with the directory.


@pytest.mark.parametrize("words", [("issue", "m1"), ("renew", "rp"), ("list",), ("deny", "rp")])
def test_without_an_authority_the_cure_is_named(words: tuple[str, ...], tmp_path: Path) -> None:
    name, *rest = words
    assert "dmmp authority init" in refused(name, tmp_path / "none", *rest)
    assert ".pem" in (line := refused(name, tmp_path, *rest)) or "issued.json" in line


def test_a_root_key_that_others_can_read_is_not_used(place: Path) -> None:
    (place / "root.pem").chmod(0o640)
    assert "chmod 600" in refused("issue", place, "m1")


def test_files_that_were_changed_are_not_used(place: Path) -> None:
    good = contents(place)
    for name, text, named in (
        ("session.toml", good["session.toml"].decode().replace("rp.ex", "xx.ex"), "changed"),
        ("session.toml", "\udcff", "session.toml"),
        ("issued.json", "[]", "issued.json"),
        ("issued.json", '{"issued": [{}]}', "issued.json"),
        ("issued.json", '{"issued": 5}', "issued.json"),
        ("root.pem", "", "root.pem"),
    ):
        (place / name).write_bytes(text.encode("utf-8", "surrogateescape"))
        assert named in refused("issue", place, "m1")
        (place / name).write_bytes(good[name])
    assert not (place / "m1.pem").exists()


def test_the_session_file_of_another_authority_is_not_used(place: Path, tmp_path: Path) -> None:
    ran("init", tmp_path / "other", "--session", "demo", "--rp", "rp.example")
    (place / "session.toml").write_bytes(contents(tmp_path / "other")["session.toml"])
    assert "root" in refused("issue", place, "m1")


# Small things.


def test_the_list_is_a_table_for_people(place: Path) -> None:
    ran("issue", place, "m1", "--role", "super-node")
    said = ran("list", place)
    assert "m1" in said and "super-node" in said and "2027-01-16T08:00:00Z" in said


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("24h", DAY), ("7d", 7 * DAY), ("1.5h", 5400)]
)
def test_lifetimes(text: str, seconds: float) -> None:
    assert parse_lifetime(text) == seconds


@pytest.mark.parametrize("text", ["", "24", "h", "-1h", "1w", "nan", "inf", "1h 1m", "1e9h"])
def test_what_is_no_lifetime_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="24h"):
        parse_lifetime(text)


def test_a_source_and_a_super_node_are_members_too() -> None:
    for role in ("source", "super-node"):
        assert capabilities([role]) & Capability.MEMBER
        assert roles_of(capabilities([role])) == (role,)
    for role in ("member", "rp", "authority"):
        assert roles_of(capabilities([role])) == (role,)
    assert not capabilities(["rp"]) & Capability.MEMBER


def test_the_command_line_loads_no_cryptography() -> None:
    program = "import dmmp.cli, dmmp.cli.authority, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "dmmp.cli.authority" in loaded, done.stderr
    assert not loaded & {"cryptography", "rich", "asyncio"}
