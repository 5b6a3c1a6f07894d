"""Requests that the gateway rejects."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from tests.integration.gateway import Gateway, Response
from tests.waiting import DEADLINE_S


@pytest.fixture(scope="module")
async def gateway(stack: LocalStack, services: dict[str, ServiceProcess]) -> AsyncIterator[Gateway]:
    """A gateway on loopback without a token."""
    gateway = await Gateway(stack, 9).start()
    yield gateway
    assert await gateway.process.child.stop() == 0, "the gateway did not end cleanly"


async def test_a_wrong_request_gets_a_4xx_response(gateway: Gateway) -> None:
    for path, status in {
        "api/v1/sessions/never": 404,
        "api/v1/sessions/never?seconds=x": 404,
        "api/v1/predictions/never/1/1@2": 404,
        "api/v1/events?kind=gossip": 400,
        "api/v1/nothing": 404,
        "api/v1/events?session=" + "x" * 5_000: 414,
        "api/v1/events?" + "a=b&" * 200: 400,
        "../../etc/passwd": 404,
        "%2e%2e/api.py": 404,
    }.items():
        assert (await gateway.request(path)).status == status, path


async def test_requests_from_other_sites_and_for_other_hosts_are_rejected(gateway: Gateway) -> None:
    rebound = await gateway.request("api/v1/sessions", host="evil.example")
    assert rebound.status == 421
    sent = await gateway.request(
        "api/v1/sessions/s/text", b"x", content_type="text/plain", origin="https://evil.example"
    )
    assert sent.status == 403
    sent = await gateway.request("api/v1/sessions/s/text", b"x", content_type="text/plain", sec_fetch_site="cross-site")
    assert sent.status == 403


async def test_requests_to_the_api_from_pages_of_other_sites_are_rejected(gateway: Gateway) -> None:
    assert (await gateway.request("api/v1/sessions", sec_fetch_site="cross-site")).status == 403
    assert (await gateway.request("api/v1/sessions", origin="http://evil.example")).status == 403
    assert (await gateway.request("api/v1/sessions", sec_fetch_site="same-origin")).status == 200
    assert (await gateway.request("", sec_fetch_site="cross-site")).status == 200, "the page may be linked"


async def test_media_at_positions_that_do_not_exist_are_not_found_and_hold_up_nobody(gateway: Gateway) -> None:
    query = f"sha256={'0' * 64}&t_us=1&session=s"
    positions = [
        "999/0",
        "2147483647/1",
        "2147483648/1",
        "9" * 5_000 + "/0",
        "0/" + "9" * 18,
        "0/" + "9" * 5_000,
        "a/b",
    ]
    paths = [f"api/v1/media/video/{position}?{query}" for position in positions for _ in range(8)]
    responses = await asyncio.gather(*(gateway.request(path) for path in paths))
    assert {response.status for response in responses} == {404}


async def test_half_sent_requests_do_not_keep_others_out(gateway: Gateway) -> None:
    half = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(200)]
    try:
        for client in half:
            with suppress(ConnectionError):
                client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-a: ")
        assert (await gateway.request("api/v1/devices")).status == 200
        for client in half:
            client.settimeout(DEADLINE_S)
            with suppress(ConnectionError):
                assert client.recv(1) == b"", "it was closed"
    finally:
        for client in half:
            client.close()


ANY = st.binary(max_size=40)
NUMBERS = st.sampled_from([b"0", b"1", b"-1", b"9" * 25, b"9" * 5_000, b"1e9", b"\xc2\xb2", b"0x1"])
PART = st.one_of(
    ANY.map(lambda raw: quote_from_bytes(raw, safe="/?&=%").encode()), NUMBERS, st.just(b"s/1/2@abcdef012345")
)
MODALITY = st.sampled_from([b"text", b"audio", b"video", b"sensor"]) | PART
TARGETS = st.one_of(
    st.just(b"/"),
    PART.map(lambda part: b"/" + part),
    st.tuples(st.sampled_from([b"sessions", b"predictions", b"events", b"media", b"devices"]), PART).map(b"/".join),
    st.tuples(st.just(b"sessions"), PART, MODALITY).map(b"/".join),
    st.tuples(st.just(b"predictions"), PART, st.just(b"label")).map(b"/".join),
    st.tuples(st.just(b"media"), MODALITY, PART, PART).map(b"/".join),
).map(lambda path: path if path.startswith(b"/") else b"/api/v1/" + path)
NAMES = [b"seconds", b"kind", b"session", b"after", b"sha256", b"t_us", b"token"]
QUERIES = st.lists(st.tuples(st.sampled_from(NAMES) | ANY, PART | st.just(b"0" * 64)).map(b"=".join), max_size=4).map(
    b"&".join
)
HEADER_NAMES = st.sampled_from(
    b"ce-id ce-source ce-time ce-type ce-duration content-type cookie authorization origin traceparent last-event-id range "
    b"if-none-match if-modified-since accept-encoding host content-length transfer-encoding upgrade x-any".split()
)
CONTENT_TYPES = [
    b"text/plain",
    b"application/json",
    b"image/jpeg",
    b"audio/wav",
    b"audio/L16;rate=1;channels=0",
    b"video",
]
VALUES = st.one_of(
    st.sampled_from(CONTENT_TYPES),
    NUMBERS,
    st.sampled_from(
        [b"1.\xc2\xb2", b"9999-12-31T23:59:59Z", b"2026-01-01T00:00:00+99:99", b"bytes=9-1", b"bytes=0-0,1-1"]
    ),
    st.binary(max_size=60).map(lambda raw: raw.translate(None, b"\r\n\0")),
)
BODIES = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([b'{"label":"dog"}', b'{"label":1}', b'{"text":"\\ud83d"}', b"[" * 3_000, b"9" * 5_000, b"1e999"]),
    st.sampled_from(
        [b"RIFF\xff\xff\xff\xffWAVEfmt ", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"OggS", b"RIFF\0\0\0\0WEBP"]
    ),
)


async def test_no_request_leads_to_an_internal_error(gateway: Gateway) -> None:
    """Send whatever path, query, headers and body; the gateway may refuse it, and must not fail."""
    statuses: Counter[bytes] = Counter()

    @settings(max_examples=400, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @example(b"GET", b"/api/v1/sessions", b"", [], b"")
    @example(b"POST", b"/api/v1/sessions/any/text", b"", [(b"content-type", b"text/plain")], b"\xc3\x28")
    @given(
        st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"PROPFIND"]),
        TARGETS,
        QUERIES,
        st.lists(st.tuples(HEADER_NAMES, VALUES), max_size=5),
        BODIES,
    )
    def send(method: bytes, path: bytes, query: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        named = {name for name, _ in headers}
        if b"host" not in named:
            headers = [(b"Host", b"127.0.0.1"), *headers]
        is_whole = named.isdisjoint({b"content-length", b"transfer-encoding"})
        if is_whole:
            headers = [*headers, (b"content-length", b"%d" % len(body))]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        target = quote_from_bytes(path + (b"?" + query if query else b""), safe="/?&=%:@,;+~*'()!$-._").encode()
        with socket.create_connection(("127.0.0.1", gateway.port), DEADLINE_S) as client:
            client.sendall(b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, target, lines, body))
            if not is_whole:
                # The gateway may wait for more of the body, which ends with the connection.
                client.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                status = client.recv(16).partition(b" ")[2][:3]
                statuses[status] += 1
                assert status != b"500"

    await asyncio.to_thread(send)
    assert statuses[b"200"] > 0 < statuses[b"422"] + statuses[b"415"], statuses
    assert statuses.total() - statuses[b""] > 200, statuses
    assert (await gateway.request("api/v1/devices")).status == 200
    assert "Traceback" not in gateway.process.child.log.read_text()


async def test_the_page_has_security_headers(gateway: Gateway) -> None:
    page = await gateway.request("")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert b"http" not in page.body.replace(b"http://www.w3.org", b""), "the page names no other host"


async def test_a_token_is_required_where_other_machines_can_connect(stack: LocalStack) -> None:
    gateway = await Gateway(stack, 2, BRAID_GATEWAY__HOST="0.0.0.0").start()
    try:
        printed = gateway.process.child.log.read_text()
        token = printed.partition("?token=")[2].split()[0]
        assert len(token) > 20
        assert (await gateway.request("api/v1/sessions")).status == 401
        assert (await gateway.request("api/v1/sessions", authorization="Bearer wrong")).status == 401
        assert (await gateway.request("api/v1/sessions", authorization=f"Bearer {token}")).status == 200
        opened: Response = await gateway.request(f"?token={token}")
        assert (opened.status, opened.headers["location"]) == (303, "./")
        cookie = opened.headers["set-cookie"]
        assert "httponly" in cookie.lower()
        assert "samesite=strict" in cookie.lower()
        assert (await gateway.request("", cookie=cookie.partition(";")[0])).status == 200
    finally:
        await gateway.process.child.stop()
