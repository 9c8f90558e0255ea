"""The pause of a row: its columns `paused_at`, `paused_by` and `pause_reason`, null while it is not paused."""

from __future__ import annotations

import json
from datetime import datetime

from ava.domain.access.actor import Actor
from ava.domain.pause import Pause

#: Columns that a pause and a resume set. A statement that pauses has the condition `paused_at IS NULL`, so that a
#: second call changes nothing. The parameters are those of `parameters`.
PAUSE_SET = "paused_at = clock_timestamp(), paused_by = %(paused_by)s::jsonb, pause_reason = %(pause_reason)s"
RESUME_SET = "paused_at = NULL, paused_by = NULL, pause_reason = NULL"
#: The value of `paused_at` of a new row, which is paused if the parameter `paused_by` is an actor.
PAUSED_AT = "CASE WHEN %(paused_by)s::jsonb IS NOT NULL THEN clock_timestamp() END"


def parameters(by: Actor, reason: str | None) -> dict[str, str | None]:
    """Return the parameters of a statement that pauses."""
    return {"paused_by": by.json, "pause_reason": reason}


def column(alias: str) -> str:
    """Return the column that `read` reads, as SQL; null if the row of this alias is not paused."""
    return f"""CASE WHEN {alias}.paused_at IS NOT NULL THEN json_build_object(
        'by', {alias}.paused_by, 'at', {alias}.paused_at, 'reason', {alias}.pause_reason)::text END"""


def read(json_string: str | None) -> Pause | None:
    """Return the pause of a row's `column`."""
    if json_string is None:
        return None
    stored = json.loads(json_string)
    return Pause(by=Actor.of(stored["by"]), at=datetime.fromisoformat(stored["at"]), reason=stored["reason"])
