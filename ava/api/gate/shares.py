"""The shares of one API process that tenants have."""

from __future__ import annotations

from dataclasses import dataclass

from ava.api.gate.tenant_shares import TenantShares
from ava.domain.limits import table as limits
from ava.settings import Settings

#: The holder of what all tenants have in use together.
ALL_TENANTS = ""
#: Seconds for which a large request waits until its tenant's others are over.
_TURN_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Shares:
    """What each tenant has in use in this process."""

    #: Bytes of large bodies whose requests are being served.
    large_bodies: TenantShares
    #: Requests whose large body is checked, parsed or stored: one at a time.
    large_requests: TenantShares
    #: Bodies whose clients have not sent them yet.
    held_bodies: TenantShares
    #: Bytes of large answers that are being sent.
    answers: TenantShares
    streams: TenantShares
    waits: TenantShares
    #: Claims that wait for a run.
    claims: TenantShares
    #: Streams and waits of all tenants; `ALL_TENANTS` stands for these.
    watchers: TenantShares


def make_shares(settings: Settings) -> Shares:
    """Returns the shares of a process."""
    return Shares(
        large_bodies=TenantShares(
            limits.LARGE_BODY_BYTES, limits.LARGE_BODY_BYTES.of(settings), wait_seconds=_TURN_SECONDS
        ),
        large_requests=TenantShares(
            limits.LARGE_REQUESTS, limits.LARGE_REQUESTS.of(settings), wait_seconds=_TURN_SECONDS
        ),
        held_bodies=TenantShares(limits.TENANT_HELD_BODIES, limits.TENANT_HELD_BODIES.of(settings)),
        answers=TenantShares(limits.ANSWERS_IN_FLIGHT_BYTES, limits.ANSWERS_IN_FLIGHT_BYTES.of(settings)),
        streams=TenantShares(limits.TENANT_STREAMS, limits.TENANT_STREAMS.of(settings)),
        claims=TenantShares(limits.WAITING_CLAIMS, limits.WAITING_CLAIMS.of(settings)),
        waits=TenantShares(limits.TENANT_WAITS, limits.TENANT_WAITS.of(settings)),
        watchers=TenantShares(limits.WATCHERS, limits.WATCHERS.of(settings)),
    )
