"""What the doctor says of machines and nodes; the machines are made up, the judging is not."""

from __future__ import annotations

from typing import Any

import pytest

from dmmp.doctor import FAIL, OK, PROGRAMS, WARN, Check, Findings, examine, gather

HEALTHY: Findings = {
    "python": (3, 12, 1),
    "platform": "linux",
    "tun": "there",
    "capabilities": ["net_admin", "net_raw"],
    "programs": dict.fromkeys(PROGRAMS, True),
    "rmem_max": 8 << 20,
    "wmem_max": 8 << 20,
    "rp_filter": {"all": 0, "default": 0, "eth0": 0},
    "route": "",
    "route_to_group": "multicast 239.1.2.3 via 10.0.0.1 dev eth0",
    "ipv6": True,
    "nodes": [],
}

SOURCE = {
    "name": "src",
    "kind": "source",
    "role": "source",
    "state": "Rooted",
    "counters": {"originated": 100},
    "drops": {"ttl": 0, "no_members": 0},
    "edge": {"interface": "dmmp0", "read": 100},
}

MEMBER = {
    "name": "m1",
    "kind": "member",
    "role": "member",
    "state": "Joined",
    "parent": {"node_id": "00000001"},
    "groups": [{"group": "239.1.2.3"}],
    "counters": {"delivered": 10},
    "drops": {},
    "edge": {"interface": "dmmp0", "read": 0},
}


def found(**changes: Any) -> list[Check]:
    return [check for check in examine(HEALTHY | changes) if check.state != OK]


def test_a_healthy_machine_has_no_complaints() -> None:
    assert found() == []
    assert found(nodes=[SOURCE, MEMBER]) == []


@pytest.mark.parametrize(
    ("changes", "state", "name", "cure"),
    [
        ({"python": (3, 10, 1)}, FAIL, "Python", "3.11"),
        ({"platform": "darwin"}, FAIL, "system", "Linux"),
        ({"tun": "missing"}, WARN, "/dev/net/tun", "modprobe tun"),
        ({"tun": "forbidden"}, WARN, "/dev/net/tun", "sudo"),
        ({"capabilities": []}, WARN, "privilege", "setcap"),
        ({"rp_filter": {"eth0": 1}}, WARN, "rp_filter", "sysctl"),
        ({"route_to_group": ""}, WARN, "route 224.0.0.0/4", "ip route add"),
        ({"ipv6": False}, WARN, "IPv6", "IPv6"),
        *(
            ({"programs": {name: False}}, WARN, name, f"apt-get install -y {package}")
            for name, (package, _) in PROGRAMS.items()
        ),
    ],
)
def test_what_is_missing_is_named_with_its_cure(
    changes: Findings, state: str, name: str, cure: str
) -> None:
    (check,) = found(**changes)
    assert (check.state, check.name) == (state, name) and cure in check.cure


def test_small_buffers_matter_only_to_who_may_not_enlarge_them() -> None:
    assert found(rmem_max=212992) == []
    names = {check.name: check for check in found(rmem_max=212992, capabilities=[])}
    assert names["socket buffers"].cure == "sudo sysctl -w net.core.rmem_max=4194304"
    names = {check.name: check for check in found(wmem_max=212992, capabilities=[])}
    assert names["socket buffers"].cure == "sudo sysctl -w net.core.wmem_max=4194304"


@pytest.mark.parametrize(
    ("node", "says", "cure"),
    [
        (MEMBER | {"drops": {"socket_overflow": 50}}, "faster than it fetched", "rmem_max"),
        (
            SOURCE
            | {
                "drops": {"queue_full": 50},
                "queues": [
                    {"address": "192.0.2.1:1", "dropped": 10},
                    {"address": "192.0.2.2:1", "dropped": 40},
                ],
            },
            "50 packets found no room on the way out, most to 192.0.2.2:1",
            "--out-degree",
        ),
        (SOURCE | {"drops": {"ttl": 50}}, "TTL is 1", "larger TTL"),
        (SOURCE | {"edge": {"read": 0}}, "nothing was sent", "ip route get"),
        (
            SOURCE | {"drops": {"no_members": 100}, "counters": {"originated": 0}},
            "nobody joined",
            "receiving program",
        ),
        (MEMBER | {"parent": None}, "no parent", "reachable"),
        (MEMBER | {"groups": []}, "no program here has joined", "receiving program"),
    ],
)
def test_what_users_ask_most_is_answered(node: Findings, says: str, cure: str) -> None:
    (check,) = found(nodes=[node])
    assert check.state == WARN and says in check.found and cure in check.cure


def test_a_strict_filter_on_a_members_interface_is_suspected() -> None:
    checks = found(nodes=[MEMBER], rp_filter={"dmmp0": 1})
    assert any(check.name == "node m1" and "rp_filter" in check.cure for check in checks)


def test_a_rendezvous_point_is_counted_not_judged() -> None:
    node = {"name": "rp", "kind": "rp", "sessions": [{"hosts": 3}, {"hosts": 4}]}
    assert Check(OK, "node rp", "rendezvous point with 7 hosts") in examine(
        HEALTHY | {"nodes": [node]}
    )


def test_a_super_node_need_not_join_groups() -> None:
    assert found(nodes=[MEMBER | {"kind": "super-node", "groups": [], "edge": None}]) == []


def test_looking_at_this_machine_finds_all_there_is_to_judge() -> None:
    assert set(gather()) == set(HEALTHY)
