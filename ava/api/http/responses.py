"""Answers: JSON text, made once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from flask import Response

from ava.domain.job import Job

__all__ = ["Page", "as_json", "data", "data_list", "job_log"]

_JSON = "application/json"


@dataclass(frozen=True, kw_only=True)
class Page:
    """Where a list stands."""

    #: The page's number from 1; None where a cursor was followed.
    page: int | None
    per_page: int
    total: int
    has_more: bool
    next_cursor: str | None


def as_json(text: str, status: int = 200) -> Response:
    """An answer of finished JSON text."""
    return Response(text, status, mimetype=_JSON)


def data(text: str, status: int = 200) -> Response:
    """`{"data": …}`, around the JSON text of a record."""
    return as_json(f'{{"data":{text}}}\n', status)


def data_list(texts: Iterable[str], page: Page) -> Response:
    """`{"data": [ … ], "pagination": … }`, around the JSON texts of records."""
    return as_json(f'{{"data":[{",".join(texts)}],"pagination":{pagination(page)}}}\n')


def job_log(job: Job, lines: Iterable[str], *, next_cursor: str | None, has_more: bool) -> Response:
    """A job's log, around the JSON texts of its lines."""
    log = f'{{"job_id":"{job.id}","job_status":"{job.status}","logs":[{",".join(lines)}]}}'
    place = json.dumps({"has_more": has_more, "next_cursor": next_cursor}, separators=(",", ":"))
    return as_json(f'{{"data":{log},"pagination":{place}}}\n')


def pagination(page: Page) -> str:
    """The JSON text that tells where a list stands."""
    return json.dumps(
        {
            "page": page.page,
            "per_page": page.per_page,
            "total": page.total,
            "has_more": page.has_more,
            "next_cursor": page.next_cursor,
        },
        separators=(",", ":"),
    )
