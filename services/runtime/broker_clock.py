"""How far the clock of the Kafka broker and the local one differ, measured from acknowledgements.

Braid compares event times with the broker's append times, so a wrong clock of the broker makes right devices look wrong.
"""

from __future__ import annotations

from services.runtime.server_watch import Dependency

DIFFERENCE_MAX_US = 2_000_000
REPAIR = "Set both clocks, by NTP: event times are compared with Kafka's."


class BrokerClock:
    """The difference between the broker's clock and the local one, as of the newest acknowledgement.

    Attributes:
        offset_us: How far the broker's clock is ahead (us), below 0 if it is behind. A difference that the time between
            sending and acknowledgement explains is 0.
    """

    def __init__(self) -> None:
        self.offset_us = 0

    def observe(self, sent_us: int, acknowledged_us: int, appended_ms: int) -> None:
        """Compare the append time of a record with the local wall clock before it was sent and when it was acknowledged."""
        appended_us = appended_ms * 1000
        # The broker cuts its clock to milliseconds.
        earliest_us = sent_us - 1000
        if appended_us > acknowledged_us:
            self.offset_us = appended_us - acknowledged_us
        else:
            self.offset_us = min(appended_us - earliest_us, 0)

    @property
    def problem(self) -> str | None:
        """Return what is wrong, for people; None if the clocks agree."""
        if abs(self.offset_us) <= DIFFERENCE_MAX_US:
            return None
        direction = "ahead of" if self.offset_us > 0 else "behind"
        return f"Kafka's clock is {abs(self.offset_us) / 1e6:.1f} s {direction} this machine's"

    def dependency(self) -> Dependency:
        """Return what makes /readyz say that the clocks differ; the service works on."""

        async def check() -> None:
            if self.problem is not None:
                raise ValueError(self.problem)

        away = f"Kafka's clock and this machine's differ by more than {DIFFERENCE_MAX_US // 1_000_000} s. {REPAIR}"
        return Dependency("clock", check, away, essential=False)


# All producers of a process report to it.
BROKER_CLOCK = BrokerClock()
