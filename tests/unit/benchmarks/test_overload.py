"""The overload benchmark sends windows that a worker accepts."""

from __future__ import annotations

from benchmarks.overload import build_window


# Workers reject members of other partitions: all windows would become dead letters.
def test_all_members_of_a_window_are_in_the_sessions_partition_and_in_redis() -> None:
    made, stored = build_window("s", 3, 7, final=True)
    members = {(name, m.partition, m.offset, m.t_us) for name, lane in made.modalities.items() for m in lane.members}
    assert {partition for _, partition, _, _ in members} == {3}
    assert {(one.modality, one.partition, one.offset, one.t_us) for one in stored} == members
