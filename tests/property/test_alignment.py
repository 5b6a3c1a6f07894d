"""The aligner against the oracle over generated histories: any disorder, copies, silence, crashes, zombies."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.simulation.broker import MODALITIES, SentRecord
from tests.simulation.verdict import find_problems
from tests.simulation.world import World

SENT = st.builds(
    SentRecord,
    at=st.integers(0, 120),
    modality=st.sampled_from(MODALITIES),
    session=st.sampled_from(["a", "b {c}"]),
    id=st.sampled_from("0123"),
    t=st.integers(-10, 60),
    length=st.integers(1, 12),
    content=st.integers(0, 1),
    alive=st.just(False),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plan=st.lists(SENT, min_size=1, max_size=40), seed=st.integers(0, 2**32), zombies=st.booleans())
def test_windows_and_fates_equal_the_oracle_whatever_happens(plan: list[SentRecord], seed: int, zombies: bool) -> None:
    # Sound has a length and nothing else has: the length of a sound follows from its bytes.
    plan = [
        s if s.modality == "audio" else SentRecord(s.at, s.modality, s.session, s.id, s.t, 0, s.content) for s in plan
    ]
    world = World(seed, plan, zombies=zombies)
    assert world.run(), "the floor got stuck"
    assert find_problems(world) == []
