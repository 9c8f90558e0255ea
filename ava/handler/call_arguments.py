"""Validate the arguments of a handler's calls: names, workers, inputs, seconds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ava.domain.jobs import priority as priorities
from ava.domain.jobs.waits import MAX_INPUT_BYTES
from ava.domain.strings import storable
from ava.handler.children import ChildJob, json_of
from ava.handler.typed_values import is_typed, to_json, to_payload

#: Max characters of a name in the journal.
MAX_NAME = 200
#: 366 days.
MAX_WAIT_SECONDS = 31_622_400.0


def read_children(children: Sequence[object]) -> list[ChildJob]:
    """Return children. Raise TypeError for anything else."""
    if others := [each for each in children if not isinstance(each, ChildJob)]:
        raise TypeError(f"a wait takes the children that env.trigger returned, not {type(others[0]).__name__}")
    return [each for each in children if isinstance(each, ChildJob)]


def check_name(name: object) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise ValueError(f"a name in the journal must be a string of 1 to {MAX_NAME} characters")
    if "\x00" in name or any("\ud800" <= char <= "\udfff" for char in name):
        raise ValueError("a name in the journal must not contain a NUL or half a character (a lone surrogate)")


def check_earlier_names(was: Sequence[str]) -> None:
    if isinstance(was, str):
        raise TypeError(f"was= takes a list of earlier names, such as [{was!r:.80}], not a string")


#: The name of a sleep without `key`.
SLEEP_NAME = "sleep"


def name_of_wait(children: Sequence[str], *, is_any: bool) -> str:
    """Return the name of a wait for children with these names, if the handler gives none."""
    return ("any of " if is_any else "") + joined_names(children)


def joined_names(names: Sequence[str]) -> str:
    """Join names, or return their hash if they are too long."""
    text = ", ".join(names)
    return text if 0 < len(text) <= MAX_NAME // 2 else "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def read_worker_id(worker: object) -> str:
    """Return the id of a worker that a handler names by its id, its slug or its task."""
    worker_id = getattr(worker, "worker_id", worker)
    if not isinstance(worker_id, str):
        raise TypeError(f"worker_id must be a string, not {type(worker_id).__name__}")
    if storable(worker_id, len(worker_id)) != worker_id:
        raise ValueError("a worker_id must not contain a NUL or half a character (a lone surrogate)")
    return worker_id if worker_id.startswith("wkr_") else f"wkr_{worker_id}"


def check_priority(priority: int | None) -> int | None:
    is_whole = isinstance(priority, int) and not isinstance(priority, bool)
    if priority is not None and not (is_whole and priorities.FIRST <= priority <= priorities.LAST):
        raise ValueError(f"priority must be a whole number from {priorities.FIRST} to {priorities.LAST}")
    return priority


def encode_input(input: Any) -> str:
    payload = dict(input) if isinstance(input, Mapping) else to_payload({} if input is None else input)
    json_string = json.dumps(payload, allow_nan=False, separators=(",", ":"), default=_part_as_json)
    if len(json_string) > MAX_INPUT_BYTES:
        raise ValueError(f"An input has at most {MAX_INPUT_BYTES:,} bytes of JSON (limit input_bytes)")
    return json_string


def _part_as_json(value: Any) -> Any:
    return to_json(value) if is_typed(value) else json_of(value)


def check_seconds(name: str, seconds: object, *, minimum: float = 0.0) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not minimum <= seconds <= MAX_WAIT_SECONDS:
        raise ValueError(f"{name} must be a number of seconds from {minimum:g} to {MAX_WAIT_SECONDS:,.0f}")
    return float(seconds)
