"""The commands that end by themselves: show, sim, decode, demo, doctor.

They fetch values elsewhere and print them, as tables for people or JSON for machines.
"""

from __future__ import annotations

import binascii
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dmmp.errors import DecodeError, UsageError

if TYPE_CHECKING:
    from dmmp.security.key_log import KeyLog
    from dmmp.sim.report import SimOptions


def echo_json(value: object) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2))


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="The whole document (docs/show.md).")
def show(name: str | None, as_json: bool) -> int:
    """Show a running node: its place in the tree, groups, counters. NAME may be left out."""
    from dmmp.cli.tables import node_tables, nodes_table, print_tables
    from dmmp.runtime.control import ask, hint, running

    names = [name] if name is not None else running()
    if not names:
        raise UsageError(f"no node of yours runs here{hint() or '; start one first'}")
    documents = [ask(each) for each in names]
    if as_json:
        echo_json(documents[0] if len(documents) == 1 else documents)
    elif len(documents) == 1:
        print_tables(node_tables(documents[0]))
    else:
        print_tables([nodes_table(documents)])
    return 0


@click.command()
@click.option("--members", type=click.IntRange(1, 10000), default=200, show_default=True)
@click.option("--seed", type=int, help="Of the run, or the first of many.  [default: 1]")
@click.option("--window", type=float, help="Seconds in which the members come.")
@click.option("--loss", type=click.FloatRange(0, 0.9), default=0.0, show_default=True)
@click.option("--crashes", type=click.IntRange(0), default=0, show_default=True)
@click.option("--scenario", "file", type=click.Path(dir_okay=False), help="A TOML file instead.")
@click.option("--random", "draw", flag_value="random", help="Drawn from the seed: all faults.")
@click.option("--single", "draw", flag_value="single", help="Drawn: one death after another.")
@click.option("--seeds", type=click.IntRange(1), help="Run so many drawn scenarios, on all cores.")
@click.option("--wire", is_flag=True, help="Encode and decode every message.")
@click.option(
    "--security",
    type=click.Choice(["certificates", "psk", "none"]),
    default="none",
    show_default=True,
    help="Seal and prove everything, as real hosts do: seven times as slow.",
)
@click.option("--tree", is_flag=True, help="Draw the tree.")
@click.option("--trace", type=click.Path(dir_okay=False, writable=True), help="JSON lines.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
def sim(tree: bool, trace: str | None, as_json: bool, seeds: int | None, **values: Any) -> int:
    """Simulate a session in virtual time; exit code 1 if a check fails."""
    from dmmp.sim.report import SimOptions, run

    options = SimOptions(**values)
    if seeds is not None:
        return _run_seeds(options, seeds)
    if trace is None:
        result = run(options)
    else:
        with open(trace, "w", encoding="utf-8") as file:
            result = run(options, lambda line: print(line, file=file))
    if as_json:
        document = result.to_json()
        if tree:
            document["tree"] = result.tree_lines()
        echo_json(document)
        return result.exit_code
    from dmmp.cli.tables import print_tables, two_columns

    if tree:
        click.echo("\n".join(result.tree_lines()))
    print_tables([two_columns(result.table_rows())])
    for line in result.failure_lines():
        click.echo(line, err=True)
    return result.exit_code


def _run_seeds(options: SimOptions, count: int) -> int:
    """Run many drawn scenarios: a line for each seed that fails, and a summary."""
    from dmmp.sim.sweep import judge_all

    draw, first = options.draw, options.seed or 1
    if draw is None:
        raise UsageError("--seeds needs --random or --single")
    failed = 0
    numbers = range(first, first + count)
    for verdict in judge_all(draw, numbers, security=options.security):
        if verdict.failures:
            failed += 1
            click.echo(verdict.line())
    last = first + count - 1
    click.echo(f"{count} seeds, {first} to {last}: {failed or 'none'} failed")
    return 1 if failed else 0


@click.command()
@click.argument("what", required=False, metavar="[HEX | FILE.pcap]")
@click.option("--list", "as_list", is_flag=True, help="Every message, by option code.")
@click.option("--port", type=click.IntRange(1, 65535), help="Of a capture, only this UDP port.")
@click.option(
    "--key-log",
    "keys",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Open what is sealed with the keys that a node wrote (--key-log).",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def decode(
    what: str | None, as_list: bool, port: int | None, keys: Path | None, as_json: bool
) -> int:
    """Say what a datagram or a capture says, field by field; exit code 1 if it cannot be read."""
    if as_list:
        return _list_options(as_json)
    if what is None:
        raise UsageError("decode needs a datagram in HEX, a capture FILE.pcap, or --list")
    path = Path(what)
    log = None if keys is None else _key_log(keys)
    if path.suffix in (".pcap", ".pcapng", ".cap") or path.is_file():
        return _decode_capture(path, port, log, as_json)
    try:
        datagram = binascii.unhexlify("".join(what.replace(":", " ").split()))
    except ValueError:
        raise UsageError(f"{what[:40]!r} is neither hexadecimal nor a file that exists") from None
    return _decode_datagram((log and log.opened(datagram)) or datagram, as_json)


def _key_log(path: Path) -> KeyLog:
    from dmmp.security.key_log import KeyLog

    try:
        text = path.read_text(encoding="ascii")
    except UnicodeDecodeError:
        raise UsageError(f"--key-log {path}: this is no key log") from None
    except OSError as error:
        raise UsageError(f"--key-log {path}: {error.strerror}") from None
    return KeyLog(text)


def _list_options(as_json: bool) -> int:
    from dmmp.inspection import option_table

    rows = option_table()
    if as_json:
        echo_json([row._asdict() for row in rows])
        return 0
    from dmmp.cli.tables import columns, print_tables

    cells = [(f"{row.code:#06x}", row.message, row.meaning, row.section) for row in rows]
    print_tables([columns("", ("option", "message", "what it says", "source"), cells)])
    return 0


def _decode_datagram(datagram: bytes, as_json: bool) -> int:
    from dmmp.inspection import describe

    found = describe(datagram)
    fault = None if found.fault is None else str(found.fault)
    if as_json:
        rows = [row._asdict() for row in found.rows]
        echo_json({"name": found.name, "summary": found.summary, "fault": fault, "fields": rows})
    else:
        from dmmp.cli.tables import columns, print_tables

        cells = [
            (str(row.offset), row.field, row.value, row.doc, row.octets[:32]) for row in found.rows
        ]
        titles = ("byte", "field", "value", "meaning", "bytes")
        print_tables([columns(found.summary, titles, cells)])
    return 0 if fault is None else 1


def _decode_capture(path: Path, port: int | None, log: KeyLog | None, as_json: bool) -> int:
    from dmmp.inspection import describe, packets_of_capture

    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    faults = 0
    try:
        for packet in packets_of_capture(data, port):
            clear = None if log is None else log.opened(packet.payload)
            found = describe(clear or packet.payload)
            faults += found.fault is not None
            between = f"{packet.source} > {packet.destination}"
            if as_json:
                line = {"frame": packet.number, "time": packet.time, "name": found.name}
                line |= {"between": between, "summary": found.summary}
                click.echo(json.dumps(line))
            else:
                click.echo(f"{packet.number:6} {between}  {found.summary}")
    except DecodeError as error:
        raise UsageError(f"{path}: {error}") from None
    return 1 if faults else 0


@click.command()
@click.option("--members", type=click.IntRange(1, 40), default=12, show_default=True)
@click.option("--seconds", type=click.FloatRange(5, 600), default=15.0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
def demo(members: int, seconds: float, as_json: bool) -> int:
    """Play a stream through a small Internet of namespaces, and kill a relay on the way."""
    from dmmp.demo import main as play

    return int(play(members=members, seconds=seconds, json=as_json))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The checks as JSON.")
def doctor(as_json: bool) -> int:
    """Say what is missing on this machine and the command that cures it."""
    from dmmp.doctor import FAIL, examine, gather

    checks = examine(gather())
    if as_json:
        echo_json([check._asdict() for check in checks])
    else:
        from dmmp.cli.tables import checks_table, print_tables

        print_tables([checks_table(checks)])
    return 1 if any(check.state == FAIL for check in checks) else 0
