"""The base of every error that a person can act on, and the exit codes of the command line."""

from __future__ import annotations

from typing import ClassVar, Final

EXIT_FAILED: Final = 1  # A check failed, or a dependency is down.
EXIT_USAGE: Final = 2  # Wrong arguments or settings.
EXIT_NOT_RETAINED: Final = 3  # Asked for records that are older than what the topics retain.


class BraidError(Exception):
    """An error that says what happened, why, and what to do; the command line prints it without a traceback.

    Args:
        what: What happened, as a sentence.
        why: The cause; empty if `what` already says it.
        do: What the reader can do about it; empty if there is nothing to do.
    """

    exit_code: ClassVar[int] = EXIT_FAILED

    def __init__(self, what: str, why: str = "", do: str = "") -> None:
        super().__init__(what, why, do)
        self.what: Final = what
        self.why: Final = why
        self.do: Final = do

    def __str__(self) -> str:
        """Return at most three lines: one for each part that is not empty."""
        parts = (" ".join(part.split()) for part in (self.what, self.why, self.do))
        return "\n".join(part for part in parts if part)
