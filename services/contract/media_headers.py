"""Content types, size of an image and length of audio, from first bytes and headers and without decoding."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from services.contract.dead_letter import Reason, Rejected
from services.contract.flac_frames import count_samples

JPEG, PNG, WEBP = "image/jpeg", "image/png", "image/webp"
IMAGE_TYPES = (JPEG, PNG, WEBP)
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_STANDALONE = {0x01, *range(0xD0, 0xD8)}
# Parts of a file that are looked at; the metadata of cameras takes a few dozen.
PARTS_MAX = 1_024


def image_size(content_type: str, body: bytes) -> tuple[int, int] | None:
    """Return (width, height) in pixels, None if it is not an image of this type (ISO 10918-1, PNG, RFC 9649)."""
    size = {JPEG: _jpeg, PNG: _png, WEBP: _webp}[content_type](body)
    return size if size and size[0] > 0 and size[1] > 0 else None


def decode_pixels(body: bytes) -> int:
    """Return the cost of decoding an image, in pixels of PNG or WebP; 0 for what is not an image of a known type.

    The decoder reads a large JPEG at an eighth of its size, which costs less than an eighth.
    """
    kind = JPEG if body[:2] == b"\xff\xd8" else PNG if body[:4] == b"\x89PNG" else WEBP if body[:4] == b"RIFF" else ""
    size = image_size(kind, body) if kind else None
    return 0 if size is None else size[0] * size[1] // (8 if kind == JPEG else 1)


def _jpeg(body: bytes) -> tuple[int, int] | None:
    if body[:2] != b"\xff\xd8":
        return None
    at = 2
    for _ in range(PARTS_MAX):
        if at + 4 > len(body) or body[at] != 0xFF:
            return None
        marker = body[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _STANDALONE:
            at += 2
        elif marker in _START_OF_FRAME:
            if at + 9 > len(body):
                return None
            height, width = struct.unpack_from(">HH", body, at + 5)
            return width, height
        else:
            at += 2 + int.from_bytes(body[at + 2 : at + 4], "big")
    return None


def _png(body: bytes) -> tuple[int, int] | None:
    if len(body) < 24 or body[:8] != b"\x89PNG\r\n\x1a\n" or body[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", body, 16)
    return width, height


def _webp(body: bytes) -> tuple[int, int] | None:
    if len(body) < 30 or body[:4] != b"RIFF" or body[8:12] != b"WEBP":
        return None
    kind = body[12:16]
    if kind == b"VP8 " and body[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", body, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and body[20] == 0x2F:
        bits = int.from_bytes(body[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(body[24:27], "little") + 1, int.from_bytes(body[27:30], "little") + 1
    return None


PCM, WAV, FLAC, OGG = "audio/pcm", "audio/wav", "audio/flac", "audio/ogg"
AUDIO_TYPES = (PCM, WAV, FLAC, OGG)
RATES = range(8_000, 48_001)
CHANNELS_MAX = 2
# Writers to a pipe do not know the length yet: they write 0, or about the largest number (ffmpeg 0xFFFFFFFF, sox 0x7FFFF000).
_LENGTH_UNKNOWN_MIN = 0x7F000000
# Bits of a sample by the format's number: PCM, float, A-law and mu-law.
_WAV_BITS = {1: (8, 16, 24, 32), 3: (32, 64), 6: (8,), 7: (8,)}
_WAV_EXTENSIBLE = 0xFFFE


class AudioInfo(NamedTuple):
    """Samples per channel, samples per second, channels, and the byte range of 16-bit samples (PCM and WAV only)."""

    samples: int
    rate: int
    channels: int
    pcm: tuple[int, int] | None = None

    @property
    def duration_us(self) -> int:
        """Return the length in microseconds."""
        return self.samples * 1_000_000 // self.rate


@lru_cache(256)
def parse_content_type(content_type: str) -> tuple[str, Mapping[str, str]]:
    """Return the media type in lower case and its parameters."""
    kind, *rest = content_type.split(";")
    pairs = (part.partition("=") for part in rest)
    parameters = {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}
    return kind.strip().lower(), MappingProxyType(parameters)


# Other names of the types that are admitted.
_ALIASES = {
    "image/jpg": JPEG,
    "image/pjpeg": JPEG,
    "image/x-png": PNG,
    "audio/x-wav": WAV,
    "audio/wave": WAV,
    "audio/vnd.wave": WAV,
    "audio/x-pn-wav": WAV,
    "audio/x-flac": FLAC,
    "audio/opus": OGG,
    "audio/vorbis": OGG,
    "audio/x-vorbis+ogg": OGG,
    "application/ogg": OGG,
    "application/x-ogg": OGG,
    "text/json": "application/json",
}
# What HTTP clients send that were given no type.
_UNSPECIFIC = ("", "application/octet-stream", "binary/octet-stream", "application/x-www-form-urlencoded", "*/*")


def resolve_content_type(declared: str, body: bytes, is_text: bool) -> str:
    """Return the content type of a payload: an alias and a type that says nothing are replaced by that of its first bytes.

    Args:
        declared: The declared content type; "" if there is none.
        body: The payload.
        is_text: The payload is of the text modality.
    """
    kind, _ = parse_content_type(declared)
    if kind not in _ALIASES and kind not in _UNSPECIFIC:
        return declared
    found = type_of(body)
    if found is None and is_text and body and kind in _UNSPECIFIC:
        found = "application/json" if body[:8].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{" else "text/plain"
    return found or _ALIASES.get(kind, declared)


def type_of(body: bytes) -> str | None:
    """Return the type of an image or audio file by its first bytes."""
    if body[:4] == b"RIFF":
        return {b"WAVE": WAV, b"WEBP": WEBP}.get(body[8:12])
    starts = ((b"\xff\xd8\xff", JPEG), (b"\x89PNG\r\n\x1a\n", PNG), (b"fLaC", FLAC), (b"OggS", OGG))
    return next((kind for start, kind in starts if body.startswith(start)), None)


def measure_audio(content_type: str, body: bytes) -> AudioInfo | Rejected:
    """Measure audio: count the bytes of PCM and WAV, read the container of FLAC and Ogg."""
    kind, _ = parse_content_type(content_type)
    if kind == PCM:
        form = _form(content_type)
        return form if isinstance(form, Rejected) else _counted(body, 0, len(body), *form)
    measure = {WAV: _wav, FLAC: _flac, OGG: _ogg}.get(kind)
    if measure is None:
        return Rejected(Reason.CONTENT_TYPE, "this content type is no audio that is read")
    info = measure(body)
    if isinstance(info, AudioInfo) and (info.rate not in RATES or not 1 <= info.channels <= CHANNELS_MAX):
        reason = Reason.WAV_HEADER if kind == WAV else Reason.SAMPLES
        return Rejected(reason, f"{info.rate} Hz with {info.channels} channels; 8000-48000 Hz, 1 or 2 are read")
    return info


def timer(content_type: str) -> Callable[[bytes], int | Rejected]:
    """Return a function that measures the duration (us) of audio of an admitted type."""

    def measured_us(body: bytes) -> int | Rejected:
        measured = measure_audio(content_type, body)
        return measured if isinstance(measured, Rejected) else measured.duration_us

    form = _form(content_type) if parse_content_type(content_type)[0] == PCM else None
    if not isinstance(form, tuple):
        return measured_us
    rate, sample_bytes = form[0], 2 * form[1]

    def counted_us(body: bytes) -> int | Rejected:
        samples, rest = divmod(len(body), sample_bytes)
        return measured_us(body) if rest else samples * 1_000_000 // rate

    return counted_us


@lru_cache(256)
def _form(content_type: str) -> tuple[int, int] | Rejected:
    """Return samples per second and channels from the content type of raw samples."""
    _, parameters = parse_content_type(content_type)
    rate, channels = parameters.get("rate", ""), parameters.get("channels", "1")
    if not (rate.isascii() and rate.isdigit() and channels.isascii() and channels.isdigit()) or len(rate) > 5:
        return Rejected(Reason.CONTENT_TYPE, "audio/pcm needs rate= and channels= in whole numbers")
    if parameters.get("format", "s16le").lower() != "s16le" or int(rate) not in RATES or channels not in ("1", "2"):
        return Rejected(Reason.CONTENT_TYPE, "audio/pcm is read as s16le, 8000-48000 Hz, 1 or 2 channels")
    return int(rate), int(channels)


def _counted(body: bytes, begin: int, length: int, rate: int, channels: int) -> AudioInfo | Rejected:
    if length % (2 * channels):
        return Rejected(Reason.SAMPLES, f"{length} bytes are no whole number of samples of {2 * channels} bytes")
    return AudioInfo(length // (2 * channels), rate, channels, (begin, begin + length))


def _wav(body: bytes) -> AudioInfo | Rejected:
    if body[:4] != b"RIFF" or body[8:12] != b"WAVE":
        return Rejected(Reason.MAGIC, "the bytes are not a WAV file")
    at, form = 12, 0
    for _ in range(PARTS_MAX):
        if at + 8 > len(body):
            break
        name, length = body[at : at + 4], int.from_bytes(body[at + 4 : at + 8], "little")
        begin = at + 8
        if name == b"fmt " and begin + 16 <= len(body):
            form = begin
        elif name == b"data":
            return _wav_data(body, form, begin, length) if form else Rejected(Reason.WAV_HEADER, "no format part")
        at = begin + length + (length & 1)
    return Rejected(Reason.WAV_HEADER, "no format and data parts")


def _wav_data(body: bytes, form: int, begin: int, length: int) -> AudioInfo | Rejected:
    kind, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", body, form)
    if kind == _WAV_EXTENSIBLE:
        kind = int.from_bytes(body[form + 24 : form + 26], "little")
    if bits not in _WAV_BITS.get(kind, ()) or not channels or block * 8 != bits * channels or not rate:
        return Rejected(Reason.WAV_HEADER, f"format {kind}, {bits} bits, {channels} channels at {rate} Hz")
    available = len(body) - begin
    if length == 0 or length >= _LENGTH_UNKNOWN_MIN:
        length = available - available % block
    if length > available:
        return Rejected(Reason.WAV_HEADER, f"the header claims {length} bytes of sound, there are {available}")
    if length % block:
        return Rejected(Reason.SAMPLES, f"{length} bytes are no whole number of samples of {block} bytes")
    pcm = (begin, begin + length) if (kind, bits) == (1, 16) else None
    return AudioInfo(length // block, rate, channels, pcm)


def _flac(body: bytes) -> AudioInfo | Rejected:
    if body[:4] != b"fLaC" or len(body) < 26 or body[4] & 0x7F:
        return Rejected(Reason.MAGIC, "the bytes are not a FLAC file")
    bits = int.from_bytes(body[18:26], "big")  # STREAMINFO: 20 bits rate, 3 channels - 1, 5 depth - 1, 36 samples
    samples = bits & 0xFFFFFFFFF or count_samples(body)
    if not samples:
        return Rejected(Reason.SAMPLES, "neither the FLAC header nor a frame says how many samples there are")
    return AudioInfo(samples, bits >> 44, (bits >> 41 & 7) + 1)


def _ogg(body: bytes) -> AudioInfo | Rejected:
    if body[:4] != b"OggS":
        return Rejected(Reason.MAGIC, "the bytes are not an Ogg file")
    vorbis, opus = body.find(b"\x01vorbis", 0, 128), body.find(b"OpusHead", 0, 128)
    end = _last_granule(body)
    if end is None:
        return Rejected(Reason.MAGIC, "no whole Ogg page says how long the sound is")
    if vorbis >= 0 and vorbis + 29 <= len(body):
        # A packet adds half a block of samples, the first one none; with long blocks there are no fewer than there are.
        longest = 1 << (body[vorbis + 28] >> 4) >> 1
        begin = _late_start(body, lambda packets: (len(packets) - 1) * longest)
        rate = int.from_bytes(body[vorbis + 12 : vorbis + 16], "little")
        return AudioInfo(max(end - begin, 0), rate, body[vorbis + 11])
    if opus >= 0 and opus + 12 <= len(body):
        begin = _late_start(body, lambda packets: sum(map(_opus_samples, packets)))
        skip = int.from_bytes(body[opus + 10 : opus + 12], "little")
        return AudioInfo(max(end - begin - skip, 0), 48_000, body[opus + 9])
    return Rejected(Reason.MAGIC, "neither Vorbis nor Opus in the Ogg file")


# Of a page on which no packet ends (RFC 3533).
_NO_GRANULE = (1 << 64) - 1


def _last_granule(body: bytes) -> int | None:
    """Return the position after the last sample: that of the last page on which a packet ends."""
    at = len(body)
    for _ in range(PARTS_MAX):
        at = body.rfind(b"OggS", 0, at)
        if at < 0:
            break
        granule = int.from_bytes(body[at + 6 : at + 14], "little")
        if at + 14 <= len(body) and granule != _NO_GRANULE:
            return granule
    return None


def _late_start(body: bytes, samples_of: Callable[[list[bytes]], int]) -> int:
    """Return the position of the first sample, which is not 0 in a part that was cut from a longer stream."""
    at = 0
    for _ in range(PARTS_MAX):
        segments = body[at + 27 : at + 27 + body[at + 26]] if at + 27 <= len(body) else b""
        if not segments:
            break
        granule, data = int.from_bytes(body[at + 6 : at + 14], "little"), at + 27 + len(segments)
        if granule not in (0, _NO_GRANULE):
            return max(granule - samples_of(_packets(body, data, segments)), 0)
        at = data + sum(segments)
    return 0


def _packets(body: bytes, at: int, segments: bytes) -> list[bytes]:
    """Return the first two bytes of each packet that ends on a page."""
    packets, begin = [], at
    for length in segments:
        at += length
        if length < 255:
            packets.append(body[begin : begin + 2])
            begin = at
    return packets


def _opus_samples(packet: bytes) -> int:
    """Return the samples of an Opus packet at 48 kHz, from its first two bytes (RFC 6716, section 3.1)."""
    if len(packet) < 2:
        return 0
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        frame = (480, 960, 1_920, 2_880)[config & 3]
    elif config < 16:
        frame = (480, 960)[config & 1]
    else:
        frame = (120, 240, 480, 960)[config & 3]
    return frame * (1, 2, 2, packet[1] & 63)[code]


def wav_from_pcm(content_type: str, body: bytes) -> bytes | None:
    """Return s16le PCM as a WAV file, which browsers can play; None if it is not PCM of an admitted format."""
    length = measure_audio(content_type, body) if parse_content_type(content_type)[0] == PCM else None
    if not isinstance(length, AudioInfo):
        return None
    rate, channels = length.rate, length.channels
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    parts = (
        b"RIFF",
        struct.pack("<I", 36 + len(body)),
        b"WAVEfmt ",
        struct.pack("<I", 16),
        form,
        b"data",
        struct.pack("<I", len(body)),
    )
    return b"".join(parts) + body
