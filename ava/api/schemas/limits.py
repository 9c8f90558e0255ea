"""Limits: schemas of responses."""

from __future__ import annotations

from marshmallow import Schema

from ava.api.http.fields import Flag, String, WholeNumber
from ava.api.http.records import RecordSchema, compile_schema
from ava.domain.limits.rates import Rate
from ava.store.reports.worker_limits import WorkerLimitUse

_MAX_COUNT = 2**53


class LimitRecord(Schema):
    """A limit of this installation, and the tenant's use of it."""

    name = String(metadata={"description": "The name in errors, such as `bulk_jobs`."})
    value = WholeNumber(
        minimum=0, maximum=_MAX_COUNT, allow_none=True, metadata={"description": "Null: there is no limit."}
    )
    unit = String(metadata={"description": "The counted unit, such as `bytes`."})
    used = WholeNumber(
        minimum=0,
        maximum=_MAX_COUNT,
        allow_none=True,
        metadata={"description": "The tenant's usage; null: not counted."},
    )
    used_is_exact = Flag(allow_none=True, metadata={"description": "False: `used` is a lower bound."})
    setting = String(
        allow_none=True, metadata={"description": "The environment variable that sets the limit; null: it is fixed."}
    )
    status = WholeNumber(
        minimum=400,
        maximum=599,
        allow_none=True,
        metadata={
            "description": "The HTTP status when a request exceeds the limit; null: the response ends early instead."
        },
    )
    meaning = String()


write_limit = compile_schema(LimitRecord())


class WorkerLimitRecord(RecordSchema, of=WorkerLimitUse):
    """A worker with a limit, and the tenant's use of it."""

    names = "worker_id max_running max_running_per rate rate_per running waiting waiting_is_exact"
    rate = String(allow_none=True, metadata={"description": "Max starts per period, such as `100/minute`."})


def _write_rate(rate: Rate | None) -> str:
    return "null" if rate is None else f'"{rate}"'


write_worker_limit = compile_schema(WorkerLimitRecord(), rate=_write_rate)
