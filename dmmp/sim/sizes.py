"""How many bytes a control message takes, without encoding each.

The size depends on the class and on how long its lists are, so one of each shape is encoded and the
rest looked up: a microsecond instead of ten. Equality with the codec is tested.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from dataclasses import fields
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

from dmmp.messages import REGISTRY, Message, encode

Shape = tuple[int, ...]

MOST_SHAPES = 1 << 14
"""Shapes of one class that are remembered; with more, all are learned anew."""


class _Varying(NamedTuple):
    """What varies in size in the messages of a class, and the sizes that are known by shape."""

    lists: Callable[[Message], tuple[Sized, ...]]
    """Returns the fields that are tuples or octets, `tlvs` the first of at least two."""
    texts: tuple[str, ...]
    interests: tuple[str, ...]
    sizes: dict[Shape, int]


def size_of(message: Message) -> int:
    """Return the size of the datagram that carries this message, in bytes."""
    varying = _varying(message.OPTION)
    shape = tuple(map(len, varying.lists(message)))
    if shape[0] or varying.texts or varying.interests:
        shape += _further(message, varying)
    size = varying.sizes.get(shape)
    if size is None:
        if len(varying.sizes) >= MOST_SHAPES:
            varying.sizes.clear()
        size = varying.sizes[shape] = len(encode(message))
    return size


def _further(message: Message, varying: _Varying) -> Shape:
    """Return what the numbers of entries do not say."""
    found = [len(tlv.value) for tlv in message.tlvs]
    found += [len(getattr(message, name).encode()) for name in varying.texts]
    for name in varying.interests:
        found.append(sum([len(record.sources) for record in getattr(message, name)]))
    return tuple(found)


@lru_cache
def _varying(option: int) -> _Varying:
    kinds = {field.name: str(field.type).removeprefix("_") for field in fields(REGISTRY[option])}
    lists = [name for name, kind in kinds.items() if kind.startswith(("tuple", "bytes"))]
    # With one name an attrgetter returns the field itself and no tuple.
    ordered = ["tlvs", *(name for name in lists if name != "tlvs")]
    return _Varying(
        attrgetter(*ordered, *(["tlvs"] if len(ordered) == 1 else [])),
        tuple(name for name, kind in kinds.items() if kind.startswith("str")),
        tuple(name for name, kind in kinds.items() if "Interest" in kind),
        {},
    )
