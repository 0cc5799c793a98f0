"""What several commands share: their options, and how their values are read.

Reading a value raises `UsageError` with the cure in it; nothing is opened or resolved here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from dmmp.errors import UsageError

_Function = TypeVar("_Function", bound=Callable[..., Any])

OUT_DEGREE_LIMIT = 256
"""Children a host can have, whatever its bandwidth (`Parameters.children`)."""

DELAY_LIMIT = 10.0
"""Longest time packets may wait to be delivered in order: repair gives up long before."""

LEAST_LIMIT = 16_000.0
"""Least rate that a node can be limited to, bit/s: a packet of full size in most of a second."""

RANDOM_SHARE = "0.01"
"""Share of packets that randomized forwarding sends unless told otherwise (Decision 19)."""

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmMgGtT]?)(?:bit/s|bit|bps|b)?")
_FACTORS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}


def parse_rate(option: str, text: str) -> float:
    """Read bits per second with an optional k, M, G or T."""
    found = _RATE.fullmatch(text.strip())
    rate = float(found[1]) * _FACTORS[found[2].lower()] if found else 0.0
    if not 0 < rate < float("inf"):
        raise UsageError(f"{option} {text!r} is no rate; write bits per second, like 8M or 1.5G")
    return rate


def parse_limit(option: str, text: str | None) -> float | None:
    """Read the most that a node may send, bit/s; none without the option."""
    if text is None:
        return None
    rate = parse_rate(option, text)
    if rate < LEAST_LIMIT:
        raise UsageError(
            f"{option} {text!r}: less than {LEAST_LIMIT / 1e3:g}k carries no stream; "
            "did you mean kilobits, as in 500k, or megabits, as in 20M?"
        )
    return rate


def out_degree(bandwidth: str, stream_rate: str, given: int | None) -> int:
    """Give the number of children: as given, else as many as the uplink feeds (Decision 81)."""
    from dmmp.policies.capacity import children_of

    if given is not None:
        if not 0 <= given <= OUT_DEGREE_LIMIT:
            raise UsageError(f"--out-degree {given}: 0 to {OUT_DEGREE_LIMIT}")
        return given
    uplink = parse_rate("--bandwidth", bandwidth)
    stream = parse_rate("--stream-rate", stream_rate)
    return min(OUT_DEGREE_LIMIT, children_of(uplink, stream))


def parse_delay(option: str, text: str | None) -> float | None:
    """Read seconds, more than none and no more than `DELAY_LIMIT`."""
    if text is None:
        return None
    delay = _number(text)
    if delay is None or not 0 < delay <= DELAY_LIMIT:
        raise UsageError(
            f"{option} {text!r}: write seconds, more than 0 and at most {DELAY_LIMIT:g}, like 0.5"
        )
    return delay


def parse_probability(option: str, text: str | None) -> float:
    """Read a probability; without the option it is none."""
    if text is None:
        return 0.0
    share = _number(text)
    if share is None or not 0 < share <= 1:
        raise UsageError(f"{option} {text!r}: write a probability, more than 0 and at most 1")
    return share


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _stacked(options: list[Callable[[_Function], _Function]]) -> Callable[[_Function], _Function]:
    def decorate(function: _Function) -> _Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def listen_option(default: str) -> Callable[[_Function], _Function]:
    """Make the option `--listen`; `default` says where it is without it."""
    return click.option(
        "--listen", metavar="ADDRESS[:PORT]", help=f"Where to receive; default: {default}."
    )


name_option = click.option("--name", help="Name for `dmmp show`; default: the role.")

log_options = _stacked(
    [
        click.option(
            "--log-level",
            type=click.Choice(["debug", "info", "warning", "error"]),
            default="warning",
            show_default=True,
            help="What goes to standard error beside events.",
        ),
        click.option("--log-json", is_flag=True, help="Events and log lines as JSON."),
    ]
)

common_options = _stacked(
    [listen_option("port 47700 if free, else any, on all addresses"), name_option, log_options]
)

security_options = _stacked(
    [
        click.option(
            "--security",
            type=click.Choice(["certificates", "psk", "none"]),
            default="certificates",
            show_default=True,
            help="Who may take part: holders of certificates, all who know one secret, anybody.",
        ),
        click.option(
            "--session-file",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="The session: its name, authority and rendezvous points (`dmmp authority init`).",
        ),
        click.option(
            "--credential",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="This host's certificate and keys (`dmmp authority issue`). Default:"
            " credential.pem, or the only .pem file, beside the session file.",
        ),
        click.option(
            "--secret-file",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="The secret that all hosts share, with --security psk.",
        ),
        click.option(
            "--key-log",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Write keys there with which captures can be opened, for analysis only.",
        ),
        click.option(
            "--allow-public",
            is_flag=True,
            help="Let --security none listen on public addresses.",
        ),
    ]
)

host_options = _stacked(
    [
        click.option(
            "--rp",
            "places",
            multiple=True,
            metavar="HOST[:PORT]",
            help="A rendezvous point, by name or address; repeat it for several. The session file"
            " names them already.",
        ),
        click.option(
            "--session", help="The session to take part in; the session file names it already."
        ),
        click.option(
            "--bandwidth",
            default="100M",
            show_default=True,
            metavar="RATE",
            help="What the uplink carries, bit/s; a tenth is kept for control and repairs.",
        ),
        click.option(
            "--stream-rate",
            default="8M",
            show_default=True,
            metavar="RATE",
            help="What one copy of the streams takes, bit/s, headers (60 bytes a packet) included.",
        ),
        click.option(
            "--out-degree", type=int, metavar="N", help="Most children, in place of the two rates."
        ),
        click.option(
            "--rate-limit",
            metavar="RATE",
            help="The most to send, bit/s, shared fairly among the hosts fed; what waits longer"
            " than 0.2 s for it is dropped. Default: no limit.",
        ),
        click.option(
            "--pace",
            is_flag=True,
            help="Spread bursts over time to hosts that lose packets: for links with short queues.",
        ),
        click.option(
            "--datapath",
            type=click.Choice(["auto", "batched", "portable"]),
            default="auto",
            show_default=True,
            help="How datagrams are moved.",
        ),
        click.option(
            "--randomized",
            is_flag=False,
            flag_value=RANDOM_SHARE,
            metavar="[PROBABILITY]",
            help="Also send this share of packets to a few relatives, and take what they send;"
            f" {RANDOM_SHARE} if no number is given. Default: off.",
        ),
    ]
)

edge_options = _stacked(
    [
        click.option("--tun", metavar="NAME", help="The TUN interface to make; default: dmmp0."),
        click.option(
            "--tun-address",
            multiple=True,
            metavar="ADDRESS/LENGTH",
            help="Its address, one for IPv4 and one for IPv6; default: made from the host's id.",
        ),
        click.option("--no-routes", is_flag=True, help="Leave the routes of groups alone."),
        click.option(
            "--mtu",
            type=click.IntRange(576, 65507),
            default=1380,
            show_default=True,
            help="Largest IP packet to carry, bytes.",
        ),
        click.option(
            "--interface",
            metavar="NAME",
            help="A real interface in place of a TUN; needs no privilege.",
        ),
        click.option(
            "--group",
            "groups",
            multiple=True,
            metavar="GROUP[:PORT]",
            help="A group to carry with --interface; repeat it for several.",
        ),
        click.option(
            "--ordered",
            metavar="DELAY",
            help="Deliver packets in order: they wait up to DELAY seconds for missing ones."
            " Default: deliver at once.",
        ),
    ]
)
