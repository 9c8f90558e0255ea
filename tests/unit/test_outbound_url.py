"""A URL is parsed strictly, so that no other parser can take it for another destination."""

import pytest

from ava.domain.outbound.outbound_rules import ANY
from ava.domain.outbound.outbound_url import MAX_URL_CHARS, parse
from ava.errors import AddressRefused, OutboundError, UrlRefused


def test_a_plain_url_is_parsed() -> None:
    target = parse("https://Hooks.Example.com/a/b?c=d#e")
    assert (target.scheme, target.host, target.port, target.path) == ("https", "hooks.example.com", 443, "/a/b?c=d")
    assert target.authority == "hooks.example.com"


@pytest.mark.parametrize(
    ("url", "authority", "path"),
    [
        ("http://example.com", "example.com", "/"),
        ("HTTP://EXAMPLE.com?q", "example.com", "/?q"),
        ("http://example.com.:80/", "example.com", "/"),
        ("https://example.com:8443/x", "example.com:8443", "/x"),
        ("http://8.8.8.8:8080/", "8.8.8.8:8080", "/"),
        ("http://[2606:4700:0::1111]/", "[2606:4700::1111]", "/"),
        ("https://[2606:4700::1111]:444/", "[2606:4700::1111]:444", "/"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", "/"),
        ("https://my_bucket.example.com/", "my_bucket.example.com", "/"),
        ("https://example.com/größe?ü=%20+", "example.com", "/gr%C3%B6%C3%9Fe?%C3%BC=%20+"),
        ('https://example.com/<a>"{b}', "example.com", "/%3Ca%3E%22%7Bb%7D"),
        ("https://example.com/@home/a:b//c", "example.com", "/@home/a:b//c"),
    ],
)
def test_the_request_is_made_from_the_parsed_url(url: str, authority: str, path: str) -> None:
    target = parse(url)
    assert (target.authority, target.path) == (authority, path)


@pytest.mark.parametrize("url", ["http://localhost:3000/", "http://redis:6379/", "http://10.0.0.1/", "http://[::1]/"])
def test_a_private_host_is_refused_when_it_is_given_unless_allowed(url: str) -> None:
    with pytest.raises(AddressRefused, match="AVA_WEBHOOK_ALLOW_PRIVATE=1"):
        parse(url)
    assert parse(url, rules=ANY).port


@pytest.mark.parametrize(
    "url", ["http://127.1/", "http://u:p@127.0.0.1/", "ftp://127.0.0.1/", "http://[fe80::1%25lo]/"]
)
def test_allowing_private_addresses_lifts_no_other_check(url: str) -> None:
    with pytest.raises(UrlRefused):
        parse(url, rules=ANY)


@pytest.mark.parametrize("url", [None, 7, True, b"http://example.com", ["http://example.com"], ""])
def test_a_value_that_is_no_string_is_refused(url: object) -> None:
    with pytest.raises(UrlRefused, match="must be a string"):
        parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://bob:hunter2@example.com/",
        "https://10.0.0.1/services/hunter2",
        "https://127.1/?token=hunter2",
        "hunter2://example.com/",
        "https://example.com/hunter2 x",
        "https://example.com:hunter2/",
        "https://hun ter2/",
        "https://example.com/hunter2" + "x" * MAX_URL_CHARS,
    ],
)
def test_no_refusal_repeats_a_secret(url: str) -> None:
    with pytest.raises(OutboundError) as refusal:
        parse(url)
    assert "hunter2" not in str(refusal.value)


def test_a_huge_hostile_url_is_refused_quickly() -> None:
    for url in ("http://" + "[" * 10_000_000, "http://" + "a." * 3_990, "http://" + "1" * 7_000, ":" * 8_000):
        with pytest.raises(UrlRefused):
            parse(url)
