"""Malformed and hostile values: for `chaos.hostile`."""

from __future__ import annotations

from typing import Any

WORKERS = ("wkr_t_echo", "wkr_t_nothing", "wkr_none", "wkr_", "WKR_T_ECHO", "wkr_t_echo\x00", "wkr_" + "a" * 80)
#: A tenant that owns none of the created records.
STRANGER = "ten_stranger"

STRINGS = (
    *(
        "",
        " ",
        "\x00",
        "a\x00b",
        "\ud800",
        "\udfff\ud800",
        "\u202e",
        "😀",
        "é" * 300,
        "'; DROP TABLE jobs; --",
        "%s%(id)s",
    ),
    *("../../etc/passwd", "null", "0", "-1", "1e9", "٣", "\r\nX-Evil: 1", "{}", "[", "job_", "\ufeff", "x" * 5_000),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 5, 10, 11, 2**31, 2**63, 2**64, 10**400, 0.5, 2.5, -0.0, 1e308, 5e-324),
    *([], {}, [[]], {"a": {}}, ["x"] * 50, {"": ""}, {"\x00": "\x00"}, {"$ref": "#"}, *STRINGS),
)
INSTANTS = (
    *("2020-01-01T00:00:00Z", "2020-01-01", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+14:00", "now", "1e3"),
    *("2999-01-01T00:00:00-12:00", "2024-02-30T00:00:00Z", "2024-01-01T24:00:00Z", "0000-00-00T00:00:00Z", "", "\x00"),
)
METHODS = ("PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "OPTIONS", "HEAD", "get", "PROPFIND", "POST", "GET")
JSON = "application/json"
MEDIA = (
    JSON,
    "text/json",
    "",
    "application/json; charset=utf-16",
    "application/json;;;=",
    "multipart/form-data",
    "\xff",
)


PATHS = (
    *(
        "/",
        "//",
        "/v1",
        "/v1/ava/jobs/",
        "/v1//ava/jobs",
        "/v1/ava/jobs/../workers",
        "/v1/ava/jobs%2f",
        "/%00",
        "/\xff",
    ),
    *("/static/x/../../etc/passwd", "/static/x/%2e%2e/x", "*", "http://127.0.0.1/v1/ava/jobs", "/v1/ava/jobs"),
    *("/v1/ava/workers/wkr_%00", "/v1/webhooks/%ff", "/metrics", "/readyz", "/v1/ava/nodes", "/" + "a" * 9_000),
)
OTHER_HEADERS = (
    *("x-request-id", "If-None-Match", "Accept-Encoding", "Accept", "Origin", "Range", "Cookie", "Expect", "Via"),
    *("X-Forwarded-For", "Content-Length", "Upgrade", "Connection", "Authorization", "If-Modified-Since"),
)
HEADER_VALUES: tuple[str | bytes, ...] = (
    *(b"\xff\xfe", b"\xff\xc3(", "ten_ü", "*", "gzip;q=nan", "a, b, c;q=1e400", 'W/"x"', "-1", "1_0", "x" * 9_000),
)
