"""The annotations of a handler: its first parameter describes the input, and its return value the output."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

#: Names that a module may import only for its type checker.
_TYPING = {**vars(typing), **{name: getattr(collections.abc, name) for name in collections.abc.__all__}}
#: Annotations without information: the handler gets the payload.
_ANYTHING = (inspect.Parameter.empty, Any, object)


def first_annotation(function: Callable[..., Any]) -> tuple[str, Any]:
    """Return the first parameter's name and annotation, `inspect.Parameter.empty` without one.

    Ignore the other annotations: `Env` may be imported only for a type checker. Raise ValueError if the first cannot be
    resolved.
    """
    try:
        first = next(iter(inspect.signature(function).parameters.values()), None)
    except (TypeError, ValueError):
        first = None
    if first is None or first.kind in (first.VAR_POSITIONAL, first.VAR_KEYWORD):
        return "", inspect.Parameter.empty
    if first.annotation is first.empty:
        return first.name, first.annotation
    return first.name, _resolved(function, first.name, first.annotation, ", or name the type in input_schema")


def return_annotation(function: Callable[..., Any]) -> Any:
    """Return the annotation of the return value, `inspect.Parameter.empty` without one.

    Raise ValueError if it cannot be resolved.
    """
    annotation = inspect.signature(function).return_annotation
    return annotation if annotation is inspect.Parameter.empty else _resolved(function, "return", annotation)


def _resolved(function: Callable[..., Any], name: str, annotation: Any, or_else: str = "") -> Any:
    names = {**_TYPING, **getattr(inspect.unwrap(function), "__globals__", {})}
    holder = types.SimpleNamespace(__annotations__={name: annotation})
    try:
        return typing.get_type_hints(holder, globalns=names, include_extras=True)[name]
    except Exception as error:
        raise ValueError(
            f"the annotation {annotation!r} of {name} cannot be resolved: {error}; import it outside "
            f"TYPE_CHECKING and define it at the top of its module{or_else}"
        ) from None


def plain_type(annotation: Any) -> Any:
    """Resolve aliases and NewTypes, and `Order | None` to `Order`.

    Inputs are always objects, so None cannot occur.
    """
    while True:
        if isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif hasattr(annotation, "__value__") and hasattr(annotation, "__type_params__"):
            annotation = annotation.__value__
        elif len(others := [each for each in choices_of(annotation) if each is not types.NoneType]) == 1:
            if others[0] is annotation:
                return annotation
            annotation = others[0]
        else:
            return annotation


def choices_of(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, even if it is `Annotated`; otherwise the annotation itself."""
    inner = annotation
    while typing.get_origin(inner) is typing.Annotated:
        inner = typing.get_args(inner)[0]
    is_union = typing.get_origin(inner) in (typing.Union, types.UnionType)
    return typing.get_args(inner) if is_union else (annotation,)


def bare_types(described: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the type itself, without their `Annotated` metadata."""
    bare = [
        typing.get_args(each)[0] if typing.get_origin(each) is typing.Annotated else each
        for each in choices_of(described)
    ]
    return tuple(typing.get_origin(each) or each for each in bare)


def is_pydantic(described: Any) -> bool:
    """Return True for a model or dataclass of pydantic, and for a union with one."""
    return any(isinstance(each, type) and hasattr(each, "__pydantic_core_schema__") for each in bare_types(described))


def is_anything(annotation: Any) -> bool:
    """Return True if an annotation allows any value."""
    return annotation in _ANYTHING or isinstance(annotation, typing.TypeVar)


def is_plain(annotation: Any) -> bool:
    """Return True if an annotation describes no input: it allows any value, or any mapping."""
    if is_anything(annotation):
        return True
    origin = typing.get_origin(annotation) or annotation
    if origin is typing.Annotated:
        return is_plain(typing.get_args(annotation)[0])
    return isinstance(origin, type) and issubclass(origin, Mapping) and not typing.is_typeddict(origin)
