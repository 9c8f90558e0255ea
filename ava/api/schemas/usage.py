"""What the runs of a job have used: what clients get back."""

from __future__ import annotations

import json

from marshmallow import Schema

from ava.api.http.fields import WholeNumber


class UsageRecord(Schema):
    """What the runs of a job have used."""

    cpu_ms = WholeNumber(
        minimum=0,
        maximum=2**53,
        allow_none=True,
        metadata={"description": "The sum of their processor time; null if it is not known, as of a pulled run."},
    )
    peak_memory_mb = WholeNumber(
        minimum=0,
        maximum=2**31,
        allow_none=True,
        metadata={"description": "The most MiB of memory that a node saw; null if the runs ended before a look."},
    )
    wait_ms = WholeNumber(
        minimum=0, maximum=2**53, metadata={"description": "The sum of the times from when each could start."}
    )


def write_usage(usage: dict[str, int | None] | None) -> str:
    """Returns the usage of a job as JSON text."""
    return json.dumps(usage, separators=(",", ":"))
