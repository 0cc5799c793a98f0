"""The command `dmmp`: its commands, and the one place where every mistake becomes one line.

Commands import what they run when they run: a member must start fast. Exit codes: 0 well, 1 failed,
2 used wrongly or not possible here.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import click

from dmmp import __version__
from dmmp.cli import authority, conformance, lab
from dmmp.cli.nodes import member, rp, source, super_node
from dmmp.cli.tools import decode, demo, doctor, show, sim
from dmmp.errors import UsageError

USAGE_EXIT = 2
FAILURE_EXIT = 1
INTERRUPT_EXIT = 130


class _InOrder(click.Group):
    """Lists the commands as they are added: the nodes first."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    "dmmp",
    cls=_InOrder,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Each command has its own --help.",
)
@click.version_option(__version__, "-V", "--version", prog_name="dmmp")
def root() -> None:
    """Carry IP multicast across networks that have none, for programs as they are."""


for _command in (
    rp,
    source,
    member,
    super_node,
    authority.authority,
    show,
    sim,
    lab.lab,
    decode,
    conformance.conformance,
    demo,
    doctor,
):
    root.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; give the exit code."""
    try:
        result = root.main(arguments, prog_name="dmmp", standalone_mode=False)
    except click.ClickException as error:
        return _explain(error)
    except UsageError as error:
        return _say(str(error), USAGE_EXIT)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPT_EXIT
    except BrokenPipeError:
        # Whoever read our output has seen enough; a second error at exit helps nobody.
        sys.stderr.close()
        return FAILURE_EXIT
    except Exception as error:
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            logging.getLogger(__name__).exception("internal error")
        kind = type(error).__name__
        return _say(
            f"internal error, please report it: {kind}: {error} (where: --log-level debug)",
            FAILURE_EXIT,
        )
    return result if isinstance(result, int) else 0


def _explain(error: click.ClickException) -> int:
    """Say what click found wrong, in one line with the cure."""
    context = getattr(error, "ctx", None)
    path = "dmmp" if context is None else context.command_path
    text = " ".join(error.format_message().split()).rstrip(".")
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.message, err=True)
        return USAGE_EXIT
    return _say(f"{text}; see: {path} --help", USAGE_EXIT)


def _say(text: str, code: int) -> int:
    click.echo(f"dmmp: {' '.join(text.split())}", err=True)
    return code
