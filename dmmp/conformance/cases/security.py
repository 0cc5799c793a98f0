"""Section 10, first part: handshakes with an implementation that is called, and calls itself."""

from __future__ import annotations

from dmmp.conformance.case import Feature, case
from dmmp.conformance.playing import play_parent, play_rp
from dmmp.conformance.secured import (
    LIFETIME,
    MEMBER,
    RP,
    SUPER_NODE,
    Caller,
    secure,
    session_of,
    wake_up,
)
from dmmp.conformance.staging import stranger
from dmmp.conformance.tester import Tester
from dmmp.errors import AuthenticationError
from dmmp.messages import (
    CookieReply,
    HandshakeInitiation,
    HandshakeResponse,
    JoinRequest,
    PingRpRequest,
    ProbeRequest,
    Sealed,
    SubscriptionRequest,
    decode,
)
from dmmp.messages.header import HEADER_BYTES
from dmmp.security.association import Association
from dmmp.security.authority import Authority
from dmmp.security.cookies import (
    MAC_BYTES,
    REPLY_BYTES,
    Cookies,
    mac,
    mac1_key,
    mac1_of,
    read_reply,
)
from dmmp.security.handshakes import (
    INITIATION_LEAST,
    INITIATION_MOST,
    read_initiation,
    write_response,
)
from dmmp.security.identity import Credential, Mode, prologue, static_public
from dmmp.security.noise import KeyPair, Responder

SECURED = (Feature.SECURED,)
CALLERS = ("source", "super-node", "member")
BURST = 20
"""Initiations at once of which a host does not answer all."""


@case("10/1", "What comes in the clear is not answered", needs=SECURED)
def clear_message(tester: Tester) -> None:
    wake_up(tester)
    peer = stranger(tester)
    peer.tell(ProbeRequest, timestamp=1)
    peer.expect_silence()


@case("10/2", "A valid initiation is answered, and the keys agree", needs=SECURED)
def initiation_answered(tester: Tester) -> None:
    wake_up(tester)
    caller = Caller(tester)
    association = caller.associate()
    caller.say(association, caller.probe())
    tester.equal(caller.answers(association), 1, "the answers to a sealed probe")


@case("10/13", "The response is not longer than the initiation", needs=SECURED)
def response_not_longer(tester: Tester) -> None:
    caller = Caller(tester)
    sent = caller.call()
    caller.peer.expect(HandshakeResponse)
    assert caller.peer.last is not None
    size = len(caller.peer.last.datagram)
    tester.check(size <= len(sent), f"{size} bytes come for {len(sent)}")


@case("10/3", "An initiation with another mac1 is not answered", needs=SECURED)
def false_mac(tester: Tester) -> None:
    Caller(tester).expect_nothing(mac_key=bytes(range(32)))


@case("10/4", "A short initiation is not answered", needs=SECURED)
def short_initiation(tester: Tester) -> None:
    Caller(tester).expect_nothing(size=INITIATION_LEAST - 1)


@case("10/4", "A long initiation is not answered", needs=SECURED)
def long_initiation(tester: Tester) -> None:
    Caller(tester).expect_nothing(size=INITIATION_MOST + 1)


@case("10/5", "An initiation for another static key is not answered", needs=SECURED)
def another_key(tester: Tester) -> None:
    caller = Caller(tester)
    caller.key = static_public(bytes(range(32)))
    caller.expect_nothing()


@case("10/5", "An initiation for another session or mode is not answered", needs=SECURED)
def another_session(tester: Tester) -> None:
    name = session_of(tester).name
    for words in (
        prologue(Mode.CERTIFICATES, name + "2"),
        prologue(Mode.SHARED_SECRET, name),
    ):
        caller = Caller(tester)
        caller.prologue = words
        caller.expect_nothing()


@case("10/6", "An initiation whose padding is not zero is not answered", needs=SECURED)
def padding_not_zero(tester: Tester) -> None:
    Caller(tester).expect_nothing(end=b"\1")


@case("10/7", "An initiation that comes again is not answered again", needs=SECURED)
def replayed_initiation(tester: Tester) -> None:
    caller = Caller(tester)
    sent = caller.call()
    caller.peer.expect(HandshakeResponse)
    caller.peer.send_bytes(sent)
    caller.peer.expect_silence()


@case("10/7", "An initiation with an earlier timestamp is not answered", needs=SECURED)
def earlier_initiation(tester: Tester) -> None:
    caller = Caller(tester)
    caller.associate()
    caller.timestamp -= 1_000_000
    caller.expect_nothing()


@case("10/8", "An expired certificate is not accepted", needs=SECURED)
def expired_certificate(tester: Tester) -> None:
    session = session_of(tester)
    issued = session.wall + tester.now - LIFETIME - 400.0
    own = session.credential("late", at=issued)
    Caller(tester, "late", own).expect_nothing()


@case("10/8", "A certificate that is not valid yet is not accepted", needs=SECURED)
def future_certificate(tester: Tester) -> None:
    session = session_of(tester)
    own = session.credential("early", at=session.wall + tester.now + 3600.0)
    Caller(tester, "early", own).expect_nothing()


@case("10/9", "A certificate of another authority is not accepted", needs=SECURED)
def another_authority(tester: Tester) -> None:
    other = Authority.create(tester.rng.randbytes)
    own = session_of(tester).credential("foreign", authority=other)
    Caller(tester, "foreign", own).expect_nothing()


@case("10/10", "A certificate of another session is not accepted", needs=SECURED)
def certificate_of_another_session(tester: Tester) -> None:
    own = session_of(tester).credential("elsewhere", session="another")
    Caller(tester, "elsewhere", own).expect_nothing()


@case("10/11", "A certificate of another static key is not accepted", needs=SECURED)
def certificate_of_another(tester: Tester) -> None:
    caller = Caller(tester)
    caller.certificate = session_of(tester).credential("other").certificate
    caller.expect_nothing()


@case("10/12", "A certificate in another form is not accepted", needs=SECURED)
def certificate_in_another_form(tester: Tester) -> None:
    true = session_of(tester).credential("caller").certificate
    for bad in (b"", true[:-1], true + b"\0", true[:40] + b"\xff" + true[41:]):
        caller = Caller(tester)
        caller.certificate = bad
        caller.expect_nothing()


@case("10/14", "Before the caller has shown its keys nothing sealed comes", needs=SECURED)
def silent_until_confirmed(tester: Tester) -> None:
    caller = Caller(tester)
    caller.associate()
    caller.peer.expect_silence(Sealed, seconds=2.0)


@case("10/20", "Too many initiations of an address get a Cookie Reply", needs=SECURED)
def cookie_under_load(tester: Tester) -> None:
    caller = Caller(tester)
    cookies = _cookies(caller)
    tester.check(len(cookies) > 0, f"{BURST} initiations at once bring no Cookie Reply")
    responses = len(caller.peer.seen(HandshakeResponse))
    tester.check(responses < BURST, "every one of them is answered by a response")


@case("10/22", "A Cookie Reply has 68 bytes and opens under its sender's key", needs=SECURED)
def cookie_opens(tester: Tester) -> None:
    caller = Caller(tester)
    tester.check(len(_cookies(caller)[-1]) == MAC_BYTES, "no cookie of 16 bytes is in the reply")


@case("10/21", "With the cookie an initiation is answered", needs=SECURED)
def cookie_accepted(tester: Tester) -> None:
    caller = Caller(tester)
    cookie = _cookies(caller)[-1]
    caller.peer.forget()
    tester.wait(0.1)
    caller.associate(cookie=cookie)


def _cookies(caller: Caller) -> list[bytes]:
    """Call until cookies come, and open the replies."""
    tester = caller.tester
    sent = {}
    for _ in range(BURST):
        datagram = caller.call()
        sent[caller.index] = mac1_of(datagram)
    tester.wait(tester.timing.answer)
    cookies = []
    for arrived in caller.peer.inbox:
        if isinstance(arrived.message, CookieReply):
            tester.equal(len(arrived.datagram), REPLY_BYTES, "the size of a Cookie Reply")
            index = arrived.message.sequence
            try:
                cookies.append(read_reply(arrived.datagram, caller.key, index, sent[index]))
            except (AuthenticationError, KeyError) as error:
                tester.check(False, f"the Cookie Reply does not open: {error}")
    tester.check(bool(cookies), "no Cookie Reply came")
    return cookies


# As the one who calls.


class Called:
    """The RP that it calls, answering by hand."""

    def __init__(self, tester: Tester) -> None:
        self.tester = tester
        self.peer = tester.rp
        self.own = session_of(tester).points[self.peer.endpoint]
        self.static = KeyPair(self.own.static_secret)
        self.index = 0x01020304

    def expect_call(self, within: float = 0.0) -> bytes:
        """Take an initiation; return its datagram."""
        self.peer.expect(HandshakeInitiation, within=within)
        assert self.peer.last is not None
        return self.peer.last.datagram

    def response(
        self, initiation: bytes, credential: Credential | None = None, mac_key: bytes = b""
    ) -> tuple[bytes, Association]:
        """Make the response, and the association that it begins."""
        session = session_of(self.tester)
        noise = Responder(self.static, prologue(Mode.CERTIFICATES, session.name))
        read_initiation(initiation, noise)
        index = int.from_bytes(initiation[8:12])
        shown = (credential or self.own).certificate
        key = mac1_key(mac_key or noise.remote)
        ephemeral = KeyPair(self.tester.rng.randbytes(32))
        made, keys = write_response(noise, (self.index, index), shown, ephemeral, key, None)
        ends = (self.index, index)
        now = self.tester.now
        return made, Association(
            ends, keys, self.tester.subject, self.own.peer, now, 0, initiated=False
        )


@case("10/23", "It calls again and again, each time anew", *CALLERS, needs=SECURED)
def calls_again(tester: Tester) -> None:
    called = Called(tester)
    calls = [called.expect_call(1.0) for _ in range(3)]
    for datagram in calls:
        tester.check(
            INITIATION_LEAST <= len(datagram) <= INITIATION_MOST, "an initiation of another size"
        )
        holds = Cookies(called.static.public, bytes).mac1_holds(datagram)
        tester.check(holds, "its mac1 is not that of the RP's key")
    tester.equal(len({datagram[8:12] for datagram in calls}), 3, "the number of indexes")
    ephemeral = slice(HEADER_BYTES, HEADER_BYTES + 32)
    tester.equal(len({datagram[ephemeral] for datagram in calls}), 3, "the number of keys")


@case("10/26", "With the response what waits is sent, sealed", *CALLERS, needs=SECURED)
def sealed_after_the_response(tester: Tester) -> None:
    called = Called(tester)
    response, association = called.response(called.expect_call())
    called.peer.send_bytes(response)
    called.peer.expect(Sealed)
    assert called.peer.last is not None
    plaintext = association.open(called.peer.last.datagram, tester.now)
    tester.check(
        isinstance(decode(plaintext), SubscriptionRequest), "it seals something else at first"
    )


@case("10/24", "A response from elsewhere, or with another mac1, is none", *CALLERS, needs=SECURED)
def false_response(tester: Tester) -> None:
    called = Called(tester)
    initiation = called.expect_call()
    response, _ = called.response(initiation)
    other = tester.peer("other")
    other.send_bytes(response)
    called.peer.send_bytes(called.response(initiation, mac_key=bytes(range(32)))[0])
    tester.wait(tester.timing.answer)
    tester.check(not called.peer.seen(Sealed), "it takes a response with a false mac1")
    tester.check(not other.seen(Sealed), "it takes a response from another address")
    called.peer.send_bytes(response)
    called.peer.expect(Sealed)


@case("10/24", "A response with another key's certificate is none", *CALLERS, needs=SECURED)
def response_of_another(tester: Tester) -> None:
    called = Called(tester)
    other = session_of(tester).credential("other", RP)
    response, _ = called.response(called.expect_call(), other)
    called.peer.send_bytes(response)
    called.peer.expect_silence(Sealed)


@case("10/25", "With a cookie the next initiation bears mac2", *CALLERS, needs=SECURED)
def mac2_after_a_cookie(tester: Tester) -> None:
    called = Called(tester)
    initiation = called.expect_call()
    index = int.from_bytes(initiation[8:12])
    cookies = Cookies(called.static.public, tester.rng.randbytes)
    reply = cookies.reply(initiation, tester.subject, index, tester.now)
    called.peer.send_bytes(reply)
    cookie = read_reply(reply, called.static.public, index, mac1_of(initiation))
    again = called.expect_call(tester.timing.parameters.retry_first)
    tester.equal(again[-MAC_BYTES:], mac(cookie, again[:-MAC_BYTES]), "its mac2")


@case("10/33", "An RP whose certificate says that it is none is no RP", *CALLERS, needs=SECURED)
def false_rp(tester: Tester) -> None:
    session = session_of(tester)
    true = session.points[tester.rp.endpoint]
    own = session.recertified(true, SUPER_NODE | MEMBER)
    secure(tester.rp, credential=own)
    rp = play_rp(tester)
    rp.peer.expect(SubscriptionRequest)
    tester.wait(tester.timing.quiet)
    tester.check(not rp.peer.seen(PingRpRequest), "it registers at an RP that is none")


@case("10/53", "Whose key is unknown is asked for", "member", needs=SECURED, seconds=12.0)
def unknown_key_asked_for(tester: Tester) -> None:
    secure(tester.rp)
    parent = play_parent(tester)
    play_rp(tester, (parent,))
    tester.rp.expect(SubscriptionRequest)
    tester.wait(1.0)
    parent.forget()
    secure(parent, SUPER_NODE)
    parent.expect(JoinRequest, within=8.0)
