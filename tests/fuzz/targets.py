"""What is fuzzed: every reader of every topic, admission, ingest by HTTP, and the decoders of media."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.decode import RATE, Undecodable, decode_audio, decode_image, decode_text
from services.contract import media_headers
from services.contract.dead_letter import Rejected
from services.contract.media_headers import AudioInfo
from tests.property import test_ingest, test_record_readers
from tests.unit.model.media import drawn, image_file, pcm, progressive_jpeg, sine, sound_file, wav


@cache
def media_files() -> tuple[bytes, ...]:
    """Return a small good file of each kind."""
    return (
        *(image_file(drawn(), kind) for kind in ("JPEG", "PNG", "WEBP")),
        image_file(drawn(), "JPEG", progressive=True),
        image_file(drawn("L"), "PNG"),
        progressive_jpeg(3, 64),
        *(sound_file(sine(RATE, 0.05), RATE, kind) for kind in ("WAV", "FLAC", "OGG")),
        wav(pcm(sine(RATE, 0.05)), 0),
        b'{"text":"see you \\ud83d","n":1}',
    )


# Cuts and changes: (where, how many bytes are removed, what is put there).
CHANGES = st.lists(st.tuples(st.integers(0, 4_000), st.integers(0, 40), st.binary(max_size=8)), min_size=1, max_size=6)


@given(st.data(), CHANGES)
def decode_changed_media(data: st.DataObject, changes: list[tuple[int, int, bytes]]) -> None:
    """Decode good files with random changes, each as every type."""
    file = data.draw(st.sampled_from(media_files()))
    for at, removed, added in changes:
        file = file[:at] + added + file[at + removed :]
    assert isinstance(decode_image(file, side=64), np.ndarray | Undecodable)
    for content_type in ("text/plain", "application/json"):
        assert isinstance(decode_text(file, content_type), str | Undecodable)
    for content_type in (*media_headers.AUDIO_TYPES, "audio/pcm;rate=8000", "audio/pcm;rate=²"):
        assert isinstance(media_headers.measure_audio(content_type, file), AudioInfo | Rejected)
        assert isinstance(decode_audio(file, content_type), np.ndarray | Undecodable)
    for content_type in media_headers.IMAGE_TYPES:
        media_headers.image_size(content_type, file)


TARGETS: Mapping[str, Callable[[], None]] = {
    "decoders": decode_changed_media,
    "media readers": test_record_readers.test_every_reader_of_media_takes_any_bytes,
    "ingest": test_ingest.test_http_accepts_exactly_what_the_aligner_admits,
    **{
        name: partial(test_record_readers.test_a_reader_raises_only_contract_errors, name)
        for name in test_record_readers.READERS
    },
}
