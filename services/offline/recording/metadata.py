"""The metadata of a recording: the settings that it was made with, and which part of the topics it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.contract import canonical
from services.contract.alignment_config import AlignmentConfig, config_from_json
from services.contract.user_errors import EXIT_USAGE, BraidError

NAME, RECORDED = "braid", "braid.taken"
FORMAT = "1"


class RecordingError(BraidError):
    """A file that is not a recording of Braid, or that cannot be read."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True, slots=True)
class RecordingMetadata:
    """The metadata of a recording.

    Attributes:
        semantics: The alignment settings.
        settings: The sections `alignment`, `limits` and `topics` of the settings in force.
        partitions: The partition count of every topic.
        first_offsets: The first recorded offset of each topic and partition.
        is_complete: True if nothing was deleted or left out before these offsets.
    """

    semantics: AlignmentConfig
    settings: Mapping[str, Any]
    partitions: int
    first_offsets: Mapping[str, Mapping[int, int]]
    is_complete: bool

    def as_metadata(self) -> dict[str, str]:
        """Return the metadata in MCAP's form: text by name."""
        return {
            "format": FORMAT,
            "config": self.semantics.digest,
            "semantics": canonical.dumps(self.semantics.to_json()).decode(),
            "settings": canonical.dumps(self.settings).decode(),
            "partitions": str(self.partitions),
            "begins": canonical.dumps(
                {
                    topic: {str(n): offset for n, offset in offsets.items()}
                    for topic, offsets in self.first_offsets.items()
                }
            ).decode(),
            "whole": "true" if self.is_complete else "false",
        }


def decode_metadata(metadata: Mapping[str, str]) -> RecordingMetadata:
    """Read the metadata of a recording.

    Raises:
        RecordingError: The recording is of another format, or the metadata cannot be read.
    """
    if metadata.get("format") != FORMAT:
        raise RecordingError(f"it is of format {metadata.get('format')!r}, this Braid reads format {FORMAT}")
    try:
        begins = canonical.loads_object(metadata["begins"].encode())
        return RecordingMetadata(
            config_from_json(canonical.loads_object(metadata["semantics"].encode())),
            canonical.loads_object(metadata["settings"].encode()),
            int(metadata["partitions"]),
            {topic: {int(n): int(at) for n, at in offsets.items()} for topic, offsets in begins.items()},
            metadata["whole"] == "true",
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordingError(f"its metadata cannot be read ({type(error).__name__}: {error})") from None
