"""Malformed and hostile requests, generated randomly from a seed: for `chaos.fuzz`.

A request depends only on the seed and on the responses so far (for ids).
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from ava.domain import ids
from chaos.odd_values import (
    HEADER_VALUES,
    INSTANTS,
    JSON,
    MEDIA,
    METHODS,
    OTHER_HEADERS,
    PATHS,
    STRANGER,
    STRINGS,
    VALUES,
    WORKERS,
)
from harness.system import HEADERS


@dataclass(kw_only=True)
class Known:
    """The ids that one sender has seen in responses."""

    jobs: list[str] = field(default_factory=list)
    #: Ids of lines in a stream.
    events: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request and the expected response."""

    kind: str
    method: str
    path: str
    raw: bytes
    #: Correct statuses of 500 and above.
    allowed: tuple[int, ...] = ()
    #: The expected inputs of its jobs, if it is well-formed.
    inputs: list[Any] | None = None
    #: Whether it is the last on its connection, which is then closed for writing.
    is_last: bool = False
    #: Whether the response is a stream; only its beginning is read.
    is_stream: bool = False


def make(rng: random.Random, known: Known) -> Request:
    """Make the next request."""
    kind = rng.choices(list(_KINDS), weights=[weight for _, weight in _KINDS.values()])[0]
    return _KINDS[kind][0](kind, rng, known)


# Parts ---------------------------------------------------------------------------------------------------------------


def make_request(kind: str, method: str, path: str, *, body: bytes | None = None, **rest: Any) -> Request:
    headers: list[tuple[str, str | bytes]] = rest.pop("headers", None) or list(HEADERS.items())
    framing: list[str] = rest.pop("framing", None) or ([] if body is None else [f"Content-Length: {len(body)}"])
    lines = [f"{method} {path} HTTP/1.1".encode("utf-8", "surrogatepass"), b"Host: 127.0.0.1"]
    lines += [line.encode() for line in framing]
    for name, value in headers:
        lines.append(name.encode() + b": " + (value if isinstance(value, bytes) else _bytes(value)))
    raw = b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")
    return Request(kind=kind, method=method, path=path, raw=raw, **rest)


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")


def _header(value: str | bytes) -> bytes:
    """Return a value without line ends, which would begin another header."""
    return value if isinstance(value, bytes) else _bytes(value).replace(b"\r\n", b" ")


def _with(*more: tuple[str, str | bytes], without: str = "") -> list[tuple[str, str | bytes]]:
    headers: list[tuple[str, str | bytes]] = [(name, value) for name, value in HEADERS.items() if name != without]
    return [*headers, *more]


def in_json(*more: tuple[str, str | bytes]) -> list[tuple[str, str | bytes]]:
    return _with(("Content-Type", JSON), *more)


def _job_id(rng: random.Random, known: Known) -> str:
    if known.jobs and rng.random() < 0.7:
        return known.jobs[-1 - rng.randrange(min(len(known.jobs), 200))]
    foreign = ids.encode("job", f"{rng.getrandbits(128):032x}")
    return rng.choice(
        [foreign, foreign.upper(), foreign[:-1], foreign + "0", "job_", "job_8" + "z" * 25, "%00", "é", "."]
    )


def _value(rng: random.Random) -> Any:
    if rng.random() < 0.1:
        return {str(_value(rng))[:50]: _value(rng) for _ in range(3)}
    return rng.choice(VALUES)


def _fields(rng: random.Random) -> dict[str, Any]:
    """Return the fields of a body, most of them valid."""
    fields: dict[str, Any] = {"worker_id": "wkr_t_echo" if rng.random() < 0.7 else rng.choice(WORKERS)}
    if rng.random() < 0.7:
        fields["input"] = {"n": rng.random(), "v": _value(rng)} if rng.random() < 0.8 else _value(rng)
    if rng.random() < 0.3:
        fields["priority"] = rng.choice([1, 5, 10, *VALUES[:18]])
    if rng.random() < 0.2:
        fields["trigger"] = rng.choice(["manual", "event", "webhook", "scheduled", "cron", 1, None])
    if rng.random() < 0.2:
        fields["scheduled_at"] = rng.choice([*INSTANTS, None, 5])
    if rng.random() < 0.05:
        fields[rng.choice(["id", "status", "tenant_id", "", "\x00"])] = _value(rng)
    return fields


def _dump(value: Any) -> bytes:
    return json.dumps(value).encode()


# Kinds ---------------------------------------------------------------------------------------------------------------


def _trigger(kind: str, rng: random.Random, _known: Known) -> Request:
    fields = _fields(rng)
    more: list[tuple[str, str | bytes]] = []
    if rng.random() < 0.3:
        more = [("Idempotency-Key", _key(rng))]
    inputs = None if more else [fields.get("input", {})]
    return make_request(kind, "POST", "/v1/ava/jobs", body=_dump(fields), headers=in_json(*more), inputs=inputs)


def _key(rng: random.Random) -> str | bytes:
    few = f"key-{rng.randrange(40)}"
    return rng.choice(
        [few, few, few, "k" * 255, "k" * 256, "", " ", "é", b"\xff\xfe", "a\tb", "'", "\x7f", "k" * 4_000]
    )


def _broken_body(kind: str, rng: random.Random, known: Known) -> Request:
    whole = _dump({"worker_id": "wkr_t_echo", "input": {"text": "some text that is long enough to be cut"}})
    cut, index = rng.randrange(len(whole)), rng.randrange(len(whole))
    body = rng.choice([
        whole[:cut],
        whole[:index] + bytes([rng.randrange(256)]) + whole[index + 1 :],
        whole[:index] + b"\xff\xfe\x00" + whole[index:],
        b"\xef\xbb\xbf" + whole,
        whole.decode().encode("utf-16"),
        whole + whole,
        b"[" * rng.choice([10, 501, 100_000]),
        b'{"worker_id":"wkr_t_echo","worker_id":"wkr_t_echo"}',
        b'{"worker_id":"wkr_t_echo","input":{"a":NaN}}',
        b'{"worker_id":"wkr_t_echo","input":{"a":1e999}}',
        b'{"worker_id":"wkr_t_echo","input":{"a":' + b"9" * rng.choice([20, 5_000]) + b"}}",
        b'{"worker_id":"wkr_t_echo","input":{"a":"\\ud800\\u0000"}}',
        b'"' + b"\\" * 1_001,
        b"null",
        rng.randbytes(rng.randrange(200)),
    ])  # fmt: skip
    path = rng.choice(["", "", "/bulk", "/cancel", f"/{quote(_job_id(rng, known))}/cancel"])
    return make_request(kind, "POST", f"/v1/ava/jobs{path}", body=body, headers=in_json())


def _media(kind: str, rng: random.Random, _known: Known) -> Request:
    headers = _with(("Content-Type", rng.choice(MEDIA)))
    if rng.random() < 0.3:
        headers.append(("Content-Encoding", rng.choice(["gzip", "identity", "\xff", "br, gzip"])))
    return make_request(kind, "POST", "/v1/ava/jobs", body=_dump({"worker_id": "wkr_t_nothing"}), headers=headers)


def _headers(kind: str, rng: random.Random, known: Known) -> Request:
    """Send a header of the caller, or another one, with a wrong value, twice, many times or not at all."""
    name = rng.choice([*HEADERS, *HEADERS, *HEADERS, *OTHER_HEADERS])
    right = HEADERS.get(name, "")
    value = rng.choice([*STRINGS, *HEADER_VALUES, right.upper(), right + "x" * 61])
    count = rng.choice([0, 1, 1, 1, 2, 110])
    headers = _with(*[(name, _header(value))] * count, without=name if rng.random() < 0.8 else "")
    paths = ("/v1/ava/jobs", f"/v1/ava/jobs/{_quoted(rng, known)}", "/openapi.json", "/livez")
    body = rng.choice([None, None, b"{}"])
    path = "/v1/ava/jobs" if body else rng.choice(paths)
    return make_request(kind, "POST" if body else "GET", path, body=body, headers=headers, is_last=True)


def _quoted(rng: random.Random, known: Known) -> str:
    job_id = _job_id(rng, known)
    return job_id if job_id.startswith("%") else quote(job_id)


def _escaped(rng: random.Random, string: str) -> str:
    raw = _bytes(string)[:3_000]
    if rng.random() < 0.05:
        raw += bytes([rng.randrange(128, 256)])
    return quote(raw, safe="")


def _of_job(kind: str, rng: random.Random, known: Known) -> Request:
    """Read, follow or change a job, sometimes as another tenant."""
    base, is_stranger = f"/v1/ava/jobs/{_quoted(rng, known)}", rng.random() < 0.2
    headers = _with(("x-tenant-id", STRANGER), without="x-tenant-id") if is_stranger else _with()
    act = rng.choices(("read", "change", "stream"), (4, 4, 2))[0]
    if act == "change":
        body = rng.choice([None, None, b"", b"{}", b'{"a":1}', b"[]", b"\xff"])
        path = f"{base}/{rng.choice(['cancel', 'cancel', 'retry', 'stream', 'why', 'nothing', ''])}"
        return make_request(kind, "POST", path, body=body, headers=[*headers, ("Content-Type", JSON)])
    if act == "stream":
        event = rng.choice([*known.events[-50:], *STRINGS[:-1], "x" * 300, b"\xff"])
        headers = [*headers, ("Last-Event-ID", _header(event))]
        return make_request(kind, "GET", f"{base}/stream", headers=headers, is_stream=True)
    queries = [
        *("", "?wait=0", "?wait=61", "?wait=1e1", "?wait=", "?x=1", "?limit=0", "?limit=501", "?limit=500"),
        f"?after={_escaped(rng, rng.choice(STRINGS))}",
        f"?filter%5Blevel%5D={_escaped(rng, rng.choice(['info', 'INFO', *STRINGS]))}",
    ]
    path = f"{base}{rng.choice(['', '/logs', '/logs', '/why'])}{rng.choice(queries)}"
    return make_request(kind, "GET", path, headers=headers)


def _path(kind: str, rng: random.Random, known: Known) -> Request:
    job_id = _quoted(rng, known)
    base = f"/v1/ava/jobs/{job_id}"
    path = rng.choice([*PATHS, base, f"{base}/", f"{base}/logs/1", f"/v1/webhooks/{job_id}"])
    return make_request(kind, rng.choice(METHODS), path, is_last=True)


def _framing(kind: str, rng: random.Random, _known: Known) -> Request:
    body = _dump({"worker_id": "wkr_t_nothing"})[:-1]
    chunks = ["Transfer-Encoding: chunked"]
    framing, sent = rng.choice([
        (chunks, b"zz\r\n{}\r\n0\r\n\r\n"),
        (chunks, b"5\r\n{}"),
        (chunks, b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"),
        (chunks, b"ffffffffffffffffff\r\n" + body),
        (["Content-Length: 5000"], body),
        (["Content-Length: -1"], body),
        (["Content-Length: 1", "Content-Length: 2"], body),
        (["Content-Length: 5", *chunks], body),
        (["Transfer-Encoding: nope"], body),
        (["Transfer-Encoding: gzip, chunked"], body),
        (["Content-Length : 5"], body),
        (["Broken header"], body),
        (["X-A: \x00"], body),
    ])  # fmt: skip
    # RFC 9112, section 6.1: 501 is the response to an unknown transfer coding.
    return make_request(
        kind, "POST", "/v1/ava/jobs", framing=framing, body=sent, headers=in_json(), is_last=True, allowed=(501,)
    )


_KINDS: dict[str, tuple[Callable[[str, random.Random, Known], Request], float]] = {
    "trigger": (_trigger, 20),
    "broken body": (_broken_body, 12),
    "media type": (_media, 4),
    "headers": (_headers, 18),
    "of a job": (_of_job, 27),
    "path": (_path, 8),
    "framing": (_framing, 4),
}
