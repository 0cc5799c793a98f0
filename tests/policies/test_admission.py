"""What an applicant is told: a place, the way down, or no (slide 16, Decisions 14 and 17)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dmmp.policies.admission import Applicant, ClusterView, Verdict, admit_first
from dmmp.types import HostId

ME, ABOVE, STRANGER = HostId(100), HostId(2), HostId(9)

applicants = st.builds(
    Applicant, st.sampled_from((ME, ABOVE, STRANGER)), st.booleans(), st.booleans()
)
views = st.builds(
    ClusterView,
    st.just(ME),
    st.sampled_from(((), (ABOVE,), (HostId(3), ABOVE))),
    st.integers(0, 3),
    st.integers(0, 3),
    st.just(64),
)


def view(free_here: int, free_below: int, path: tuple[HostId, ...] = (ABOVE,)) -> ClusterView:
    """Make what a host below the source sees of itself."""
    return ClusterView(ME, path, free_here, free_below, 64)


def test_while_there_is_room_the_applicant_gets_a_place() -> None:
    assert admit_first(Applicant(STRANGER, False, True), view(1, 5)) is Verdict.ADMIT


def test_a_full_host_passes_the_request_down() -> None:
    assert admit_first(Applicant(STRANGER, False, True), view(0, 1)) is Verdict.PASS_DOWN


def test_without_a_place_below_or_the_right_to_pass_it_refuses() -> None:
    assert admit_first(Applicant(STRANGER, False, True), view(0, 0)) is Verdict.REFUSE
    assert admit_first(Applicant(STRANGER, False, False), view(0, 1)) is Verdict.REFUSE


def test_who_has_a_place_keeps_it_in_a_full_host() -> None:
    assert admit_first(Applicant(STRANGER, True, False), view(0, 0)) is Verdict.ADMIT


def test_no_root_path_grows_beyond_the_longest() -> None:
    path = tuple(HostId(1000 + number) for number in range(64))
    for length in range(65):
        verdict = admit_first(Applicant(STRANGER, False, True), view(1, 1, path[:length]))
        # The applicant's own path has one id more, this host's.
        assert verdict is not Verdict.ADMIT or length + 1 <= 64


@given(applicants, views)
def test_who_stands_above_is_never_admitted_whatever_else_holds(
    applicant: Applicant, seen: ClusterView
) -> None:
    above = applicant.host in (ME, *seen.root_path)
    assert (admit_first(applicant, seen) is Verdict.LOOP) == above


@given(applicants, views)
def test_no_place_is_promised_that_is_not_there(applicant: Applicant, seen: ClusterView) -> None:
    verdict = admit_first(applicant, seen)
    if verdict is Verdict.ADMIT:
        assert applicant.has_place or seen.free_here > 0
    if verdict is Verdict.PASS_DOWN:
        assert applicant.may_pass and seen.free_below > 0
