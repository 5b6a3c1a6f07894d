"""The late record: a chunk that came when its windows had closed for its modality."""

from __future__ import annotations

from services.contract import canonical
from services.contract.chunk import Chunk


def encode(chunk: Chunk, missed_us: tuple[int, ...], behind_us: int) -> bytes:
    """Canonical bytes: identity and position, the starts of the windows missed, and by how much the last was missed."""
    return canonical.dumps(
        {
            "session": chunk.session,
            "modality": chunk.modality,
            "source": chunk.source,
            "id": chunk.id,
            "t_us": chunk.t_us,
            "duration_us": chunk.duration_us,
            "sha256": chunk.sha256,
            "at": [chunk.partition, chunk.offset],
            "missed_us": list(missed_us),
            "behind_us": behind_us,
        }
    )
