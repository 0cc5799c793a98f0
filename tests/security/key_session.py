"""A key server and members with a bad network between them, on one simulated clock.

Requests and answers arrive at once or not at all; parts of Rekeys likewise, each for each member.
The data plane is played: every member tries each epoch that the source seals with. RFC 2627.
"""

from __future__ import annotations

from ipaddress import ip_address
from random import Random

from dmmp.actions import Send
from dmmp.messages import KeyLeave, KeyRequest, KeyResponse, Rekey
from dmmp.security.key_member import KeyMember
from dmmp.security.key_server import KeyServer
from dmmp.security.key_wrap import EpochSecret
from dmmp.types import Endpoint, HostId, SessionId

SESSION = SessionId(7)
SOURCE = Endpoint(ip_address("198.51.100.10"), 47700)


def endpoint_of(number: int) -> Endpoint:
    """Tell where a member is."""
    return Endpoint(ip_address(0x0A000000 + number), 47700)


class Session:
    """One server, members by number, and all that is on the way between them."""

    def __init__(self, seed: int = 1, first_epoch: int = 1000, loss: float = 0.0) -> None:
        self.rng = Random(seed)
        self.now = 100.0
        self.loss = loss
        self.server = KeyServer(SESSION, self.rng.randbytes, self.now, first_epoch, HostId(1))
        self.members: dict[int, KeyMember] = {}
        self.requests: list[tuple[float, int, KeyRequest | KeyLeave]] = []
        self.rekeys: list[Rekey] = []
        self.secrets: list[EpochSecret] = [self.server.secret]
        self.deaf: set[int] = set()
        """Members that hear no Rekey."""

    def join(self, count: int) -> None:
        """Let so many become members."""
        for _ in range(count):
            number = len(self.members)
            member = KeyMember(SESSION, Random(self.rng.random()), HostId(100 + number))
            self.members[number] = member
            self.carry(number, member.want(SOURCE, self.now))
        self.serve()

    def leave(self, number: int) -> None:
        """Let a member go in good order."""
        self.carry(number, self.members[number].leave(self.now))

    def carry(self, number: int, sends: list[Send]) -> None:
        """Take a member's messages to the server and the answers back."""
        for send in sends:
            message = send.message
            assert send.to == SOURCE
            assert isinstance(message, (KeyRequest, KeyLeave))
            self.requests.append((self.now, number, message))
            if self.is_lost():
                continue
            node, sender = number.to_bytes(16), endpoint_of(number)
            if isinstance(message, KeyRequest):
                self.answer(self.server.on_request(message, node, sender, self.now))
            else:
                self.answer(self.server.on_leave(message, node, sender, self.now))

    def answer(self, sends: list[Send]) -> None:
        """Take the server's answers to the members."""
        for send in sends:
            assert isinstance(send.message, KeyResponse)
            if not self.is_lost():
                number = int(send.to.address) - 0x0A000000
                self.members[number].on_response(send.message, SOURCE, self.now)

    def serve(self) -> None:
        """Let the server do what is due, and everybody hear of it."""
        work = self.server.wake(self.now)
        self.answer(work.sends)
        self.rekeys += work.rekeys
        self.secrets += work.epochs
        for number, member in self.members.items():
            parts = [part for part in work.rekeys if not self.is_lost()]
            self.rng.shuffle(parts)
            for part in parts if number not in self.deaf else ():
                member.on_rekey(part, self.now)

    def flow(self) -> None:
        """Let one packet of the present epoch reach every member."""
        secret = self.server.secret
        for member in self.members.values():
            found = member.secret(secret.epoch & 0xFF, self.now)
            if found == secret:
                member.confirm(secret.epoch, self.now)
            else:
                member.unreadable(secret.epoch & 0xFF, self.now)

    def run(self, until: float, flowing: bool = True) -> None:
        """Let time pass: alarms in their order, and a packet each 0.1 s."""
        while self.now < until:
            alarms = [self.server.next_alarm(), *(m.next_alarm() for m in self.members.values())]
            first = min((alarm[0] for alarm in alarms if alarm is not None), default=until)
            self.now = max(self.now, min(first, self.now + 0.1, until))
            self.serve()
            for number, member in self.members.items():
                self.carry(number, member.wake(self.now))
            if flowing:
                self.flow()

    def is_lost(self) -> bool:
        """Draw whether a message is lost."""
        return self.rng.random() < self.loss

    def up_to_date(self) -> list[int]:
        """List the members that have the present epoch's secret, for certain."""
        secret = self.server.secret
        return [number for number, member in self.members.items() if member.current() == secret]
