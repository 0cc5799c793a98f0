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
    listen_option,
    log_options,
    name_option,
    out_degree,
    parse_delay,
    parse_limit,
    parse_probability,
    security_options,
)
from dmmp.errors import UsageError

if TYPE_CHECKING:
    from dmmp.runtime.node import NodeOptions
    from dmmp.runtime.observe import EventLines
    from dmmp.runtime.securing import SecurityOptions
    from dmmp.types import Endpoint


@click.command()
@click.option(
    "--session",
    "sessions",
    multiple=True,
    help="A session to serve; with --security none repeat it for several. The session file names"
    " it already.",
)
@click.option(
    "--index",
    type=click.IntRange(0, 15),
    default=0,
    show_default=True,
    help="Tells several rendezvous points of one session apart.",
)
@security_options
@listen_option("port 47700 on all addresses")
@name_option
@log_options
def rp(sessions: tuple[str, ...], index: int, **common: Any) -> int:
    """Run a rendezvous point: it knows the hosts of its sessions and never carries data."""
    from dmmp.runtime.node import RendezvousOptions, check_session, run, run_rendezvous_point
    from dmmp.runtime.securing import refuse_public
    from dmmp.types import DEFAULT_PORT

    lines = _lines(common)
    security = _security("rp", common)
    named = tuple(dict.fromkeys(check_session(session) for session in sessions))
    if security.session_file is not None:
        named = (_session_of(security, *named),)
    if not named:
        raise UsageError("no --session: name the session that is served")
    if security.mode != "none" and len(named) > 1:
        raise UsageError(
            "--session several times goes with --security none only; start one "
            "rendezvous point for each"
        )
    listen = _listen(common["listen"] or f"[::]:{DEFAULT_PORT}")
    refuse_public(security, listen)
    options = RendezvousOptions(
        named,
        listen,
        common["name"],
        index,
        security,
    )
    return run(run_rendezvous_point(options, lines))


@click.command()
@host_options
@edge_options
@security_options
@common_options
def source(**values: Any) -> int:
    """Send what programs on this host send to groups."""
    return _run_host("source", values)


@click.command()
@host_options
@edge_options
@security_options
@common_options
def member(**values: Any) -> int:
    """Deliver groups to the programs on this host that join them, and pass them on."""
    return _run_host("member", values)


@click.command("super-node")
@host_options
@security_options
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
    from dmmp.runtime.securing import places_of, refuse_public

    edge: dict[str, Any] = {} if kind == "super-node" else _edge_options(values)
    places = tuple(parse_place(place) for place in values["places"])
    given = () if values["session"] is None else (check_session(values["session"]),)
    security = _security(kind, values)
    if security.session_file is not None:
        session = _session_of(security, *given)
        if places:
            raise UsageError("--rp: the session file names the rendezvous points, with their keys")
        places = places_of(security.session_file)
    elif not places:
        raise UsageError("no --rp: name a rendezvous point, HOST or HOST:PORT")
    elif not given:
        raise UsageError("no --session: name the session to take part in")
    else:
        session = given[0]
    listen = _listen(values["listen"])
    refuse_public(security, listen)
    return NodeOptions(
        kind=kind,
        session=session,
        places=places,
        security=security,
        out_degree=out_degree(values["bandwidth"], values["stream_rate"], values["out_degree"]),
        listen=listen,
        name=values["name"],
        datapath=values["datapath"],
        randomized=parse_probability("--randomized", values["randomized"]),
        rate_limit=parse_limit("--rate-limit", values["rate_limit"]),
        paces=values["pace"],
        **edge,
    )


def _security(kind: str, values: dict[str, Any]) -> SecurityOptions:
    from dmmp.runtime.securing import read_options

    names = ("session_file", "credential", "secret_file", "key_log", "allow_public")
    return read_options(kind, values["security"], **{name: values[name] for name in names})


def _session_of(security: SecurityOptions, *given: str) -> str:
    """Return the session file's session, which an option may repeat but not change."""
    assert security.session_file is not None
    session = security.session_file.session
    if given and given != (session,):
        raise UsageError(f"--session {given[0]!r}: the session file is for {session!r}")
    return session


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
