"""The topics: names, contents and the settings that the services rely on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

MODALITIES = ("text", "video", "audio")
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
RECORD_BYTES_MAX = 4 * 1024 * 1024


# Who uses topics: cameras and other sources, the services, the commands of a person, and programs that read results.
Role = Literal["device", "aligner", "fusion", "gateway", "mqtt", "wyoming", "operator", "reader"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as `braid topics apply` creates it; config values are the broker's own strings.

    `writers` and `readers` are all that need to write and read it; the operator reads every topic.
    """

    name: str
    description: str
    partitions: int
    config: tuple[tuple[str, str], ...]
    writers: frozenset[Role]
    readers: frozenset[Role]


@dataclass(frozen=True, slots=True)
class Topics:
    """The topic names of one installation."""

    prefix: str = "braid"
    modalities: tuple[str, ...] = MODALITIES

    def media(self, modality: str) -> str:
        """Return the media topic of a modality."""
        return f"{self.prefix}.media.{modality}.v1"

    @property
    def media_all(self) -> tuple[str, ...]:
        """Return the media topics of all modalities."""
        return tuple(self.media(modality) for modality in self.modalities)

    @property
    def windows(self) -> str:
        """Return the topic of window records."""
        return f"{self.prefix}.windows.v1"

    @property
    def frontier(self) -> str:
        """Return the topic of frontier and settings records."""
        return f"{self.prefix}.frontier.v1"

    @property
    def predictions(self) -> str:
        """Return the topic of predictions."""
        return f"{self.prefix}.predictions.v1"

    @property
    def events(self) -> str:
        """Return the topic of events."""
        return f"{self.prefix}.events.v1"

    @property
    def control(self) -> str:
        """Return the topic of control records."""
        return f"{self.prefix}.control.v1"

    @property
    def late(self) -> str:
        """Return the topic of late records."""
        return f"{self.prefix}.late.v1"

    @property
    def dead(self) -> str:
        """Return the topic of dead letters."""
        return f"{self.prefix}.dead.v1"

    def modality_of(self, topic: str) -> str:
        """Return the modality of a media topic. Raises ValueError for any other topic."""
        return self.modalities[self.media_all.index(topic)]

    def definitions(
        self,
        partitions: int = 8,
        media_retention_ms: int = HOUR_MS,
        frontier_retention_ms: int = DAY_MS + MINUTE_MS + 2 * HOUR_MS,
        retention_bytes: int | None = None,
        record_bytes_max: int = RECORD_BYTES_MAX,
    ) -> tuple[Topic, ...]:
        """Return the definitions of all topics.

        Args:
            partitions: Partitions of each topic.
            media_retention_ms: Retention of the media and windows topics.
            frontier_retention_ms: At least stale_after + future_ms + media retention + 1 h, because a frontier must
                outlive every record that it makes late.
            retention_bytes: Most bytes of predictions, of events, of late records and of dead letters; None leaves it to the broker.
            record_bytes_max: Largest record.
        """
        broker_clock = ("message.timestamp.type", "LogAppendTime")
        size = ("max.message.bytes", str(record_bytes_max))

        def topic(name: str, description: str, writers: str, readers: str, *config: tuple[str, str]) -> Topic:
            return Topic(name, description, partitions, (*config, broker_clock, size), _roles(writers), _roles(readers))

        def retained(retention_ms: int) -> tuple[tuple[str, str], ...]:
            # Records of the active segment are not deleted, so long segments would extend the retention.
            return (
                ("cleanup.policy", "delete"),
                ("retention.ms", str(retention_ms)),
                ("segment.ms", str(MINUTE_MS if retention_ms <= HOUR_MS else HOUR_MS)),
            )

        def limited(retention_ms: int) -> tuple[tuple[str, str], ...]:
            if retention_bytes is None:
                return retained(retention_ms)
            # Kafka counts the bytes of each partition.
            return (*retained(retention_ms), ("retention.bytes", str(max(retention_bytes // partitions, 1))))

        media = retained(media_retention_ms)
        return (
            *(
                topic(
                    self.media(m),
                    f"{m} chunks, ticks and resets",
                    "device aligner gateway wyoming operator",
                    "aligner fusion gateway mqtt operator",
                    *media,
                )
                for m in self.modalities
            ),
            topic(self.windows, "aligned windows", "aligner operator", "aligner fusion gateway operator", *media),
            topic(
                self.frontier,
                "the last emitted window of each session",
                "aligner operator",
                "aligner fusion operator",
                ("cleanup.policy", "compact,delete"),
                ("retention.ms", str(frontier_retention_ms)),
                ("segment.ms", str(HOUR_MS)),
            ),
            topic(
                self.predictions,
                "one prediction per window",
                "fusion",
                "fusion gateway mqtt operator reader",
                *limited(7 * DAY_MS),
            ),
            topic(
                self.events,
                "events: new, update, end",
                "fusion",
                "fusion gateway mqtt operator reader",
                *limited(7 * DAY_MS),
            ),
            topic(
                self.control,
                "mute, forget, and where the generations of sessions begin",
                "aligner mqtt operator",
                "aligner fusion gateway mqtt operator",
                ("cleanup.policy", "compact"),
                ("segment.ms", str(HOUR_MS)),
            ),
            topic(self.late, "late chunks", "aligner operator", "fusion gateway operator", *limited(DAY_MS)),
            topic(
                self.dead,
                "rejected records, with the reason",
                "aligner fusion operator",
                "fusion gateway operator",
                *limited(DAY_MS),
            ),
        )


def _roles(names: str) -> frozenset[Role]:
    roles = frozenset(role for role in ROLES if role in names.split())
    assert len(roles) == len(names.split()), names
    return roles
