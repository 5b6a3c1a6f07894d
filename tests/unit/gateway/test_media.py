"""Media that the gateway serves."""

from __future__ import annotations

from services.gateway.media import browser_safe
from services.storage.payload_cache import Payload


def test_bytes_are_served_only_under_types_that_a_browser_cannot_run() -> None:
    html = Payload("text/html", b"<script>alert(1)</script>")
    assert [browser_safe(m, html) for m in ("text", "video", "audio")] == [None, None, None]
    assert browser_safe("video", Payload("image/svg+xml", b"<svg/>")) is None
    assert browser_safe("video", Payload("image/jpeg", b"<script>")) is None
    message = browser_safe("text", Payload("application/json", b'{"text":"hi"}'))
    assert message is not None
    assert message.content_type == "text/plain; charset=utf-8"
    pcm = browser_safe("audio", Payload("audio/pcm;rate=8000", bytes(8)))
    assert pcm is not None
    assert (pcm.content_type, pcm.body[:4]) == ("audio/wav", b"RIFF")
