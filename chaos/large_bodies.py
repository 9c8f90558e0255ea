"""Bodies of 1 to 16 MiB for `chaos.fuzz`; most are designed to be expensive for a parser or validator."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from chaos.hostile import Known, Request, in_json, make_request

_MIB = 2**20
REPEATED = (
    *(b"0,", b"[],", b"{},", b'"",', b"1e7,", b"-0.5,", b"null,", b'{"a":1},', b"[[]],", b'"\\u00e9",', b'"[{,:\\"",'),
    *(b"12345678901234567,", b'{"worker_id":"wkr_t_nothing"},', b'{"worker_id":5,"x":[]},'),
)


def make_large(rng: random.Random, _known: Known) -> Request:
    """Make a request with a body between 1 and 16 MiB."""
    size = rng.randrange(_MIB, 16 * _MIB)
    kind, fill = rng.choices(list(FILLS.items()), weights=[60 if each == "list" else 5 for each in FILLS])[0]
    body = fill(rng, size)
    if rng.random() < 0.2:
        body = body[: -rng.randrange(1, 9)] + rng.choice([b"", b"\xff", b"}", b"]", b"\x00", b'"'])
    path = "/v1/ava/jobs/bulk" if rng.random() < 0.9 else "/v1/ava/jobs"
    return make_request(f"large {kind}", "POST", path, body=body[: 17 * _MIB], headers=in_json())


def _list(rng: random.Random, size: int) -> bytes:
    repeated = rng.choice(REPEATED)
    return b'{"jobs":[' + repeated * (size // len(repeated)) + b"0]}"


def _fields(rng: random.Random, size: int) -> bytes:
    return b"{" + b",".join(b'"%x":%d' % (number, rng.randrange(9)) for number in range(size // 10)) + b',"jobs":[]}'


def _random_string(rng: random.Random, size: int) -> bytes:
    piece = rng.choice([b"x", b"\\u00e9", b"[{,:", "é€".encode(), b"\\\\", b'\\"'])
    return b'{"jobs":[{"worker_id":"wkr_t_nothing","input":{"x":"' + piece * (size // len(piece)) + b'"}}]}'


def _deep(rng: random.Random, size: int) -> bytes:
    opening = rng.choice([b"[", b'{"a":', b'{"a":['])
    return b'{"jobs":' + opening * (size // len(opening))


def _space(_rng: random.Random, size: int) -> bytes:
    return b'{"jobs":' + b" " * size + b"[]}"


def _digits(_rng: random.Random, size: int) -> bytes:
    return b'{"jobs":[' + b"9" * size + b"]}"


def _bulk(rng: random.Random, size: int) -> bytes:
    """Return jobs that are accepted; few, because each is stored."""
    count = rng.randrange(size // _MIB + 1, 40)
    entry = {"worker_id": "wkr_t_nothing", "input": {"x": "y" * (size // count)}}
    return json.dumps({"jobs": [entry] * count}).encode()


FILLS: dict[str, Callable[[random.Random, int], bytes]] = {
    "list": _list,
    "fields": _fields,
    "text": _random_string,
    "nesting": _deep,
    "space": _space,
    "digits": _digits,
    "bulk": _bulk,
}
