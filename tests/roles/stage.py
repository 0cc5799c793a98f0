"""A stage for role tests: one host with its fixed identity, and the others it talks to."""

from __future__ import annotations

from ipaddress import ip_address
from random import Random
from typing import TypeVar

from dmmp.actions import Action, Install, Report, Send
from dmmp.events import Event
from dmmp.messages import Message, PingRpResponse, SubscriptionResponse
from dmmp.messages.common import HostFlag, HostRecord, Phase
from dmmp.messages.local import Start
from dmmp.parameters import Parameters
from dmmp.roles.end_host import EndHost
from dmmp.roles.rendezvous_point import session_id
from dmmp.roles.standing import HostSetup
from dmmp.types import SELF, Endpoint, HostId, Instant, IpAddress

M = TypeVar("M", bound=Message)

PARAMETERS = Parameters()
SESSION = session_id("demo")
ME = HostId(100)


def at(number: int) -> Endpoint:
    """Return the endpoint of the host with this number."""
    return Endpoint(ip_address(f"10.0.0.{number}"), 47700)


def group(number: int) -> IpAddress:
    """Return a group's address with this number at its end."""
    return ip_address(f"239.0.0.{number}")


RP = at(1)
SOURCE = at(2)
SOURCE_RECORD = HostRecord(
    host=HostId(2), endpoint=SOURCE, flags=HostFlag.SOURCE, depth=0, out_degree=8
)


def super_node(number: int, free: int = 4, out_degree: int = 8) -> HostRecord:
    """Describe the super node with this number."""
    return HostRecord(
        host=HostId(number),
        endpoint=at(number),
        flags=HostFlag.SUPER_NODE,
        depth=1,
        out_degree=out_degree,
        free_slots=free,
    )


def host(kind: str = "member", out_degree: int = 4, relay_only: bool = False) -> EndHost:
    """Make a host that has not started."""
    setup = HostSetup("demo", (RP,), out_degree, instance=7, relay_only=relay_only)
    return EndHost(kind, setup, PARAMETERS, Random(1))


def sends(actions: list[Action], cls: type[Message] = Message) -> list[Send]:
    """Pick what is sent, of one class."""
    return [a for a in actions if isinstance(a, Send) and isinstance(a.message, cls)]


def only(actions: list[Action], cls: type[Message]) -> Send:
    """Pick the one message of a class that is sent."""
    (found,) = sends(actions, cls)
    return found


def body(actions: list[Action], cls: type[M]) -> M:
    """Pick the one message of a class that is sent, as itself."""
    message = only(actions, cls).message
    assert isinstance(message, cls)
    return message


def events(actions: list[Action], cls: type[Event] = Event) -> list[Event]:
    """Pick what is reported, of one class."""
    return [a.event for a in actions if isinstance(a, Report) and isinstance(a.event, cls)]


def installed(actions: list[Action]) -> Install:
    """Pick the last forwarding entry installed."""
    return [a for a in actions if isinstance(a, Install)][-1]


def answer(send: Send, cls: type[Message], source: int, **fields: object) -> Message:
    """Make the answer of host `source` to what was sent."""
    request = send.message
    return cls(
        session=SESSION,
        source=HostId(source),
        sequence=request.sequence,
        **fields,  # type: ignore[arg-type]
    )


def register(
    subject: EndHost,
    now: Instant,
    candidates: tuple[HostRecord, ...] = (),
    phase: Phase = Phase.RUNNING,
) -> list[Action]:
    """Start a host and take it through registration; return what it does then."""
    (locate,) = sends(subject.receive(Start(), SELF, now))
    actions = subject.receive(answer(locate, SubscriptionResponse, 0), RP, now)
    (ping,) = sends(actions)
    welcome = answer(
        ping,
        PingRpResponse,
        0,
        host=ME,
        observed=at(100),
        phase=phase,
        super_nodes=candidates,
        hosts=1,
    )
    return subject.receive(welcome, RP, now)
