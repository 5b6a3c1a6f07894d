"""Access to the gateway by host name, origin and token."""

from __future__ import annotations

import pytest

from services.gateway.auth import AccessPolicy, RequestHeaders, host_name
from services.runtime.net import access_token, page_url
from services.runtime.settings import GatewaySettings

OPEN, CLOSED = AccessPolicy("", ()), AccessPolicy("secret", ("braid.lan",))


def status(policy: AccessPolicy, method: str = "GET", host: str = "127.0.0.1:8640", **headers: str) -> int:
    denial = policy.denial_of(RequestHeaders(method, host, **headers))
    return 200 if denial is None else denial.status


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8640", "[::1]:8640", "LOCALHOST", "localhost."])
def test_names_of_loopback_are_accepted(host: str) -> None:
    assert status(OPEN, host=host) == 200


@pytest.mark.parametrize("host", ["", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.5"])
def test_a_foreign_name_is_denied_against_dns_rebinding(host: str) -> None:
    assert status(OPEN, host=host) == 421


def test_with_a_token_any_ip_address_is_accepted_but_only_configured_names() -> None:
    for host, code in {"10.0.0.5:8640": 200, "braid.lan": 200, "other.lan": 421}.items():
        assert status(CLOSED, host=host, authorization="Bearer secret") == code


def test_a_token_is_accepted_as_bearer_as_cookie_and_in_the_query() -> None:
    assert status(CLOSED) == 401
    assert status(CLOSED, authorization="Bearer secret") == 200
    assert status(CLOSED, cookie="a=b; braid_token=secret") == 200
    assert status(CLOSED, token="secret") == 200
    assert status(CLOSED, authorization="Basic secret") == 401
    assert status(CLOSED, authorization="Bearer secre", cookie="braid_token=", token="Secret") == 401
    assert not OPEN.is_token("")


def test_a_page_of_another_site_may_not_post() -> None:
    assert status(OPEN, "POST") == 200
    assert status(OPEN, "POST", origin="http://127.0.0.1:8640", fetch_site="same-origin") == 200
    assert status(OPEN, "POST", origin="http://127.0.0.1:9999") == 403
    assert status(OPEN, "POST", origin="null") == 403
    assert status(OPEN, "POST", fetch_site="cross-site") == 403
    assert status(OPEN, "POST", fetch_site="same-site") == 403


@pytest.mark.parametrize("path", ["/api/v1/sessions", "/asyncapi.yaml"])
def test_a_page_of_another_site_may_not_read_data_but_may_link_to_the_page(path: str) -> None:
    for foreign in ({"fetch_site": "cross-site"}, {"fetch_site": "same-site"}, {"origin": "http://evil.example"}):
        assert status(OPEN, path=path, **foreign) == 403
        assert status(CLOSED, path=path, authorization="Bearer secret", **foreign) == 403
        assert status(OPEN, path="/", **foreign) == 200
    assert status(OPEN, path=path, fetch_site="same-origin") == 200
    assert status(OPEN, path=path, fetch_site="none") == 200, "a person opened the address"
    assert status(OPEN, path=path) == 200, "a program"


def test_the_host_name_a_host_header_has_no_port_and_no_brackets() -> None:
    assert [host_name(h) for h in ("A:1", "[::1]:2", "b.c", "")] == ["a", "::1", "b.c", ""]


def test_a_token_is_generated_if_other_machines_can_reach_the_page() -> None:
    assert access_token(GatewaySettings()) == ""
    assert len(access_token(GatewaySettings(host="0.0.0.0"))) > 20
    assert access_token(GatewaySettings(host="192.168.1.5")) != access_token(GatewaySettings(host="192.168.1.5"))
    assert page_url("0.0.0.0", 1, "t") == "http://127.0.0.1:1/?token=t"
    assert page_url("::1", 1, "") == "http://[::1]:1/"
    assert page_url("braid.lan", 1, "") == "http://braid.lan:1/"
