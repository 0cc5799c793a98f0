"""The long-running commands: rp, source, member, super-node.

They turn options into a `NodeOptions` and run it; what a node does is in `runtime.node`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from dmmp.cli.options import (
    common_options,
    edge_options,
    host_options,
    out_degree,
    parse_delay,
    parse_limit,
    parse_probability,
)
from dmmp.errors import UsageError

if TYPE_CHECKING:
    from dmmp.runtime.node import NodeOptions
    from dmmp.runtime.observe import EventLines
    from dmmp.types import Endpoint


@click.command()
@click.option(
    "--session",
    "sessions",
    multiple=True,
    required=True,
    help="A session to serve; repeat it for several.",
)
@click.option(
    "--index",
    type=click.IntRange(0, 15),
    default=0,
    show_default=True,
    help="Tells several rendezvous points of one session apart.",
)
@common_options
def rp(sessions: tuple[str, ...], index: int, **common: Any) -> int:
    """Run a rendezvous point: it knows the hosts of its sessions and never carries data."""
    from dmmp.runtime.node import RendezvousOptions, check_session, run, run_rendezvous_point
    from dmmp.types import DEFAULT_PORT

    lines = _lines(common)
    options = RendezvousOptions(
        tuple(dict.fromkeys(check_session(session) for session in sessions)),
        _listen(common["listen"] or f"[::]:{DEFAULT_PORT}"),
        common["name"],
        index,
    )
    return run(run_rendezvous_point(options, lines))


@click.command()
@host_options
@edge_options
@common_options
def source(**values: Any) -> int:
    """Send what programs on this host send to groups."""
    return _run_host("source", values)


@click.command()
@host_options
@edge_options
@common_options
def member(**values: Any) -> int:
    """Deliver groups to the programs on this host that join them, and pass them on."""
    return _run_host("member", values)


@click.command("super-node")
@host_options
@common_options
def super_node(**values: Any) -> int:
    """Pass groups on to others; deliver to nobody here."""
    return _run_host("super-node", values)


def _run_host(kind: str, values: dict[str, Any]) -> int:
    from dmmp.runtime.node import run, run_host

    lines = _lines(values)
    return run(run_host(_node_options(kind, values), lines))


def _node_options(kind: str, values: dict[str, Any]) -> NodeOptions:
    from dmmp.runtime.locate import parse_place
    from dmmp.runtime.node import NodeOptions, check_session

    edge: dict[str, Any] = {} if kind == "super-node" else _edge_options(values)
    return NodeOptions(
        kind=kind,
        session=check_session(values["session"]),
        places=tuple(parse_place(place) for place in values["places"]),
        out_degree=out_degree(values["bandwidth"], values["stream_rate"], values["out_degree"]),
        listen=_listen(values["listen"]),
        name=values["name"],
        datapath=values["datapath"],
        randomized=parse_probability("--randomized", values["randomized"]),
        rate_limit=parse_limit("--rate-limit", values["rate_limit"]),
        paces=values["pace"],
        **edge,
    )


def _edge_options(values: dict[str, Any]) -> dict[str, Any]:
    from dmmp.runtime.groups import parse_group
    from dmmp.runtime.tun_addresses import parse_tun_addresses

    interface, tun = values["interface"], values["tun"]
    groups = tuple(parse_group(group) for group in values["groups"])
    if interface is not None and tun is not None:
        raise UsageError("--tun and --interface: choose one")
    if interface is None and groups:
        raise UsageError("--group goes with --interface; on a TUN the programs join by themselves")
    if interface is not None and not groups:
        raise UsageError("--interface needs --group GROUP[:PORT], at least once")
    if interface is not None and (values["tun_address"] or values["no_routes"]):
        raise UsageError("--tun-address and --no-routes go with --tun")
    return {
        "tun": None if interface is not None else tun or "dmmp0",
        "tun_addresses": parse_tun_addresses(values["tun_address"]),
        "routes": not values["no_routes"],
        "mtu": values["mtu"],
        "interface": interface,
        "groups": groups,
        "ordered": parse_delay("--ordered", values["ordered"]),
    }


def _listen(text: str | None) -> Endpoint | None:
    from dmmp.runtime.locate import parse_endpoint

    return None if text is None else parse_endpoint(text)


def _lines(values: dict[str, Any]) -> EventLines:
    """Begin to log, and give what writes the events' lines."""
    from dmmp.runtime.observe import EventLines, set_up_logging

    set_up_logging(values["log_level"], values["log_json"])
    return EventLines(sys.stdout, values["log_json"])
