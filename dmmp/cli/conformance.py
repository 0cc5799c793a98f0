"""The command `dmmp conformance`: does an implementation do what the protocol demands?

It reads options and prints; what is tested, and how, is in `dmmp.conformance`.
"""

from __future__ import annotations

import re
import shlex
import socket
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dmmp.errors import UsageError

if TYPE_CHECKING:
    from dmmp.conformance.over_udp import Target
    from dmmp.conformance.requirement import Role
    from dmmp.conformance.runner import Plan, Result
    from dmmp.types import Endpoint

ROLES = ("rp", "source", "super-node", "member")
BY_HAND = 60.0
"""Seconds that a person may take to start an implementation."""

THERE = 3.0
"""Seconds within which an implementation that runs already is heard."""

_ID = re.compile(r"\d+(/\d+(:[\w-]+)?)?")


@click.command()
@click.argument("words", nargs=-1, metavar="[HOST:PORT] [ID]...")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What is tested.")
@click.option(
    "--command",
    metavar="COMMAND",
    help="Starts the implementation, anew for each case; {rp}, {listen} and {session} in it are"
    " filled in, and [--option {rp2}] where there are two RPs.",
)
@click.option(
    "--secured-command",
    metavar="COMMAND",
    help="Starts it for the cases of a secured session; {session_file} and {credential} are files"
    " that the tester makes.",
)
@click.option(
    "--listen",
    metavar="ADDRESS[:PORT]",
    help="Where the tester is, and plays the RP; port 0 is any.  [default: on the way to HOST,"
    " or 127.0.0.1]",
)
@click.option("--session", default="conformance", show_default=True, help="The session's name.")
@click.option(
    "--interface",
    metavar="NAME",
    help="Where programs on the implementation's host send and hear: an interface of this machine.",
)
@click.option("--strict", is_flag=True, help="Also what a SHOULD demands.")
@click.option("--list", "as_list", is_flag=True, help="Only list the cases.")
@click.option("--json", "as_json", is_flag=True, help="The results as JSON.")
@click.option(
    "--junit", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Also as XML."
)
@click.option(
    "--timer",
    "timers",
    multiple=True,
    metavar="NAME=SECONDS",
    help="A timer that this deployment has otherwise, as dmmp/parameters.py names it.",
)
@click.option("--answer", type=click.FloatRange(0.001), help="Seconds an answer may take.")
@click.option("--tolerance", type=click.FloatRange(0), help="Seconds a timer may be off.")
@click.option("--start", type=click.FloatRange(0), help="Seconds until it is first heard.")
@click.option("--at-most", type=click.FloatRange(0), help="Skip cases that take more seconds.")
@click.option(
    "--tries",
    type=click.IntRange(1, 10),
    default=1,
    show_default=True,
    help="A case fails only if it fails so often: for busy machines.",
)
@click.option("--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="At a time.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of what the tester draws.")
def conformance(words: tuple[str, ...], role: str, **values: Any) -> int:
    """Test an implementation of a role, by default ours in this process, in virtual time.

    An RP is tested at HOST:PORT. Other roles take the tester for their RP: --command starts them,
    or they are started by hand when told so (--listen). Cases are named by section, requirement or
    id: 4, 4/7, 4/7:same-instance. Exit code 1 if a case fails.
    """
    from dmmp.conformance.catalogue import choose_cases
    from dmmp.conformance.requirement import Role
    from dmmp.conformance.results import list_line

    names = [word for word in words if _ID.fullmatch(word)]
    places = [word for word in words if not _ID.fullmatch(word)]
    cases = choose_cases(Role(role), names)
    if values["as_list"]:
        for each in cases:
            click.echo(list_line(each))
        return 0
    if len(places) > 1:
        raise UsageError(f"{places[1]!r} is no case and not the only address; ids look like 4/7")
    place = places[0] if places else None
    plan = _plan(Role(role), place, values)
    return _show(plan, cases, _again(role, place, values), values)


def _plan(role: Role, place: str | None, values: dict[str, Any]) -> Plan:
    from dmmp.conformance.runner import Plan, in_process
    from dmmp.conformance.secured_over_udp import opens
    from dmmp.conformance.timing import REAL, VIRTUAL, with_timers

    target = _target(role, place, values)
    timing = with_timers(VIRTUAL if target is None else REAL, values["timers"])
    if target is not None and target.command is None:
        # One that runs already is there at once; a person needs a while to start one.
        timing = replace(timing, start=BY_HAND if target.subject is None else THERE)
    for name in ("answer", "tolerance", "start"):
        if values[name] is not None:
            timing = replace(timing, **{name: values[name]})
    most = float("inf") if values["at_most"] is None else values["at_most"]
    limits = {"strict": values["strict"], "at_most": most, "seed": values["seed"]}
    if target is None:
        return in_process(role, timing, values["session"], **limits)
    limits["tries"] = values["tries"]
    open_carrier = opens(target, values["secured_command"])
    return Plan(role, open_carrier, timing, values["session"], **limits)


def _target(role: Role, place: str | None, values: dict[str, Any]) -> Target | None:
    """Say what is tested over UDP; None: nothing is."""
    from dmmp.conformance.over_udp import ANYWHERE_HERE, Target
    from dmmp.conformance.requirement import Role
    from dmmp.runtime.locate import parse_endpoint

    command, listen = values["command"], values["listen"]
    _check_options(role, place, values)
    if place is None and command is None and listen is None:
        return None
    subject = None if place is None else _resolve(place)
    if listen is not None:
        at = parse_endpoint(listen, 0)
    elif subject is not None:
        at = _towards(subject)
    else:
        at = ANYWHERE_HERE
    by_hand = command is None and role is not Role.RP
    return Target(
        role,
        values["session"],
        subject,
        command,
        at,
        values["interface"],
        announce=(lambda text: click.echo(text, err=True)) if by_hand else None,
    )


def _check_options(role: Role, place: str | None, values: dict[str, Any]) -> None:
    command, is_rp = values["command"], role.value == "rp"
    if command is not None:
        if place is not None:
            raise UsageError("HOST:PORT and --command: choose one, what runs or what is started")
        needed = "{listen}" if is_rp else "{rp}"
        if needed not in command:
            raise UsageError(f"--command {command!r}: write {needed} where its address belongs")
    elif is_rp and place is None and values["listen"] is not None:
        raise UsageError("--listen goes with HOST:PORT or --command: where is the RP?")
    elif values["secured_command"] is not None:
        raise UsageError("--secured-command goes with --command, which starts it for other cases")
    if values["jobs"] > 1 and command is None:
        raise UsageError("--jobs goes with --command: each case needs an implementation of its own")
    if values["jobs"] > 1 and values["interface"] is not None:
        raise UsageError("--jobs and --interface: choose one, all cases share the interface")
    if values["interface"] is not None and command is None and place is None:
        raise UsageError("--interface goes with --command or HOST:PORT")


def _resolve(place: str) -> Endpoint:
    from dmmp.runtime.locate import parse_place
    from dmmp.types import DEFAULT_PORT, Endpoint

    host, port = parse_place(place)
    try:
        found = socket.getaddrinfo(host, port or DEFAULT_PORT, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise UsageError(f"{place!r}: {error.strerror}") from None
    address = found[0][4]
    return Endpoint(ip_address(str(address[0]).partition("%")[0]), int(address[1]))


def _towards(subject: Endpoint) -> Endpoint:
    """Return the address of this machine from which a host is reached."""
    family = socket.AF_INET6 if subject.address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as opened:
        try:
            opened.connect((str(subject.address), subject.port))
        except OSError as error:
            raise UsageError(f"{subject}: {error.strerror}") from None
        own = opened.getsockname()[0]
    return subject._replace(address=ip_address(own.partition("%")[0]), port=0)


def _again(role: str, place: str | None, values: dict[str, Any]) -> str:
    """Write the command that repeats a case, with `{id}` where its id goes."""
    words = ["dmmp", "conformance", *([] if place is None else [place]), "--role", role]
    for name in (
        "command",
        "secured_command",
        "listen",
        "interface",
        "answer",
        "tolerance",
        "start",
    ):
        if values[name] is not None:
            words += [f"--{name.replace('_', '-')}", str(values[name])]
    for name, default in (("session", "conformance"), ("seed", 1)):
        if values[name] != default:
            words += [f"--{name}", str(values[name])]
    words += [word for text in values["timers"] for word in ("--timer", text)]
    words += ["--strict"] if values["strict"] else []
    return shlex.join(words).replace("{", "{{").replace("}", "}}") + " {id}"


def _show(plan: Plan, cases: list[Any], again: str, values: dict[str, Any]) -> int:
    from dmmp.cli.tools import echo_json
    from dmmp.conformance.case import Verdict
    from dmmp.conformance.results import document, junit, summary
    from dmmp.conformance.runner import run_all

    results: list[Result] = []
    for result in run_all(cases, plan, values["jobs"]):
        results.append(result)
        if not values["as_json"]:
            _echo(result, again)
    if values["as_json"]:
        echo_json(document(results, plan.role, again))
    else:
        click.echo(summary(results))
    if values["junit"] is not None:
        try:
            values["junit"].write_text(junit(results, plan.role, again), encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--junit {values['junit']}: {error.strerror}") from None
    return int(any(result.verdict is Verdict.FAILED for result in results))


def _echo(result: Result, again: str) -> None:
    from dmmp.conformance.case import Verdict
    from dmmp.conformance.results import failure_lines, result_line

    click.echo(result_line(result))
    if result.verdict is Verdict.FAILED:
        for line in failure_lines(result, again.format(id=result.case.id)):
            click.echo(line)
