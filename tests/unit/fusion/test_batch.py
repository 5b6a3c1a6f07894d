"""Which windows are answered: final ones always and once, early ones only while they help."""

from __future__ import annotations

from services.contract.window import Window
from services.fusion.batch import EARLY_BACKLOG_MAX, batches, worth_answering


def window(start: int, *, final: bool = True, session: str = "s") -> Window:
    return Window(session, start, start + 10, None, final, "c", {}, 0, 0)


def test_an_early_answer_is_dropped_when_its_final_one_or_a_later_one_is_queued_behind_it() -> None:
    queue = [window(0, final=False), window(10, final=False), window(0), window(20, final=False)]
    assert worth_answering(queue, lambda session: None) == [False, True, True, True]


def test_what_was_published_before_a_crash_is_not_said_again() -> None:
    assert worth_answering([window(0), window(10), window(20)], lambda session: 10) == [False, False, True]


def test_other_sessions_do_not_matter() -> None:
    assert worth_answering([window(0, final=False), window(50, session="t")], lambda session: None) == [True, True]


def test_under_overload_early_answers_go_first_and_final_ones_never() -> None:
    queue = [window(n * 10, final=n % 2 == 0, session=f"s{n}") for n in range(4 * EARLY_BACKLOG_MAX)]
    kept = worth_answering(queue, lambda session: None)
    assert all(k for k, w in zip(kept, queue, strict=True) if w.final)
    assert not any(kept[1 : 2 * EARLY_BACKLOG_MAX : 2])


def test_batches_keep_the_order_and_say_why_they_go() -> None:
    queue = [window(n) for n in range(11)]
    found = list(batches(queue, 4))
    assert [w for part, _ in found for w in part] == queue
    assert [why for _, why in found] == ["full", "full", "idle"]


def test_copies_of_a_final_window_in_one_batch_are_answered_once() -> None:
    queue = [window(0), window(10), window(0), window(10), window(20)]
    assert worth_answering(queue, lambda session: None) == [True, True, False, False, True]
