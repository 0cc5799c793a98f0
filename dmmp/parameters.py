"""Every timer, limit and default of the protocol, each with where it comes from.

Seconds unless the name says otherwise. A frozen value: tests and users make their own with
`dataclasses.replace`. Contradictions raise `ParameterError` when it is made.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isinf

from dmmp.errors import ParameterError


@dataclass(frozen=True, slots=True)
class Parameters:
    """The protocol's constants; the comment on each names its source."""

    # Requests and responses.
    retry_first: float = 0.25  # Decision 9: first retransmission
    retry_tries: int = 5  # Decision 9: then the next candidate
    news_each: float = 0.01  # Decision 9: for each member of the mesh that hears the same news
    probe_tries: int = 2  # Decision 11: silence, then two probes, then inactive
    claim_tries: int = 3  # Decision 21: probes of a source before another takes its place
    doubt_tries: int = 5  # slide 18: probes of a relative that nobody waits for
    distrust: float = 60.0  # Decision 67: who passed on forgeries is no parent so long
    probe_wait_least: float = 0.05  # Decision 11: the shortest wait for an answer to a probe
    doubt_wait: float = 0.1  # Decision 20: between two probes of a child that is said to be dead
    switch_tries: int = 2  # Decision 20: a backup that does not confirm is passed over
    switch_wait_least: float = 0.1  # Decision 20: the shortest wait for a backup's confirmation
    held_up: float = 0.05  # Decision 11: an alarm so late tells of this host, not of the other
    join_tries: int = 3  # Decision 9, shortened for a host without a parent
    maximum_outstanding: int = 1024  # Decision 6: open requests a host remembers

    # Finding a place.
    candidates: int = 12  # Decision 13: super nodes probed by a newcomer
    candidates_placed: int = 4  # Decision 76: super nodes that who has a place is told
    newcomer_probes: float = 36.0  # Decision 13: probes a second that an RP sends to a super node
    probe_rounds: int = 3  # Decision 12: minimum of three round trips
    probe_spacing: float = 0.03  # Decision 12: between two rounds
    probe_wait: float = 0.4  # Decision 12: how long answers are collected
    similar_ratio: float = 1.1  # Decision 12: "similar" delays
    similar_delay: float = 0.002  # Decision 12: "similar" delays
    offers_wait: float = 0.15  # slide 16: how long offers are collected after the first
    join_wait: float = 1.0  # slide 16: without any offer, the next candidate
    reservation_hold: float = 3.0  # slide 16: an offer nobody confirmed lapses
    pass_down: int = 8  # slide 16: levels a Join Request may be passed down
    pass_width: int = 3  # slide 16: children it is passed to, most spare out-degree first
    retry_bootstrap: float = 0.4  # -03 §6.1: nothing found, ask the RP again
    retry_bootstrap_most: float = 10.0  # -03 §6.1: the longest pause between two tries
    retry_orphan_most: float = 2.0  # slide 22: and of a host whose programs heard the flow
    offer_after: int = 3  # slide 16: rounds without a place before offering oneself
    leave_wait: float = 0.8  # slide 20: a leaving host waits so long for the last answers
    leave_elect: float = 2.0  # slide 21: and a super node so long for its successor
    leave_move: float = 2.5  # slide 20: and so long for its children to have other parents
    offers_wait_orphan: float = 0.03  # slide 22: as `offers_wait`, where the flow has stopped
    cluster_window: float = 0.2  # slide 9: applicants collected, the most capable first

    # Keeping it.
    room_wait: float = 0.2  # Decision 14: news of free places are collected so long
    refresh_cluster: float = 10.0  # Decision 10
    refresh_first: float = 3.0  # Decision 76: of a parent that has just been found
    hold_cluster: float = 30.0  # Decision 10
    sweep: float = 5.0  # Decision 10: between two looks at children whose hold time is over
    refresh_relative: float = 20.0  # Decision 76: of backups and siblings
    hold_relative: float = 60.0  # Decision 76
    refresh_mesh: float = 10.0  # Decision 10: in a mesh of at most
    mesh_unhurried: int = 10  # Decision 76: so many; in larger ones in proportion less often
    hold_mesh: float = 30.0  # Decision 10
    refresh_rp: float = 30.0  # Decision 21: soft state at the RP
    refresh_rp_core: float = 4.0  # Decision 21: of the source and super nodes
    hold_rp: float = 100.0  # Decision 21
    claim_after: float = 3.0  # Decision 22: an orphaned successor without the source claims
    rp_spacing: float = 0.5  # Decision 21: an RP that says nothing so long is not waited for
    silent_rp_tries: int = 2  # Decision 21: what a silent RP hears with each renewal
    delay_weight: float = 0.1  # Decision 12: EWMA of round trips
    previous_parent_hold: float = 2.0  # Decision 16: make before break within a cluster

    # Self-improvement.
    promotion_ratio: float = 2.0  # -03 §6.8: so many times the parent's out-degree is enough
    promotion_margin: int = 2  # -03 §6.8: and less than so many more never is
    promotion_uptime: float = 20.0  # slide 19: who has not stayed so long does not count
    promotion_look: float = 30.0  # -03 §6.8: how often a host compares itself with its parent
    promotion_look_spread: float = 1 / 3  # Decision 10: by how much of it that varies
    promotion_hold: float = 5.0  # -03 §6.8: the lock of one promotion, at each that takes part
    promotion_calm: float = 30.0  # -03 §6.8: who took part takes part in none for so long

    # Coming nearer to the source.
    nearing_look: float = 10.0  # Decision 75: how often a member looks at other places; 0: never
    nearing_look_most: float = 40.0  # Decision 75: and, doubling while it finds nothing, at most
    nearing_look_rough: float = 240.0  # Decision 76: and that often where parents fail
    nearing_calm: float = 300.0  # Decision 76: for so long after the way to the source was lost
    nearing_width: int = 12  # Decision 75: hosts it looks at each time
    nearing_ratio: float = 0.03  # Decision 75: by so much of it a way must be shorter
    nearing_least: float = 0.002  # Decision 75: and by so many seconds at least
    nearing_hops: float = 2.0  # Decision 75: a child makes room for a gain of more hops than this

    # The mesh.
    super_node_ratio: float = 0.1  # slide 9: share of hosts chosen as super nodes
    super_nodes_most: int = 100  # slide 15: no more than one hundred
    choose_after: float = 0.5  # slide 9: hosts collected before the source chooses
    build_window: float = 5.0  # slide 9: after the first super node, joins are first-build ones
    mesh_links: int = 4  # Decision 15: nearest k
    mesh_ways: int = 8  # Decision 15: plus so many on the way from the source
    mesh_random_links: int = 1  # Decision 15: plus one random
    place_wait: float = 2.0  # Decision 33: a mesh child that was sent away has so long to move
    move_gain: float = 1.25  # Decision 33: so much longer must the present way be
    rebuild_after: float = 0.3  # Decision 15: link state settles before the tree is computed

    # Limits.
    sessions: int = 64  # slide 9: sessions of one RP process
    hosts: int = 200_000  # slide 9: hosts of one session at the RP
    children: int = 256  # Decision 14: children of a host, whatever its out-degree says
    groups: int = 1024  # Decision 25: groups of a host's own programs, and of each child
    leaf_below: int = 2  # slide 9: leaf and non-leaf
    path: int = 64  # Decision 17: longest root path
    guests: int = 64  # Decision 18: hosts that count this one among their relatives

    # Data.
    cache_seconds: float = 2.0  # Decision 18
    cache_bytes: int = 16 << 20  # Decision 18
    newcomer_seconds: float = 0.5  # slide 17: how far back a newcomer is served from the cache
    replay_bytes: int = 512 << 10  # slide 17: and how much at once: half a second of 8 Mbit/s
    reorder_wait: float = 0.01  # Decision 18: a gap may be packets that overtook each other
    repair_first: float = 0.1  # Decision 18: wait for an answer while no round trip is known
    repair_least: float = 0.03  # Decision 18: least wait for an answer
    repair_alone: float = 0.4  # Decision 18: so long nobody but upstream is asked
    repair_most: float = 0.5  # Decision 18: longest wait, after doubling
    repair_stretches: int = 64  # Decision 18: gaps of a channel that are asked for
    repair_numbers: int = 1024  # Decision 18: packets of a channel asked for at once
    repair_repeat: float = 0.02  # Decision 18: the same request so soon is a copy of it
    repair_share: float = 0.25  # Decision 18: sent again to a host, of what the streams bring
    repair_store: int = 2 << 20  # Decision 18: and at most so many bytes besides
    repair_wants: int = 64  # Decision 18: requests of a channel that wait for the packets
    ordered_bytes: int = 16 << 20  # Decision 18: packets that wait to be delivered in order
    random_forward: float = 0.0  # Decision 19: share of packets sent to relatives; 0.01 if on
    random_targets: int = 3  # Decision 19: and to how many of them
    silence_least: float = 0.1  # Decision 11
    silence_gaps: float = 5.0  # Decision 11: mean packet gaps
    heartbeat_first: float = 0.2  # Decision 4: after the last packet, then doubling
    heartbeat: float = 5.0  # Decision 4: announcement of a channel that carries data
    heartbeat_idle: float = 5.0  # Decision 4: of one that idles
    channel_idle: float = 60.0  # Decision 8: an idle channel's number is given up
    channels: int = 1024  # Decision 8: channels an origin has, and a forwarder knows
    unknown_hold: float = 2.0  # Decision 8: data ahead of its announcement waits so long
    unknown_again: float = 0.1  # Decision 8: and the announcement is asked for so often
    unknown_bytes: int = 4 << 20  # Decision 8: it waits up to so much

    # What a path carries whole; searched only where the runtime says what for (`Carries`).
    path_mtu_tries: int = 3  # RFC 8899 §5.1.2: MAX_PROBES, probes of one size
    path_mtu_wait: float = 1.0  # RFC 8899 §5.1.1: PROBE_TIMER while no round trip is known
    path_mtu_wait_least: float = 0.25  # RFC 8899 §5.1.1: and the least of four round trips
    path_mtu_raise: float = 600.0  # RFC 8899 §5.1.1: PMTU_RAISE_TIMER, then larger sizes again
    path_mtu_confirm: float = (
        30.0  # RFC 8899 §5.1.1: CONFIRMATION_TIMER, a probe of the present one
    )
    path_mtu_doubt: float = 2.0  # RFC 8899 §4.3: and how soon after the last where packets are lost
    path_mtu_again: float = 30.0  # RFC 8899 §5.2: Error; nothing was answered, so try later

    def __post_init__(self) -> None:
        for each in fields(self):
            _check(each.name, getattr(self, each.name))
        for refresh, hold in (
            ("refresh_cluster", "hold_cluster"),
            ("refresh_cluster", "hold_mesh"),
            ("refresh_relative", "hold_relative"),
            ("refresh_mesh", "hold_mesh"),
            ("refresh_rp", "hold_rp"),
        ):
            if getattr(self, hold) < 2 * getattr(self, refresh):
                raise ParameterError(f"{hold} must be at least twice {refresh}")


def _check(name: str, value: float) -> None:
    """Refuse a value with which a host could not run; nan, which nothing is above, with the rest.

    Raise ParameterError.
    """
    if not (value > 0 or (value == 0 and name in MAY_BE_ZERO)):
        least = "must not be negative" if name in MAY_BE_ZERO else "must be above 0"
        raise ParameterError(f"{name}: {least}")
    most, reason = AT_MOST.get(name, (MOST_TRIES if name.endswith("_tries") else ENDLESS))
    if value > most or (isinf(value) and name not in MAY_BE_ENDLESS):
        raise ParameterError(f"{name}: at most {most:g} ({reason})")


MAY_BE_ZERO = frozenset(
    {
        # Not at all, or nobody.
        *("distrust", "pass_down", "nearing_look", "nearing_calm", "nearing_width"),
        *("promotion_calm", "super_node_ratio", "mesh_random_links", "mesh_ways"),
        *("leaf_below", "repair_share", "repair_store"),
        *("newcomer_seconds", "replay_bytes", "random_forward", "random_targets"),
        # At once, or without delay.
        *("probe_spacing", "offers_wait", "offers_wait_orphan", "cluster_window", "room_wait"),
        *("leave_wait", "leave_elect", "leave_move", "claim_after", "previous_parent_hold"),
        *("choose_after", "build_window", "rebuild_after", "reorder_wait", "repair_alone"),
        # Without a margin.
        *("held_up", "similar_delay", "probe_wait_least", "switch_wait_least", "promotion_uptime"),
        *("promotion_look_spread", "nearing_ratio", "nearing_least", "nearing_hops"),
        "repair_repeat",
    }
)
"""Where 0 means something. Elsewhere it is an alarm that rings for ever, a table without room."""

MAY_BE_ENDLESS = frozenset({"nearing_hops"})
"""Where an infinite value means something: no gain is large enough."""

ENDLESS = (float("inf"), "a number, and no alarm waits for ever")
MOST_TRIES = (16.0, "the waits double: five hours after so many")
AT_MOST: dict[str, tuple[float, str]] = {
    "candidates": (12, "so many fit into one message, Decision 13"),
    "candidates_placed": (12, "so many fit into one message, Decision 13"),
    "super_nodes_most": (100, "slide 15"),
    "mesh_ways": (25, "one hundred fit into one message, with the nearest"),
    "mesh_links": (25, "one hundred fit into one message, with the others"),
    "mesh_random_links": (25, "one hundred fit into one message, with the nearest"),
    "pass_down": (255, "a byte in the Join Request"),
    "path": (64, "so many ids fit into one message, Decision 17"),
    "channels": (0xFFFF, "a channel's number has 16 bits, and 0 is none, Decision 8"),
    "repair_numbers": (1024, "so many bits fit into one Data Request, Decision 18"),
    "random_forward": (1, "a probability, Decision 19"),
    "super_node_ratio": (1, "a share of the hosts"),
    "delay_weight": (1, "the weight of a sample in its average"),
    "promotion_look_spread": (1, "a share of the time between two looks"),
}
"""The most that messages, or the meaning, allow."""
