"""Limits: what clients get back."""

from __future__ import annotations

from marshmallow import Schema

from ava.api.http.fields import Flag, Text, WholeNumber
from ava.api.http.records import compile_schema

__all__ = ["LimitRecord", "write_limit"]

_MOST = 2**53


class LimitRecord(Schema):
    """A limit of this installation, with what the tenant uses of it."""

    name = Text(metadata={"description": "The name that errors use, such as `bulk_jobs`."})
    value = WholeNumber(least=0, most=_MOST, allow_none=True, metadata={"description": "Null: there is no limit."})
    unit = Text(metadata={"description": "What is counted, such as `bytes`."})
    used = WholeNumber(
        least=0, most=_MOST, allow_none=True, metadata={"description": "What the tenant uses; null: not counted."}
    )
    used_is_exact = Flag(allow_none=True, metadata={"description": "False: `used` is a lower bound."})
    setting = Text(allow_none=True, metadata={"description": "The variable that sets it; null: it is fixed."})
    status = WholeNumber(
        least=400,
        most=599,
        allow_none=True,
        metadata={"description": "The status of a request beyond it; null: the response ends early instead."},
    )
    meaning = Text()


write_limit = compile_schema(LimitRecord())
