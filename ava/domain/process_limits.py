"""The limits of what one API process serves at once, a part of the table in `ava.domain.limits`."""

from __future__ import annotations

from ava.domain.limit import Limit

__all__ = [
    "ANSWERS_IN_FLIGHT_BYTES",
    "LARGE_REQUESTS",
    "STREAM_BUFFER_BYTES",
    "TENANT_CONNECTIONS",
    "TENANT_STREAMS",
    "TENANT_WAITS",
    "WATCHERS",
]

_KIB, _MIB = 2**10, 2**20

TENANT_CONNECTIONS = Limit(
    name="tenant_connections",
    unit="percent",
    meaning="Connections to the database that the requests of one tenant use at once in each API process, of its "
    "`AVA_API_CONNECTIONS`; a request waits up to 8 s for its turn.",
    status=429,
    fixed=75,
)
LARGE_REQUESTS = Limit(
    name="large_requests",
    unit="large request",
    meaning="Requests of one tenant with bodies of more than 64 KiB whose body is checked, parsed or stored at once, "
    "in each API process; a request waits up to 10 s for its turn.",
    status=429,
    fixed=1,
)
ANSWERS_IN_FLIGHT_BYTES = Limit(
    name="answers_in_flight_bytes",
    unit="bytes",
    meaning="Bytes of a tenant's answers of more than 64 KiB that are being sent at once, in each API process.",
    status=429,
    fixed=32 * _MIB,
)
TENANT_STREAMS = Limit(
    name="tenant_streams",
    unit="streams",
    meaning="Streams of one tenant at once, in each API process.",
    status=429,
    field="tenant_max_streams",
)
TENANT_WAITS = Limit(
    name="tenant_waits",
    unit="waits",
    meaning="Requests with `wait` of one tenant at once, in each API process.",
    status=429,
    field="tenant_max_waits",
)
WATCHERS = Limit(
    name="watchers",
    unit="watchers",
    meaning="Streams and waits of all tenants at once, in each API process.",
    status=429,
    fixed=3_000,
)
STREAM_BUFFER_BYTES = Limit(
    name="stream_buffer_bytes",
    unit="bytes",
    meaning="Bytes of updates that a stream holds for a client that reads slowly; one that does not read for 30 s is "
    "closed.",
    status=None,
    fixed=64 * _KIB,
)
