"""Promotions of a standby of PostgreSQL: what clients get back."""

from __future__ import annotations

from marshmallow import Schema

from ava.api.http.fields import Flag, Instant, WholeNumber
from ava.api.http.records import compile_schema


class PromotionRecord(Schema):
    """A standby of PostgreSQL that became the primary."""

    timeline = WholeNumber(minimum=1, maximum=2**31, metadata={"description": "The server's timeline since then."})
    seen_at = Instant(metadata={"description": "When the active dispatcher saw it."})
    running = WholeNumber(
        minimum=0, maximum=2**53, metadata={"description": "The runs that were under way; each was asked for again."}
    )
    lossy = Flag(
        attribute="is_lossy",
        metadata={"description": "True if commits are known to be lost. False: no loss was seen."},
    )


write_promotion = compile_schema(PromotionRecord())
