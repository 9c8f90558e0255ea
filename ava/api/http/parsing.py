"""Load query, body and Idempotency-Key through their schemas; errors name every invalid field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from flask import request
from marshmallow import Schema, ValidationError

from ava.api.http import body, offload
from ava.api.http.fields import REQUIRED
from ava.domain.client_json import size_of
from ava.domain.limits import table as limits
from ava.domain.limits.limit import Limit
from ava.errors import InvalidFields, InvalidParameters

#: The header and its value for a trigger that asks for more durability than PostgreSQL's default.
DURABILITY, REPLICATED = "Durability", "replicated"

#: Characters of an unknown field's name that an error repeats.
_LONGEST_NAME = 100
#: The pattern of an idempotency key, and the error for other values.
KEY = re.compile(r"[\x20-\x7e]{1,255}")
WRONG_KEY = "It must be 1 to 255 printable ASCII characters."


def load_query(schema: Schema) -> Any:
    """Return the loaded query. Raises `InvalidParameters` if a parameter is unknown, repeated or malformed."""
    if not request.query_string and not schema.fields:
        return {}
    given = request.args.to_dict(flat=False)
    repeated = {
        name: ["It is given more than once; send it once."] for name, values in given.items() if len(values) > 1
    }
    if repeated:
        raise _refused(InvalidParameters, repeated)
    try:
        return schema.load({name: values[0] for name, values in given.items()})
    except ValidationError as error:
        raise _refused(InvalidParameters, dict(_leaves("", error.messages))) from None


def load_body(schema: Schema, *, max_bytes: Limit, may_be_empty: bool) -> Any:
    """Return the loaded body. A large body is parsed and checked outside the event loop, one at a time per tenant.

    The tenant's next large body waits until this request ends.

    Raises `InvalidParameters` if a field is missing, `InvalidFields` if one is wrong, and the errors of
    `body.pieces_of_json`, `body.parse`, `body.decode` and `body.outside_loop`.
    """
    if may_be_empty and body.is_empty():
        return _load(schema, {})
    pieces = body.pieces_of_json(max_bytes)
    if size_of(pieces) <= offload.LARGE_BYTES:
        return _load(schema, body.parse(*pieces))
    return body.outside_loop(lambda: _load(schema, body.decode(pieces)), is_last=True)


def _load(schema: Schema, given: dict[str, Any]) -> Any:
    try:
        return schema.load(given)
    except ValidationError as error:
        # marshmallow's frames hold the error, so its traceback would keep the body in memory until garbage collection.
        error.__traceback__ = None
        wrong = dict(_leaves("", error.messages))
        is_missing = any(REQUIRED in messages for messages in wrong.values())
        raise _refused(InvalidParameters if is_missing else InvalidFields, wrong) from None


def load_key() -> str | None:
    """Return the request's Idempotency-Key, or None. Raises `InvalidParameters` if it is malformed."""
    key = request.headers.get("idempotency-key")
    if key is not None and not KEY.fullmatch(key):
        raise _refused(InvalidParameters, {"idempotency-key": [WRONG_KEY]})
    return key


def load_durability(*, is_taken: bool) -> bool:
    """Return True if the request has `Durability: replicated`.

    Raises `InvalidParameters` for another value, and if the operation does not support it, so that no caller gets less
    durability than requested.
    """
    wanted = request.headers.get(DURABILITY)
    if wanted is None:
        return False
    if not is_taken:
        raise _refused(InvalidParameters, {DURABILITY.lower(): ["This call does not support it; only triggers do."]})
    if wanted.strip().lower() != REPLICATED:
        raise _refused(
            InvalidParameters, {DURABILITY.lower(): [f"It must be `{REPLICATED}`; omit the header otherwise."]}
        )
    return True


def _leaves(path: str, messages: Any) -> Iterator[tuple[str, list[str]]]:
    """Yield the messages with their paths, such as `jobs[3].priority`."""
    if not isinstance(messages, Mapping):
        yield path, list(messages)
        return
    for name, inner in messages.items():
        yield from _leaves(_path(path, name), inner)


def _path(path: str, name: object) -> str:
    name = name[:_LONGEST_NAME] if isinstance(name, str) else name
    if name == "_schema":
        return path or "body"
    if isinstance(name, int):
        return f"{path}[{name}]"
    return f"{path}.{name}" if path else str(name)


def _refused(error: type[InvalidParameters], wrong: Mapping[str, list[str]]) -> InvalidParameters:
    named = dict(list(wrong.items())[: limits.NAMED_ERRORS.value])
    name, messages = next(iter(named.items()))
    others = f" ({len(wrong) - 1} more in fields)" if len(wrong) > 1 else ""
    return error(f"{name}: {messages[0]}{others}", named)
