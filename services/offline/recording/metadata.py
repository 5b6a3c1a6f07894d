"""What a recording says of itself: the settings that it was made under, and which part of the topics it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.contract import canonical
from services.contract.alignment_config import AlignmentConfig, config_from_json
from services.contract.errors import EXIT_USAGE, BraidError

NAME, RECORDED = "braid", "braid.taken"
FORMAT = "1"


class RecordingError(BraidError):
    """A file that is not a recording of Braid, or that cannot be read."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True, slots=True)
class RecordingMetadata:
    """The metadata of a recording.

    settings: the sections `alignment`, `limits` and `topics` of the settings in force; begins: the first offset that was
    there for each topic and partition; whole: nothing had been deleted or left out before these.
    """

    semantics: AlignmentConfig
    settings: Mapping[str, Any]
    partitions: int
    first_offsets: Mapping[str, Mapping[int, int]]
    is_complete: bool

    def as_metadata(self) -> dict[str, str]:
        """As MCAP keeps it: text by name."""
        return {
            "format": FORMAT,
            "config": self.semantics.digest,
            "semantics": canonical.dumps(self.semantics.to_json()).decode(),
            "settings": canonical.dumps(self.settings).decode(),
            "partitions": str(self.partitions),
            "begins": canonical.dumps(
                {t: {str(n): at for n, at in b.items()} for t, b in self.first_offsets.items()}
            ).decode(),
            "whole": "true" if self.is_complete else "false",
        }


def decode_metadata(told: Mapping[str, str]) -> RecordingMetadata:
    """Read the metadata back. Raises RecordingError."""
    if told.get("format") != FORMAT:
        raise RecordingError(f"it is of format {told.get('format')!r}, this Braid reads format {FORMAT}")
    try:
        begins = canonical.loads_object(told["begins"].encode())
        return RecordingMetadata(
            config_from_json(canonical.loads_object(told["semantics"].encode())),
            canonical.loads_object(told["settings"].encode()),
            int(told["partitions"]),
            {topic: {int(n): int(at) for n, at in found.items()} for topic, found in begins.items()},
            told["whole"] == "true",
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordingError(f"its metadata cannot be read ({type(error).__name__}: {error})") from None
