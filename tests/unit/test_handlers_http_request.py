"""The http_request handler, against a server on this machine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ava.errors import AddressRefused, HeaderRefused, OutboundFailed, OutboundTimeout, UrlRefused
from ava.node.outcome import encode_output
from harness.servers.peer import Serve, answering, ok
from tests.unit.handlers import Run
from workers.http_request import http_request

pytestmark = pytest.mark.usefixtures("private_allowed")


def test_it_returns_status_headers_and_text(serve: Serve) -> None:
    run = Run()
    peer = serve(answering(ok("grüß dich".encode(), "Content-Type: text/plain; charset=utf-8")))
    output = http_request({"url": f"{peer.url}/services/hunter2?key=hunter2"}, run.env)
    assert list(output) == ["status", "headers", "text", "elapsed_ms", "truncated"]
    assert (output["status"], output["text"], output["truncated"]) == (200, "grüß dich", False)
    assert output["headers"]["content-type"] == "text/plain; charset=utf-8"
    assert run.lines[0] == f"Calling GET {peer.url}"
    assert run.lines[1].startswith("Answered 200 with 11 bytes after ")


def test_no_log_line_holds_the_path_or_the_query(serve: Serve) -> None:
    run = Run()
    http_request({"url": f"{serve(answering(ok(b''))).url}/hunter2?key=hunter2"}, run.env)
    assert "hunter2" not in "".join(run.lines)


@pytest.mark.parametrize(
    ("body", "sent", "content_type"),
    [
        ("grüß", "grüß".encode(), b"text/plain; charset=utf-8"),
        ({"a": [1, None]}, b'{"a": [1, null]}', b"application/json"),
        ([], b"[]", b"application/json"),
        (0, b"0", b"application/json"),
        (False, b"false", b"application/json"),
        ("", b"", b"text/plain; charset=utf-8"),
    ],
)
def test_a_body_is_sent_as_text_or_as_json(serve: Serve, body: Any, sent: bytes, content_type: bytes) -> None:
    seen: list[bytes] = []
    peer = serve(answering(ok(b""), seen=seen))
    http_request({"url": peer.url, "method": "put", "body": body}, Run().env)
    head, _, received = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"PUT / HTTP/1.1\r\n")
    assert b"\r\nContent-Type: " + content_type in head
    assert received == sent


def test_the_callers_headers_are_sent_and_win(serve: Serve) -> None:
    seen: list[bytes] = []
    peer = serve(answering(ok(b""), seen=seen))
    headers = {"content-type": "application/x-thing", "X-Count": 3}
    http_request({"url": peer.url, "method": "POST", "body": {}, "headers": headers}, Run().env)
    assert seen[0].lower().count(b"content-type:") == 1
    assert b"Content-Type: application/x-thing" in seen[0]
    assert b"X-Count: 3" in seen[0]


@pytest.mark.parametrize("method", ["DELETE", "HEAD", "X-OWN"])
def test_any_method_is_sent(serve: Serve, method: str) -> None:
    seen: list[bytes] = []
    http_request({"url": serve(answering(ok(b""), seen=seen)).url, "method": method}, Run().env)
    assert seen[0].startswith(method.encode() + b" ")


@pytest.mark.parametrize("status", [204, 302, 404, 503])
def test_every_status_is_a_result(serve: Serve, status: int) -> None:
    peer = serve(answering(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()))
    assert http_request({"url": peer.url}, Run().env)["status"] == status


@pytest.mark.parametrize(
    ("body", "declared", "decoded"),
    [
        (b"\xe9t\xe9", "text/plain; charset=ISO-8859-1", "été"),
        (b"\xe9t\xe9", "text/plain", "\ufffdt\ufffd"),
        ("日本".encode("shift_jis"), 'text/plain; charset="Shift_JIS"', "日本"),
        (b"a-b", "text/plain; charset=punycode", "a-b"),
        (b"\\u0041", "text/plain; charset=unicode_escape", "\\u0041"),
        (b"abc", "text/plain; charset=../../etc/passwd", "abc"),
        (b"\x00\x01", "application/octet-stream", "\x00\x01"),
    ],
)
def test_the_text_is_decoded_as_declared_if_that_is_a_character_set(
    serve: Serve, body: bytes, declared: str, decoded: str
) -> None:
    assert (
        http_request({"url": serve(answering(ok(body, f"Content-Type: {declared}"))).url}, Run().env)["text"] == decoded
    )


def test_a_long_answer_is_cut_at_the_limit_and_says_so(serve: Serve) -> None:
    output = http_request({"url": serve(answering(ok(b"x" * 1000))).url, "max_bytes": 10}, Run().env)
    assert (output["text"], output["truncated"]) == ("x" * 10, True)


@pytest.mark.parametrize("character", ["x", "\x01", "é", "😀", '"'])
def test_the_output_always_fits_a_job(serve: Serve, character: str) -> None:
    body = (character * 900_000).encode()
    headers = [f"X-{n}: " + "\\" * 5_000 for n in range(50)]
    peer = serve(answering(ok(body, *headers)))
    output = http_request({"url": peer.url, "max_bytes": 900_000}, Run().env)
    assert len(encode_output(output)) < 1_048_576
    assert len(json.dumps(output["text"])) > 700_000


def test_a_slow_server_fails_the_job_in_time(serve: Serve) -> None:
    peer = serve(lambda sock: bool(sock.recv(1000) and sock.recv(1)) and None)
    with pytest.raises(OutboundTimeout, match=r"within 0\.2 s"):
        http_request({"url": peer.url, "timeout_seconds": 0.2}, Run().env)


def test_an_unreachable_server_fails_the_job_with_a_clear_error(serve: Serve) -> None:
    peer = serve(answering(b""))
    with pytest.raises(OutboundFailed):
        http_request({"url": peer.url}, Run().env)


@pytest.mark.usefixtures("private_refused")
def test_private_addresses_are_refused_unless_allowed(serve: Serve) -> None:
    peer = serve(answering(ok(b"secret")))
    with pytest.raises(AddressRefused, match="AVA_WEBHOOK_ALLOW_PRIVATE=1"):
        http_request({"url": peer.url}, Run().env)
    assert peer.connections == 0


@pytest.mark.parametrize(
    ("given", "kind", "sentence"),
    [
        ({}, ValueError, "input.url is missing; it must be a string such as https://example.com/"),
        ({"url": 5}, ValueError, "input.url must be a string, not a number"),
        ({"url": "http://a\x00b/"}, ValueError, "input.url contains a NUL"),
        ({"url": "http://a\ud800b/"}, ValueError, "half a character"),
        ({"url": "http://" + "x" * 10**6}, ValueError, "input.url has 1000007 characters; the maximum is 8000"),
        ({"url": "ftp://example.com"}, UrlRefused, "must begin with http:// or https://"),
        ({"url": "http://u:p@example.com"}, UrlRefused, "send credentials in a header"),
        ({"url": "http://x.example", "method": 5}, ValueError, "input.method must be a string"),
        ({"url": "http://x.example", "method": "GE T"}, HeaderRefused, "an HTTP method such as GET or POST"),
        ({"url": "http://x.example", "headers": [1]}, ValueError, "input.headers must be an object"),
        (
            {"url": "http://x.example", "headers": {"A": None}},
            ValueError,
            "the value of 'A' must be a string or a number",
        ),
        ({"url": "http://x.example", "headers": {"Host": "y"}}, HeaderRefused, "set by the client"),
        ({"url": "http://x.example", "body": float("nan")}, ValueError, "input.body cannot be sent as JSON"),
        ({"url": "http://x.example", "body": "\ud800"}, ValueError, "input.body contains half a character"),
        ({"url": "http://x.example", "timeout_seconds": float("nan")}, ValueError, "not NaN or infinity"),
        ({"url": "http://x.example", "max_bytes": 10**9}, ValueError, "a whole number from 1 to 900000"),
        (
            {"url": "http://x.example", "header": {}},
            ValueError,
            "input.header is unknown; this worker takes url, method",
        ),
    ],
)
def test_a_wrong_input_fails_with_a_sentence_that_helps(
    given: dict[str, Any], kind: type[Exception], sentence: str
) -> None:
    with pytest.raises(kind) as error:
        http_request(given, Run().env)
    assert sentence in str(error.value)
