"""Decoding of audio to one rate within limits; everything else gives a reason."""

from __future__ import annotations

import io
import struct

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from model import decode
from model.decode import RATE, SECONDS_MAX, TooCostly, Undecodable, decode_audio
from services.contract.dead_letter import Rejected
from services.contract.media_headers import AudioInfo, measure_audio
from tests.unit.model.media import ogg_pages, pcm, sine, sound_file, wav


def samples_of(payload: bytes, content_type: str) -> NDArray[np.float32]:
    decoded = decode_audio(payload, content_type)
    assert isinstance(decoded, np.ndarray), decoded
    assert decoded.dtype == np.float32
    return decoded


def test_pcm_is_decoded_unchanged() -> None:
    sent = sine(RATE)
    assert samples_of(pcm(sent), "audio/pcm;rate=8000;channels=1;format=s16le") == pytest.approx(sent, abs=1e-4)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_audio_files_are_decoded_to_samples(kind: str) -> None:
    decoded = samples_of(sound_file(sine(RATE), RATE, kind), f"audio/{kind.lower()}")
    assert len(decoded) == RATE
    assert float(np.sqrt(np.mean(decoded**2))) == pytest.approx(0.5 / np.sqrt(2), abs=0.02)


def test_two_channels_are_averaged() -> None:
    both = np.stack([np.full(100, 0.25), np.full(100, -0.25)], 1).reshape(-1).astype(np.float32)
    assert np.abs(samples_of(pcm(both), "audio/pcm;rate=8000;channels=2")).max() < 1e-4


# 47,999 and 12,345 share no large divisor with 8,000: the plain polyphase kernel of such a rate has gigabytes.
@pytest.mark.parametrize("rate", [8_001, 11_025, 12_345, 16_000, 22_050, 44_100, 47_999, 48_000])
def test_resampling_preserves_the_frequency_of_a_tone(rate: int) -> None:
    decoded = samples_of(pcm(sine(rate)), f'audio/pcm; rate="{rate}"')
    assert abs(len(decoded) - RATE) <= 1
    expected = sine(RATE)[: len(decoded)]
    inner = slice(100, len(decoded) - 100)
    # Audio at twice the rate is averaged in pairs, as for the recordings: half a sample later.
    assert np.abs(decoded - expected)[inner].max() < (0.1 if rate == 2 * RATE else 0.02)


@pytest.mark.parametrize(
    "content_type",
    [
        "audio/pcm",
        "audio/pcm;rate=",
        "audio/pcm;rate=fast",
        "audio/pcm;rate=0",
        "audio/pcm;rate=-8000",
        "audio/pcm;rate=8000;channels=0",
        "audio/pcm;rate=8000;channels=3",
    ],
)
def test_pcm_without_a_valid_rate_or_channels_is_undecodable(content_type: str) -> None:
    assert isinstance(decode_audio(pcm(sine(RATE, 0.1)), content_type), Undecodable)


def test_an_incomplete_sample_is_undecodable() -> None:
    assert isinstance(decode_audio(b"\0" * 8_001, "audio/pcm;rate=8000"), Undecodable)


def test_audio_at_the_length_limit_is_decoded_and_longer_is_not() -> None:
    assert len(samples_of(bytes(2 * RATE * SECONDS_MAX), "audio/pcm;rate=8000")) == RATE * SECONDS_MAX
    assert isinstance(decode_audio(bytes(2 * RATE * SECONDS_MAX + 2), "audio/pcm;rate=8000"), Undecodable)


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, 16_000])
def test_a_wav_with_length_zero_in_its_header_is_read_to_its_end(length: int) -> None:
    sent = sine(RATE)
    assert samples_of(wav(pcm(sent), length), "audio/wav") == pytest.approx(sent, abs=1e-4)


def test_a_header_with_too_high_a_rate_or_too_many_channels_is_refused() -> None:
    assert isinstance(decode_audio(wav(pcm(sine(RATE)), 16_000, rate=2_000_000_000), "audio/wav"), Undecodable)
    many = np.zeros((100, 16), np.float32)
    assert isinstance(decode_audio(sound_file(many, RATE, "WAV"), "audio/wav"), Undecodable)


def test_channels_that_cancel_leave_the_loudest_one() -> None:
    wave = sine(RATE)
    for other in (-wave, -0.95 * wave):
        both = np.stack([wave, other], 1).reshape(-1).astype(np.float32)
        assert samples_of(pcm(both), "audio/pcm;rate=8000;channels=2") == pytest.approx(wave, abs=1e-3)
    halves = np.stack([wave, 0.2 * wave], 1).reshape(-1).astype(np.float32)
    assert samples_of(pcm(halves), "audio/pcm;rate=8000;channels=2") == pytest.approx(0.6 * wave, abs=1e-3)


def encoded(samples: NDArray[np.float32], rate: int, kind: str, subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


CODINGS = ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]


@pytest.mark.parametrize(
    ("kind", "subtype"), [*(("WAV", c) for c in [*CODINGS, "ALAW", "ULAW"]), *(("WAVEX", c) for c in CODINGS)]
)
def test_every_admitted_coding_of_wav_is_measured_and_decoded(kind: str, subtype: str) -> None:
    sent = sine(RATE)
    file = encoded(sent, RATE, kind, subtype)
    measured = measure_audio("audio/wav", file)
    assert isinstance(measured, AudioInfo), measured
    assert measured.duration_us == 1_000_000
    assert samples_of(file, "audio/wav") == pytest.approx(sent, abs=0.03)


@pytest.mark.parametrize("length", [0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF, 0xFFFFFFDB])
def test_a_wav_of_unknown_length_is_measured_and_decoded_alike(length: int) -> None:
    file = wav(pcm(sine(RATE)), length)
    measured = measure_audio("audio/wav", file)
    assert isinstance(measured, AudioInfo)
    assert measured.samples == len(samples_of(file, "audio/wav")) == RATE


@pytest.mark.parametrize("subtype", ["OPUS", "VORBIS"])
def test_ogg_that_begins_late_or_ends_within_a_packet_is_measured_and_decoded_alike(subtype: str) -> None:
    noise = np.random.default_rng(1).standard_normal(48_000 * 6, np.float32) * np.float32(0.1)
    pages = ogg_pages(encoded(noise, 48_000, "OGG", subtype))
    heads = [page for page in pages if page[6:14] == bytes(8)]
    late = b"".join(heads + pages[len(heads) + 2 :])
    no_end = b"".join([*pages[:-2], pages[-1][:6] + b"\xff" * 8 + pages[-1][14:]])
    for file in (b"".join(pages), late, no_end):
        measured = measure_audio("audio/ogg", file)
        assert isinstance(measured, AudioInfo)
        assert len(samples_of(file, "audio/ogg")) == pytest.approx(measured.samples / 6, abs=2)


def test_a_short_opus_file_whose_last_page_has_no_packet_is_decoded() -> None:
    pages = ogg_pages(encoded(sine(48_000, 0.5), 48_000, "OGG", "OPUS"))
    empty = b"OggS\0\4" + b"\xff" * 8 + pages[0][14:18] + struct.pack("<I", len(pages)) + bytes(5)
    open_end = bytes([*pages[-1][:5], pages[-1][5] & ~4, *pages[-1][6:]])
    file = b"".join([*pages[:-1], open_end, empty])
    measured = measure_audio("audio/ogg", file)
    assert isinstance(measured, AudioInfo)
    assert abs(measured.duration_us - 500_000) < 20_000
    assert len(samples_of(file, "audio/ogg")) > 0.4 * RATE


def test_float_samples_that_are_no_numbers_are_undecodable_and_huge_ones_are_cut() -> None:
    bad = encoded(np.array([0, np.nan], np.float32), RATE, "WAV", "FLOAT")
    assert isinstance(decode_audio(bad, "audio/wav"), Undecodable)
    huge = samples_of(encoded(np.array([1e30, -1e30], np.float32), RATE, "WAV", "FLOAT"), "audio/wav")
    assert np.abs(huge).max() <= 8.0


def test_more_samples_than_any_device_sends_are_too_costly() -> None:
    many = np.zeros((2_000_000, 8), np.float32)
    assert isinstance(decode_audio(encoded(many, 96_000, "FLAC", "PCM_16"), "audio/flac"), TooCostly)


def flac_from_pipe(samples: NDArray[np.float32], rate: int) -> bytes:
    """A FLAC file whose header does not say how many samples there are, as ffmpeg writes to a pipe."""
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=rate, layout="stereo" if samples.ndim == 2 else "mono")
        planes = np.ascontiguousarray((np.atleast_2d(samples.T).T * 32_767).astype(np.int16).reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(planes, "s16", "stereo" if samples.ndim == 2 else "mono")
        frame.sample_rate = rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    whole = file.getvalue()
    return whole[:21] + bytes([whole[21] & 0xF0]) + bytes(4) + whole[26:]


@pytest.mark.parametrize("length", [1, 200, 4_096, 4_608, 8_000, 30_000])
def test_flac_without_a_number_of_samples_is_read_to_its_end(length: int) -> None:
    noise = np.random.default_rng(length).normal(0, 0.1, (length, 2)).astype(np.float32)
    file = flac_from_pipe(noise.clip(-1, 1), RATE)
    measured = measure_audio("audio/flac", file)
    assert isinstance(measured, AudioInfo)
    assert measured.samples == length
    assert len(samples_of(file, "audio/flac")) == length
    assert isinstance(measure_audio("audio/flac", file[:42]), Rejected), "no frame"


def test_flac_without_a_number_of_samples_is_decoded_within_the_budget() -> None:
    file = flac_from_pipe(np.zeros((61 * RATE, 2), np.float32), RATE)
    assert len(file) < 100_000
    assert isinstance(decode_audio(file, "audio/flac"), TooCostly)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_sound_that_takes_more_cpu_time_than_its_budget_is_too_costly(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = sound_file(sine(RATE), RATE, kind)
    monkeypatch.setattr(decode, "CPU_S_MAX", 0.0)
    assert isinstance(decode_audio(file, f"audio/{kind.lower()}"), TooCostly)


def test_other_audio_formats_are_refused() -> None:
    assert isinstance(decode_audio(sound_file(sine(RATE), RATE, "AIFF"), "audio/wav"), Undecodable)


def test_empty_audio_is_decoded_to_no_samples() -> None:
    assert len(samples_of(b"", "audio/pcm;rate=44100")) == 0
