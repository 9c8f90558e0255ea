"""Identification by the token of a run, in the path of the calls of that run."""

from __future__ import annotations

from ava.api.http.context import context, this_request
from ava.domain.access.caller import Caller

_BLUEPRINT = "runs"
_ARGUMENT = "run"


def by_run() -> Caller | None:
    """Returns the caller that a run's token stands for; None if the path of the request has none.

    Raises `RunNotFound`.
    """
    asked = this_request()
    token = (asked.view_args or {}).get(_ARGUMENT)
    return context().runs.caller_of(token) if token is not None and asked.blueprint == _BLUEPRINT else None
