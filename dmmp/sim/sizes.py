"""How many bytes a control message takes, without encoding each.

The size depends on the class and on how long its lists are, so one of each shape is encoded and the
rest looked up: a microsecond instead of ten. Equality with the codec is tested.
"""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache

from dmmp.interest import Interest
from dmmp.messages import REGISTRY, Message, encode

Shape = tuple[int, ...]


class _Shaped:
    """A message as the key of the cache: equal to every other of its class and shape."""

    __slots__ = ("_key", "message")

    def __init__(self, message: Message) -> None:
        self.message = message
        self._key = (type(message), _shape(message))

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shaped) and self._key == other._key


def size_of(message: Message) -> int:
    """Return the size of the datagram that carries this message, in bytes."""
    return _size(_Shaped(message))


@lru_cache(maxsize=1 << 16)
def _size(shaped: _Shaped) -> int:
    return len(encode(shaped.message))


@lru_cache
def _variable(option: int) -> tuple[str, ...]:
    """List the fields whose size varies of the class with this option: texts, octets, lists."""
    kinds = ("tuple", "bytes", "str")
    return tuple(
        field.name
        for field in fields(REGISTRY[option])
        if str(field.type).removeprefix("_").startswith(kinds)
    )


def _shape(message: Message) -> Shape:
    shape = []
    for name in _variable(message.OPTION):
        value = getattr(message, name)
        if isinstance(value, str):
            shape.append(len(value.encode()))
            continue
        shape.append(len(value))
        if value and isinstance(value, tuple):
            if isinstance(value[0], Interest):
                shape.append(sum(len(record.sources) for record in value))
            elif name == "tlvs":
                shape.extend(len(tlv.value) for tlv in value)
    return tuple(shape)
