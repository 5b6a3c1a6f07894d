"""What a bridge from Wyoming says of what it cannot take."""

from __future__ import annotations


class Refused(Exception):
    """What a satellite sent cannot be taken; the message is for whoever looks after it, and never quotes it.

    code: a short word for metrics and for the satellite.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
