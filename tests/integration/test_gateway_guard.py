"""Requests that the gateway rejects."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from tests.integration.gateway import Gateway, Response


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
