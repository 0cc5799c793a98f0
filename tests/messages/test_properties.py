"""What holds for every message: the round trip, one form, equal twins, bounded work. Decision 5."""

from __future__ import annotations

import struct
import tracemalloc
from io import BytesIO
from ipaddress import ip_address
from types import SimpleNamespace

import construct
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dmmp.errors import DecodeError, DecodeReason, UsageError
from dmmp.messages import (
    REGISTRY,
    Data,
    Error,
    Heartbeat,
    Message,
    Option,
    PingRpResponse,
    RefreshRequest,
    SubscriptionRequest,
    Tlv,
    TlvType,
    decode,
    encode,
)
from dmmp.messages.common import (
    MAXIMUM_CANDIDATES,
    MAXIMUM_INTEREST,
    MAXIMUM_SOURCES,
    HostRecord,
)
from dmmp.messages.header import (
    DECLARED,
    HEADER,
    HEADER_BYTES,
    MAXIMUM_PAYLOAD_BYTES,
    VERSION,
    Header,
    read_header,
)
from dmmp.messages.options import PRIVATE_FIRST
from dmmp.messages.packed import Packed
from dmmp.messages.schema import message, wire
from dmmp.messages.tlv import MAXIMUM_TLVS
from dmmp.messages.wiretypes import (
    Counted,
    InvalidValue,
    Octets,
    Record,
    Text,
    WireField,
    counted,
    endpoint,
    octets,
    text,
    uint8,
    uint16,
)
from dmmp.types import STUN_MAGIC
from tests.strategies import headers, integers, messages

CLASSES = list(REGISTRY.values())
every_class = pytest.mark.parametrize("cls", CLASSES, ids=[cls.__name__ for cls in CLASSES])
few = settings(max_examples=15)
"""There are 31 classes; `test_fuzz` has the numbers."""


def test_every_option_has_a_class_of_its_name() -> None:
    assert set(REGISTRY) == {int(option) for option in Option}
    for option, cls in REGISTRY.items():
        assert Option(option).name.replace("_", "") == cls.__name__.upper()


def test_pairs_stand_in_steps_of_sixteen_a_response_after_its_request() -> None:
    """Decision 4."""
    for option in Option:
        if option.name.endswith(("_REQUEST", "_REPORT")) and option < Option.PROMOTION_REQUEST:
            assert option % 0x10 == 0
            assert Option(option + 1).name == option.name.rsplit("_", 1)[0] + "_RESPONSE"


@every_class
@few
@given(data=st.data())
def test_round_trip(cls: type[Message], data: st.DataObject) -> None:
    message = data.draw(messages(cls))
    datagram = encode(message)
    read = decode(datagram)
    assert read == message
    assert type(read) is cls
    assert encode(read) == datagram


@given(message=messages())
def test_messages_are_values(message: Message) -> None:
    assert hash(message) == hash(decode(encode(message)))
    with pytest.raises(AttributeError):
        message.sequence = 1  # type: ignore[misc]


@given(
    version=integers(8),
    tree_version=integers(8),
    option=integers(16),
    words=st.tuples(*[integers(32)] * 5),
)
def test_packed_header_is_its_declaration(
    version: int, tree_version: int, option: int, words: tuple[int, ...]
) -> None:
    fields = Header(version, tree_version, option, *words)
    packed = HEADER.pack(*fields)
    assert packed == DECLARED.build(fields._asdict())
    declared = DECLARED.parse(packed)
    assert Header._make(HEADER.unpack(packed)) == Header(
        **{name: declared[name] for name in Header._fields}
    )
    assert len(packed) == HEADER_BYTES == DECLARED.sizeof()


@every_class
@few
@given(data=st.data())
def test_packed_body_is_its_declaration(cls: type[Message], data: st.DataObject) -> None:
    """Both twins build the same bytes; of changed bytes both make the same, or both refuse."""
    message = data.draw(messages(cls))
    body = cls.PACKED.build(message)
    assert body == cls.BODY.build(message)
    changed = bytearray(body)
    for at in data.draw(st.lists(st.integers(0, max(0, len(body) - 1)), max_size=3)):
        changed[at : at + 1] = data.draw(st.binary(min_size=1, max_size=2))
    _compare_twins(cls, bytes(changed))
    _compare_twins(cls, bytes(changed[: data.draw(st.integers(0, len(changed)))]))


@every_class
@few
@given(body=st.binary(max_size=300))
def test_twins_agree_on_noise(cls: type[Message], body: bytes) -> None:
    _compare_twins(cls, body)


def _compare_twins(cls: type[Message], body: bytes) -> None:
    stream = BytesIO(body)
    declared: tuple[list[object], int] | DecodeReason
    try:
        parsed = cls.BODY.parse_stream(stream)
        declared = [getattr(parsed, name) for name in cls.PACKED.names], stream.tell()
    except InvalidValue:
        declared = DecodeReason.VALUE
    except construct.StreamError:
        declared = DecodeReason.TRUNCATED
    packed: tuple[list[object], int] | DecodeReason
    try:
        packed = cls.PACKED.parse(body, 0)
    except DecodeError as error:
        packed = error.reason
        assert 0 <= error.offset <= len(body)
    assert packed == declared


@given(message=messages())
def test_stun_is_never_a_message(message: Message) -> None:
    """Decision 3, with whatever follows the first two words, and from the eighth byte on."""
    datagram = bytearray(encode(message))
    struct.pack_into("!I", datagram, 4, STUN_MAGIC)
    for size in (8, 20, len(datagram)):
        with pytest.raises(DecodeError) as refused:
            decode(bytes(datagram[:size]))
        assert refused.value.reason is DecodeReason.STUN
        assert refused.value.offset == 4


@given(datagram=st.binary(max_size=400))
@example(datagram=b"")
@example(datagram=bytes(24))
def test_noise_gives_a_decode_error(datagram: bytes) -> None:
    _total(datagram)


@given(cls=st.sampled_from(CLASSES), body=st.binary(max_size=400), data=st.data())
def test_noise_behind_a_good_header(cls: type[Message], body: bytes, data: st.DataObject) -> None:
    fields = {name: data.draw(drawn) for name, drawn in headers(cls).items()}
    head = HEADER.pack(
        VERSION,
        fields["tree_version"],
        cls.OPTION,
        fields["session"],
        fields["source"],
        fields["sequence"],
        fields["reserved"],
        len(body),
    )
    _total(head + body)


def _total(datagram: bytes) -> None:
    try:
        message = decode(datagram)
    except DecodeError as error:
        assert isinstance(error.reason, DecodeReason)
        assert 0 <= error.offset <= len(datagram)
        return
    assert encode(message) == datagram, "one message has one form"


def _datagram(option: int, body: bytes) -> bytes:
    return HEADER.pack(VERSION, 0, option, 1, 2, 3, 0, len(body)) + body


def _refusal(datagram: bytes) -> tuple[DecodeReason, int]:
    with pytest.raises(DecodeError) as refused:
        decode(datagram)
    return refused.value.reason, refused.value.offset


@pytest.mark.parametrize("version", [0, 2, 255])
def test_other_versions_are_refused(version: int) -> None:
    """Decision 3."""
    datagram = bytearray(encode(Data(payload=b"")))
    datagram[0] = version
    assert _refusal(bytes(datagram)) == (DecodeReason.VERSION, 0)


@pytest.mark.parametrize("option", [0x0003, 0x00DF, 0x00F1, 0x8000, 0xFFFF])
def test_unknown_options_are_refused(option: int) -> None:
    """Decision 4."""
    assert _refusal(_datagram(option, b"")) == (DecodeReason.OPTION, 2)


@pytest.mark.parametrize("off_by", [-1, 1, 1 << 31])
def test_a_length_that_does_not_fit_is_refused(off_by: int) -> None:
    """Decision 2."""
    datagram = bytearray(encode(Data(payload=b"four")))
    struct.pack_into("!I", datagram, 20, 4 + off_by)
    assert _refusal(bytes(datagram)) == (DecodeReason.LENGTH, 20)


@pytest.mark.parametrize(
    ("elements", "reason", "offset"),
    [
        ("00010000", DecodeReason.TLV, 0),
        ("7fff0000", DecodeReason.TLV, 0),
        ("80010001ff000001", DecodeReason.TLV, 5),
        ("80010001ff0000", DecodeReason.TRUNCATED, 0),
        ("80010005ff000000", DecodeReason.TRUNCATED, 0),
        ("800100", DecodeReason.TRAILING, 0),
        ("80010000" * (MAXIMUM_TLVS + 1), DecodeReason.TLV, 4 * MAXIMUM_TLVS),
    ],
)
def test_bad_elements(elements: str, reason: DecodeReason, offset: int) -> None:
    """Decision 5: unknown types without the high bit, padding, borders, number."""
    body = b"\0" + bytes.fromhex(elements)
    start = HEADER_BYTES + 1
    assert _refusal(_datagram(Option.STATUS_RESPONSE, body)) == (reason, start + offset)


def test_unknown_elements_with_the_high_bit_are_kept() -> None:
    body = b"\0" + bytes.fromhex("abcd0003010203" + "00")
    message = decode(_datagram(Option.STATUS_RESPONSE, body))
    assert message.tlvs == (Tlv(0xABCD, b"\x01\x02\x03"),)


def test_data_takes_all_that_is_left() -> None:
    assert decode(_datagram(Option.DATA, b"any")).payload == b"any"  # type: ignore[attr-defined]


def test_bytes_behind_a_message_without_elements_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @message(Option(0), tlvs=False)
    class Short(Message):
        """Decision 5. Two bytes and nothing behind them."""

        number: int = wire(uint16, doc="any")

    monkeypatch.setitem(REGISTRY, PRIVATE_FIRST, Short)
    assert decode(_datagram(PRIVATE_FIRST, b"\x01\x02")).number == 258  # type: ignore[attr-defined]
    refusal = _refusal(_datagram(PRIVATE_FIRST, b"\x01\x02" + bytes(4)))
    assert refusal == (DecodeReason.TRAILING, HEADER_BYTES + 2)


def test_text_that_is_no_utf8_is_refused_at_the_first_wrong_byte() -> None:
    body = b"\x04ab\xffc\x00"
    refusal = _refusal(_datagram(Option.SUBSCRIPTION_REQUEST, body))
    assert refusal == (DecodeReason.VALUE, HEADER_BYTES + 3)


@pytest.mark.parametrize(
    ("option", "before"),
    [(Option.PING_RP_RESPONSE, 1 + 1 + 4 + 18 + 4), (Option.CLUSTER_RESPONSE, 1 + 36 + 4)],
)
def test_a_count_beyond_its_limit_is_refused_before_anything_is_read(
    option: Option, before: int
) -> None:
    body = bytes(before) + b"\xff" + bytes(60_000)
    assert _refusal(_datagram(option, body)) == (DecodeReason.VALUE, HEADER_BYTES + before)


@pytest.mark.parametrize(
    ("kind", "head_bytes"),
    [(text(5), 1), (octets(5), 2), (counted(uint8, 5), 1), (counted(endpoint, 5), 1)],
    ids=["text", "octets", "list of numbers", "list of records"],
)
def test_limits_are_exact(kind: Text | Octets | Counted, head_bytes: int) -> None:
    """Five is read, six is not, by both twins and in both directions."""
    declared = Record(SimpleNamespace, (WireField("x", kind),))
    packed = Packed(declared)
    size = 18 if getattr(kind, "element", None) is endpoint else 1
    full = (5).to_bytes(head_bytes, "big") + bytes(5 * size)
    values, end = packed.parse(full, 0)
    assert end == len(full)
    value = SimpleNamespace(x=values[0])
    assert packed.build(value) == full == declared.build(value)
    beyond = (6).to_bytes(head_bytes, "big") + bytes(6 * size)
    with pytest.raises(DecodeError) as refused:
        packed.parse(beyond, 0)
    assert (refused.value.reason, refused.value.offset) == (DecodeReason.VALUE, 0)
    with pytest.raises(InvalidValue):
        declared.parse(beyond)
    longer = SimpleNamespace(x=values[0] + values[0][:1])  # type: ignore[index]
    for build in (packed.build, declared.build):
        with pytest.raises(InvalidValue):
            build(longer)


def test_memory_is_bounded_by_the_datagram() -> None:
    """The densest messages there can be: full lists within full lists, and noise behind them."""
    record = HostRecord()
    interest = b"".join(
        bytes(15) + bytes((kind, 1, MAXIMUM_SOURCES)) + bytes(16 * MAXIMUM_SOURCES)
        for kind in range(MAXIMUM_INTEREST)
    )
    host = encode(PingRpResponse(super_nodes=(record,) * MAXIMUM_CANDIDATES))[-36:]
    refresh = b"\0" + host + bytes(4) + b"\0" + bytes((MAXIMUM_INTEREST,)) + interest + b"\0\0"
    elements = bytes.fromhex("80010000") * MAXIMUM_TLVS
    for body in (refresh, refresh + elements, refresh + bytes(50_000)):
        datagram = _datagram(Option.REFRESH_REQUEST, body)
        tracemalloc.start()
        _total(datagram)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 40 * len(datagram)
    whole = decode(_datagram(Option.REFRESH_REQUEST, refresh))
    assert isinstance(whole, RefreshRequest)
    assert len(whole.interest) == MAXIMUM_INTEREST


@pytest.mark.parametrize(
    "message",
    [
        PingRpResponse(super_nodes=(HostRecord(),) * (MAXIMUM_CANDIDATES + 1)),
        PingRpResponse(hosts=-1),
        PingRpResponse(hosts=1 << 32),
        PingRpResponse(tree_version=256),
        PingRpResponse(status=1.5),  # type: ignore[arg-type]
        SubscriptionRequest(group_name="ü" * 33),
        Error(code=0, option=0, offset=1 << 16, text=""),
        Data(payload=bytes(MAXIMUM_PAYLOAD_BYTES + 1)),
        Data(payload=b"", tlvs=(Tlv(TlvType.PADDING),)),
        PingRpResponse(tlvs=(Tlv(1 << 16),)),
        PingRpResponse(tlvs=(Tlv(1, bytes(1 << 16)),)),
        PingRpResponse(super_nodes=(None,)),  # type: ignore[arg-type]
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_does_not_fit_cannot_be_sent(message: Message) -> None:
    with pytest.raises(UsageError, match=type(message).__name__):
        encode(message)


def test_the_largest_datagram_can_be_sent() -> None:
    datagram = encode(Data(payload=bytes(MAXIMUM_PAYLOAD_BYTES)))
    assert len(datagram) == 65_507
    assert read_header(datagram).length == MAXIMUM_PAYLOAD_BYTES


def test_addresses_of_both_families_have_one_size() -> None:
    four, six = ip_address("10.1.2.3"), ip_address("ff1e::1")
    heartbeat = Heartbeat(group=six, origin_address=four, highest=0, started=1)
    body = encode(heartbeat)[HEADER_BYTES:]
    assert body[:16] == six.packed
    assert body[16:32] == bytes(10) + b"\xff\xff" + four.packed
    assert decode(encode(heartbeat)) == heartbeat
