"""The watchdog ends a process whose main loop hangs, and not one that was stopped as a whole."""

from __future__ import annotations

import os
from typing import Any, cast

import pytest

from services.runtime import health as module
from services.runtime.health import Progress, Watchdog

S = 1_000_000


class Exited(Exception):
    """Raised instead of ending the process."""


class Clock:
    """A clock that the watchdog's own pauses move; `wait` returns True, as at the end, after the last of them."""

    def __init__(self, pauses_s: list[int]) -> None:
        self.now_us, self.pauses_s = 0, pauses_s

    def wait(self, timeout: float) -> bool:
        if not self.pauses_s:
            return True
        self.now_us += self.pauses_s.pop(0) * S
        return False


def watch(pauses_s: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a watchdog look after each pause, while the main loop does not beat."""
    clock = Clock(pauses_s)
    monkeypatch.setattr(module, "monotonic_us", lambda: clock.now_us)

    def leave(code: int) -> None:
        raise Exited

    monkeypatch.setattr(os, "_exit", leave)
    watchdog = Watchdog.__new__(Watchdog)
    watchdog._progress, watchdog._on_stall, watchdog._stopped = Progress(60), lambda: None, cast(Any, clock)
    watchdog._watch()


def test_main_loop_that_hangs_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Exited):
        watch([1] * 61, monkeypatch)


def test_process_that_was_stopped_for_minutes_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    watch([1, 300, 1, 1], monkeypatch)


def test_main_loop_that_hangs_after_the_process_was_stopped_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Exited):
        watch([300, *[1] * 61], monkeypatch)
