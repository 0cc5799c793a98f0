"""The network: each kind of trouble alone, in about the share it was asked for."""

from __future__ import annotations

from random import Random

import pytest

from dmmp.errors import UsageError
from dmmp.sim.network import Conditions, Network
from dmmp.sim.topology import Uniform

DATAGRAMS = 20_000


def network(conditions: Conditions | None = None) -> Network:
    """Make a network of four places, every two 10 ms apart."""
    topology = Uniform(10_000)
    for _ in range(4):
        topology.attach()
    return Network(topology, Random(1), conditions or Conditions())


def test_a_perfect_network_only_delays() -> None:
    """One copy each, after the delay."""
    made = network()
    assert all(made.carry(0, 1) == (10_000,) for _ in range(100))
    assert made.counts.sent == 100
    assert dict(made.counts.rows()) == dict.fromkeys(dict(made.counts.rows()), 0) | {"sent": 100}


def test_loss_takes_its_share() -> None:
    """And the count agrees with what did not arrive."""
    made = network(Conditions(loss=0.1))
    arrived = sum(len(made.carry(0, 1)) for _ in range(DATAGRAMS))
    assert 0.09 < 1 - arrived / DATAGRAMS < 0.11
    assert made.counts.lost == DATAGRAMS - arrived


def test_duplicates_come_later_within_the_limit() -> None:
    """Two copies, the second not before the first."""
    made = network(Conditions(duplication=0.1, late_us=5_000))
    fates = [made.carry(0, 1) for _ in range(DATAGRAMS)]
    doubled = [fate for fate in fates if len(fate) == 2]
    assert 0.09 < len(doubled) / DATAGRAMS < 0.11
    assert made.counts.duplicated == len(doubled)
    assert all(first == 10_000 <= second < 15_000 for first, second in doubled)


def test_reordering_lets_a_later_one_overtake() -> None:
    """A share is late enough to be overtaken by what is sent a millisecond after it."""
    made = network(Conditions(reordering=0.1, late_us=30_000))
    delays = [made.carry(0, 1)[0] for _ in range(DATAGRAMS)]
    late = [delay for delay in delays if delay > 11_000]
    assert 0.08 < len(late) / DATAGRAMS < 0.11
    assert max(delays) < 40_000


def test_one_place_may_have_worse_conditions() -> None:
    """Both what it sends and what it gets; the others are not touched."""
    made = network()
    made.set_conditions(Conditions(loss=1.0), 2)
    assert made.carry(2, 0) == made.carry(0, 2) == ()
    assert made.carry(0, 1) == (10_000,)


def test_conditions_can_change_for_all() -> None:
    """From now on."""
    made = network()
    made.set_conditions(Conditions(loss=1.0))
    assert made.carry(0, 1) == ()


def test_a_partition_cuts_and_heals() -> None:
    """Places in no island form one together."""
    made = network()
    made.partition((0, 1))
    assert made.carry(0, 1) and made.carry(2, 3)
    assert not made.carry(0, 2) and not made.carry(3, 1)
    assert made.counts.blocked == 2
    made.heal()
    assert made.carry(0, 2)


def test_a_block_goes_one_way() -> None:
    """As with a firewall, or half a broken link."""
    made = network()
    made.block(0, 1)
    assert not made.carry(0, 1)
    assert made.carry(1, 0)
    made.unblock(0, 1)
    assert made.carry(0, 1)


def test_only_what_must_be_whole_meets_the_mtu() -> None:
    """The smaller of both links counts; what may be in fragments arrives."""
    made = network()
    made.set_mtu(1, 1400)
    assert made.carry(0, 1, 1400) and made.carry(1, 0, 1400) and made.carry(0, 2, 9000)
    assert not made.carry(0, 1, 1401) and not made.carry(1, 0, 1401)
    assert made.carry(0, 1)
    assert made.counts.too_large == 2


def test_nonsense_is_refused() -> None:
    """A probability above one."""
    with pytest.raises(UsageError):
        Conditions(loss=1.5)
