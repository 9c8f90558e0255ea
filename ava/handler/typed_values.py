"""Convert typed values to JSON and back: the inputs of tasks, and the outputs of handlers.

A typed value is an instance of a dataclass, a Struct of msgspec, or a model or dataclass of pydantic. The libraries are
imported when a value needs one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

from ava.handler.annotations import is_anything, is_pydantic, return_annotation


def is_typed(value: object) -> bool:
    """Return True for an instance of a dataclass, a Struct, or a model of pydantic."""
    kind = type(value)
    return dataclasses.is_dataclass(kind) or hasattr(kind, "__struct_fields__") or is_pydantic(kind)


def to_json(value: Any, other: Callable[[Any], Any] | None = None) -> Any:
    """Return a value as JSON, including typed values and times inside it. Raise `TypeError`.

    `other` converts values of further types.
    """
    import msgspec

    def convert(part: Any) -> Any:
        if is_pydantic(type(part)):
            return _dump(part)
        if other is None:
            raise TypeError(f"Object of type {type(part).__name__} is not JSON serializable")
        return other(part)

    return _dump(value) if is_pydantic(type(value)) else msgspec.to_builtins(value, enc_hook=convert, str_keys=True)


def to_payload(input: Any, other: Callable[[Any], Any] | None = None) -> dict[str, Any]:
    """Return an input as the JSON object that a job gets. Raise `TypeError`; `other` is as in `to_json`."""
    payload = None
    if isinstance(input, Mapping) or is_typed(input):
        payload = to_json(dict(input) if isinstance(input, Mapping) else input, other)
    if not isinstance(payload, dict):
        raise TypeError(
            f"the input must be a mapping or an instance of the handler's input type, not {type(input).__name__}"
        )
    return payload


def output_decoder(function: Callable[..., Any]) -> Callable[[Any], Any]:
    """Return the function that converts a handler's output from JSON to the annotated type.

    Raise `TypeError` or `ValueError` if the annotation cannot be resolved or decoded. The function raises `ValueError`
    for an output that does not match.
    """
    annotation = return_annotation(function)
    if is_anything(annotation):
        return lambda output: output
    if is_pydantic(annotation):
        return lambda output: _load(annotation, output)
    import msgspec

    # Raises `TypeError` for a type that it cannot decode.
    msgspec.json.Decoder(annotation, dec_hook=_load)

    def decode(output: Any) -> Any:
        try:
            return msgspec.convert(output, annotation, dec_hook=_load, str_keys=True)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from None

    return decode


def _dump(value: Any) -> Any:
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value, by_alias=True)


def _load(kind: Any, value: Any) -> Any:
    """Convert a value to a type of pydantic, or of another library."""
    if not is_pydantic(kind):
        return value
    from pydantic import TypeAdapter

    return TypeAdapter(kind).validate_json(json.dumps(value))
