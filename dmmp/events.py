"""What a `Report` may say: what a person or a trace cares about, as values.

`str(event)` is the line that a long-running command prints.
"""

from __future__ import annotations

from dataclasses import dataclass

from dmmp.types import Endpoint, HostId, SessionId


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened at this host."""


@dataclass(frozen=True, slots=True)
class Registered(Event):
    """The RP gave this host its identity (-03 §6.1)."""

    session: SessionId
    host: HostId
    rendezvous_point: Endpoint
    observed: Endpoint

    def __str__(self) -> str:
        line = f"registered at {self.rendezvous_point} as host {self.host:08x}"
        if self.observed.address.is_loopback:
            line += "; seen on loopback, so only this machine can reach it: name the RP by its"
            line += " outer address if there are others"
        return line


@dataclass(frozen=True, slots=True)
class Admitted(Event):
    """A parent took this host in (-03 §6.3)."""

    parent: HostId
    endpoint: Endpoint
    depth: int

    def __str__(self) -> str:
        return f"joined below {self.parent:08x} at {self.endpoint}, depth {self.depth}"


@dataclass(frozen=True, slots=True)
class KeysHeld(Event):
    """The source gave this host the group's keys (slide 23)."""

    session: SessionId
    origin: HostId

    def __str__(self) -> str:
        return f"holds the keys of source {self.origin:08x}"


@dataclass(frozen=True, slots=True)
class CertificateRenewed(Event):
    """The authority certified a host again (slide 23)."""

    name: str
    endpoint: Endpoint

    def __str__(self) -> str:
        return f"renewed the certificate of {self.name} at {self.endpoint}"


@dataclass(frozen=True, slots=True)
class ParentLost(Event):
    """The parent is gone, or no parent any more; a new one is sought (slide 22)."""

    parent: HostId
    reason: str

    def __str__(self) -> str:
        return f"lost parent {self.parent:08x} ({self.reason}), looking for another"


@dataclass(frozen=True, slots=True)
class PlaceTaken(Event):
    """This host has taken the place of its parent, which is its child now (-03 §6.8)."""

    child: HostId

    def __str__(self) -> str:
        return f"took the place of {self.child:08x}, which has the smaller capacity"


@dataclass(frozen=True, slots=True)
class ChildAdded(Event):
    """A child confirmed its place here."""

    child: HostId
    endpoint: Endpoint

    def __str__(self) -> str:
        return f"child {self.child:08x} at {self.endpoint}"


@dataclass(frozen=True, slots=True)
class ChildLost(Event):
    """A child left or fell silent."""

    child: HostId
    reason: str

    def __str__(self) -> str:
        return f"child {self.child:08x} gone ({self.reason})"


@dataclass(frozen=True, slots=True)
class Promoted(Event):
    """This host is a super node now (slide 9)."""

    by: Endpoint

    def __str__(self) -> str:
        return f"super node, chosen by the source at {self.by}"


@dataclass(frozen=True, slots=True)
class Claimed(Event):
    """This host took its dead super node's place without the source's word (Decision 22)."""

    def __str__(self) -> str:
        return "super node in place of the dead one, until the source can say"


@dataclass(frozen=True, slots=True)
class MeshChanged(Event):
    """The source sees another set of super nodes (slide 9)."""

    super_nodes: int
    tree_version: int

    def __str__(self) -> str:
        return f"{self.super_nodes} super nodes, tree version {self.tree_version}"


@dataclass(frozen=True, slots=True)
class HostRegistered(Event):
    """RP: a host registered for the first time."""

    host: HostId
    endpoint: Endpoint
    hosts: int

    def __str__(self) -> str:
        return f"host {self.host:08x} at {self.endpoint} registered, {self.hosts} in the session"


@dataclass(frozen=True, slots=True)
class HostExpired(Event):
    """RP: a host left, or was not heard of for the hold time."""

    host: HostId
    reason: str
    hosts: int

    def __str__(self) -> str:
        return f"host {self.host:08x} gone ({self.reason}), {self.hosts} in the session"


@dataclass(frozen=True, slots=True)
class PathNarrow(Event):
    """A path carries less than this host's datagrams take; both as IP packets, in bytes."""

    endpoint: Endpoint
    path_mtu: int
    needed: int

    def __str__(self) -> str:
        # Over IPv6 nobody cuts but this host, and only where the network says so (Decision 64).
        unless = "" if self.endpoint.address.version == 4 else ", or are lost: then lower --mtu"
        return (
            f"the path to {self.endpoint} carries packets of {self.path_mtu} bytes, "
            f"not of {self.needed}: larger ones go there in fragments{unless}"
        )


@dataclass(frozen=True, slots=True)
class PathWide(Event):
    """A path that was too narrow carries this host's datagrams whole now."""

    endpoint: Endpoint
    path_mtu: int

    def __str__(self) -> str:
        return (
            f"the path to {self.endpoint} carries packets of {self.path_mtu} bytes now, all whole"
        )


@dataclass(frozen=True, slots=True)
class Waiting(Event):
    """Something is missing; the host goes on trying."""

    reason: str

    def __str__(self) -> str:
        return f"waiting: {self.reason}"


@dataclass(frozen=True, slots=True)
class Resumed(Event):
    """What `Waiting` complained of is over."""

    what: str

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True, slots=True)
class Refused(Event):
    """The RP will not have this host; `final` if no configured RP serves the session."""

    reason: str
    final: bool = False

    def __str__(self) -> str:
        return f"refused: {self.reason}"


@dataclass(frozen=True, slots=True)
class Misconfigured(Event):
    """Something works only by luck until somebody corrects it."""

    what: str

    def __str__(self) -> str:
        return f"check the configuration: {self.what}"


@dataclass(frozen=True, slots=True)
class Left(Event):
    """This host has left the session in good order (slide 20)."""

    def __str__(self) -> str:
        return "left the session"


@dataclass(frozen=True, slots=True)
class PeerViolation(Event):
    """A well-formed message that was not allowed; it changed nothing."""

    section: str
    reason: str
    sender: Endpoint

    def __str__(self) -> str:
        return f"{self.sender} broke {self.section}: {self.reason}"


@dataclass(frozen=True, slots=True)
class RoleChanged(Event):
    """The host has another role from now on."""

    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.before} has become {self.after}"
