"""In what order windows of different sessions are taken."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from services.contract.window import Window
from services.fusion.fair_queue import NEW_US, WINDOW_US, FairQueue, QueuedWindow


def queued(session: str, start_us: int, offset: int = 0) -> QueuedWindow:
    window = Window(session, start_us, start_us + 10, None, True, "c", {}, 0, 0)
    return QueuedWindow(0, offset, 0, window, 0)


def taken(queue: FairQueue, size: int) -> list[tuple[str, int]]:
    picked, _ = queue.select(size, lambda window, old: True)
    return [(q.window.session, q.window.start_us) for q in picked]


def queue_of(*windows: tuple[str, int]) -> FairQueue:
    queue = FairQueue()
    for offset, (session, start_us) in enumerate(windows):
        queue.add(queued(session, start_us, offset))
    return queue


def test_sessions_take_turns_and_each_keeps_its_order() -> None:
    queue = queue_of(("a", 1), ("a", 2), ("a", 3), ("b", 1), ("c", 1), ("c", 2))
    assert taken(queue, 6) == [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("c", 2), ("a", 3)]


def test_a_session_that_used_much_waits_for_the_others() -> None:
    queue = queue_of(("costly", 1), ("cheap", 1))
    taken(queue, 2)
    queue.charge("costly", 5 * WINDOW_US)
    for start_us in range(2, 7):
        queue.add(queued("costly", start_us))
        queue.add(queued("cheap", start_us))
    assert [session for session, _ in taken(queue, 6)] == ["cheap"] * 5 + ["costly"]


def test_time_that_nobody_waited_for_is_not_held_against_a_session() -> None:
    queue = queue_of(("busy", 0))
    queue.charge("busy", 10**9)
    taken(queue, 1)
    for n in range(4):
        queue.add(queued("busy", n))
        queue.add(queued("other", n))
    assert sorted(session for session, _ in taken(queue, 4)) == ["busy", "busy", "other", "other"]


def test_old_sessions_hardly_wait_for_a_flood_of_new_ones() -> None:
    queue = queue_of(("old", 0))
    taken(queue, 1)
    for n in range(1_000):
        queue.add(queued(f"new {n}", NEW_US))
    taken(queue, 8)
    for n in range(4):
        queue.add(queued("old", NEW_US + n))
    order = [session for session, _ in taken(queue, 8)]
    assert order.count("old") == 4
    assert order.index("old") <= 1


def test_new_sessions_get_a_share_while_old_ones_are_busy() -> None:
    queue = queue_of(("old", 0))
    taken(queue, 1)
    for n in range(400):
        queue.add(queued("old", NEW_US + n))
        queue.add(queued(f"new {n}", NEW_US))
    order = [session for session, _ in taken(queue, 400)]
    assert 250 <= order.count("old") <= 310


def test_nothing_of_a_blocked_session_is_taken_until_its_windows_are_back() -> None:
    queue = queue_of(("a", 1), ("a", 2), ("b", 1))
    picked, _ = queue.select(1, lambda window, old: True)
    queue.block(picked[0])
    assert taken(queue, 9) == [("b", 1)]
    assert not queue.is_ready
    queue.requeue(picked)
    assert taken(queue, 9) == [("a", 1), ("a", 2)]


@st.composite
def floods(draw: st.DrawFn) -> list[tuple[int, int, bool]]:
    return draw(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4), st.booleans()), max_size=60))


@given(floods())
def test_every_window_is_taken_once_in_the_order_of_its_session(steps: list[tuple[int, int, bool]]) -> None:
    queue, out, added = FairQueue(), list[QueuedWindow](), list[QueuedWindow]()

    def select_windows(size: int, undo: bool) -> Iterable[QueuedWindow]:
        picked, skipped = queue.select(size, lambda q, old: q.offset % 3 != 0)
        if undo:
            queue.undo(picked, skipped)
            return ()
        return sorted((*picked, *skipped), key=lambda q: q.offset)

    for offset, (session, size, undo) in enumerate(steps):
        added.append(queued(str(session), offset * 1_000_000, offset))
        queue.add(added[-1])
        if size > 2:
            out += select_windows(size, undo)
    while len(queue):
        out += select_windows(3, undo=False)
    assert not queue.is_ready
    assert sorted(q.offset for q in out) == [q.offset for q in added]
    for name in {q.window.session for q in added}:
        offsets = [q.offset for q in out if q.window.session == name]
        assert offsets == sorted(offsets)
