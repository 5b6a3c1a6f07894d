"""A camera: a small RTSP server that plays JPEG frames and 16-bit audio once, in real time, over the one connection.

Source: RFC 2326 (RTSP, interleaved binary data), RFC 3550 (RTP), RFC 2435 (JPEG in RTP), RFC 3551 (L16).
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Iterator, Sequence

VIDEO_HZ, PICTURE_HZ, SOUND_HZ, PACKET_SAMPLES = 90_000, 10, 16_000, 320
MTU = 1_400
BASES = {
    "video": 123_456_789,
    "audio": 4_294_960_000,
}  # of the RTP timestamps: an arbitrary one, and one that soon wraps around
SDP = f"""v=0
o=- 0 0 IN IP4 127.0.0.1
s=hall
t=0 0
a=control:*
m=video 0 RTP/AVP 26
a=control:video
m=audio 0 RTP/AVP 97
a=rtpmap:97 L16/{SOUND_HZ}/1
a=control:audio
""".replace("\n", "\r\n")


class Camera:
    """Take baseline JPEGs with 4:2:0 subsampling and standard tables, and 16-bit little-endian samples."""

    def __init__(self, frames: Sequence[bytes], samples: bytes) -> None:
        self._frames, self._samples = frames, samples
        self.begins_us = 0  # when the first frame and the first sample are sent
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Start and return the address."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"rtsp://viewer:secret@127.0.0.1:{self._server.sockets[0].getsockname()[1]}/hall"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        playing: asyncio.Task[None] | None = None
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode(errors="replace")
                while head.startswith("$"):  # receiver reports are ignored
                    head = head.partition("\r\n\r\n")[2]
                method, address, _ = head.split("\r\n")[0].rsplit("$", 1)[-1].split(" ")
                request = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                writer.write(self._response(method, address, request))
                if method == "PLAY":
                    playing = asyncio.create_task(self._play(writer))
                if method == "TEARDOWN":
                    return
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            return
        finally:
            if playing is not None:
                playing.cancel()
                await asyncio.gather(playing, return_exceptions=True)
            writer.close()

    @staticmethod
    def _response(method: str, address: str, request: dict[str, str]) -> bytes:
        lines = ["RTSP/1.0 200 OK", f"CSeq: {request['CSeq']}", "Session: 1"]
        body = ""
        if method == "OPTIONS":
            lines.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
        elif method == "DESCRIBE":
            body = SDP
            lines += [f"Content-Base: {address}/", "Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        elif method == "SETUP":
            lines.append(f"Transport: {request['Transport']}")
        elif method == "PLAY":
            infos = [f"url={address}{name};seq=0;rtptime={base}" for name, base in BASES.items()]
            lines.append("RTP-Info: " + ",".join(infos))
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()

    async def _play(self, writer: asyncio.StreamWriter) -> None:
        seqs, began = {"video": 0, "audio": 0}, asyncio.get_running_loop().time()
        self.begins_us = time.time_ns() // 1000
        for at_s, name, stamp, parts in self._schedule():
            await asyncio.sleep(max(began + at_s - asyncio.get_running_loop().time(), 0))
            for n, part in enumerate(parts):
                kind = (26 if name == "video" else 97) | (128 if n == len(parts) - 1 else 0)
                seq, rtp_time = seqs[name], (BASES[name] + stamp) % 2**32
                seqs[name] += 1
                packet = struct.pack(">BBHII", 0x80, kind, seq, rtp_time, 7 if name == "video" else 8) + part
                writer.write(struct.pack(">BBH", 0x24, 0 if name == "video" else 2, len(packet)) + packet)
            await writer.drain()

    def _schedule(self) -> list[tuple[float, str, int, list[bytes]]]:
        """Return (time, stream, timestamp, payloads): a frame at its time, a piece of audio at its end."""
        out = [
            (n / PICTURE_HZ, "video", n * VIDEO_HZ // PICTURE_HZ, list(jpeg_payloads(frame)))
            for n, frame in enumerate(self._frames)
        ]
        size = 2 * PACKET_SAMPLES
        for n in range(len(self._samples) // size):
            part = self._samples[n * size : (n + 1) * size]
            big = b"".join(part[i + 1 : i + 2] + part[i : i + 1] for i in range(0, size, 2))
            out.append(((n + 1) * PACKET_SAMPLES / SOUND_HZ, "audio", n * PACKET_SAMPLES, [big]))
        return sorted(out, key=lambda one: one[0])


def jpeg_payloads(jpeg: bytes) -> Iterator[bytes]:
    """Split a JPEG into RTP payloads (RFC 2435); the first one carries the quantisation tables."""
    at, tables, width, height = 2, b"", 0, 0
    while True:
        marker, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        body = jpeg[at + 4 : at + 2 + length]
        if marker == 0xDB:
            for begin in range(0, len(body), 65):
                tables += body[begin + 1 : begin + 65]
        elif marker == 0xC0:
            height, width = struct.unpack(">HH", body[1:5])
        at += 2 + length
        if marker == 0xDA:
            break
    scan = jpeg[at:-2]
    for offset in range(0, len(scan), MTU):
        head = struct.pack(">B3sBBBB", 0, offset.to_bytes(3, "big"), 1, 255, width // 8, height // 8)
        if offset == 0:
            head += struct.pack(">BBH", 0, 0, len(tables)) + tables
        yield head + scan[offset : offset + MTU]
