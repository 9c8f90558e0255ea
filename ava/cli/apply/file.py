"""Read the file of `ava apply`, and report the path of an invalid value."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ava.domain.strings import did_you_mean
from ava.errors import CallFailed

_MAX_BYTES = 4 * 1024 * 1024
#: YAML tags whose values JSON also has.
_PLAIN_TAGS = ("null", "bool", "int", "float", "str", "seq", "map")
#: Patterns of numbers, without YAML 1.1's base 60 (`12:30:00`) and octal (`010`), and the characters that begin them.
_NUMBERS = {
    "int": (r"[-+]?(?:0|[1-9][0-9_]*|0b[01_]+|0x[0-9a-fA-F_]+)", "-+0123456789"),
    "float": (
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
        r"|\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        "-+0123456789.",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Section:
    """A kind of entry."""

    fields: frozenset[str]
    required: tuple[str, ...] = ()


_RULE = ("worker_id", "match", "input", "priority", "paused", "event_type")
SECTIONS = {
    "limits": Section(fields=frozenset({"max_running", "weight", "most_urgent_priority", "retention_days"})),
    "workers": Section(
        fields=frozenset(
            {"status", "config", "secrets", "timeout_seconds", "max_retries", "retry", "max_running", "rate", "scope"}
            | {"approval"}
        )
    ),
    "schedules": Section(
        fields=frozenset(
            {
                "worker_id",
                "cron",
                "timezone",
                "every_seconds",
                "input",
                "priority",
                "enabled",
                "paused",
                "overlap",
                "catch_up",
            }
            | {"catch_up_seconds", "spread_seconds", "starts_at", "ends_at", "expires_in_seconds", "approval"}
        ),
        required=("worker_id",),
    ),
    "subscriptions": Section(fields=frozenset(_RULE), required=("event_type", "worker_id")),
    "hooks": Section(
        fields=frozenset({*_RULE, "provider", "secret", "verifier", "dedupe", "tolerance_seconds"}),
        required=("provider",),
    ),
    "webhooks": Section(fields=frozenset({"events", "secret", "paused"}), required=("events", "secret")),
}

#: The entries of each section in the file, by name.
Wanted = Mapping[str, Mapping[str, Mapping[str, Any]]]


def read(path: Path) -> Wanted:
    """Return the file's entries. Raises `CallFailed` with the path of an invalid value."""
    whole = _parse(path)
    _check_names(f"{path.name}", whole, SECTIONS)
    wanted: dict[str, dict[str, Any]] = {}
    for name, section in SECTIONS.items():
        if name in whole:
            entries = {} if whole[name] is None else whole[name]
            if not isinstance(entries, dict):
                raise CallFailed(f"{path.name}: {name} must be a mapping from names to entries.")
            if wrong := [key for key in entries if not isinstance(key, str)]:
                raise CallFailed(f"{path.name}: {name}: the name {wrong[0]!r} must be a string; quote it.")
            wanted[name] = {key: _entry(f"{name}.{key}", entry, section) for key, entry in entries.items()}
    return wanted


def _entry(path: str, entry: Any, section: Section) -> dict[str, Any]:
    _check_names(path, entry, section.fields)
    if missing := [name for name in section.required if entry.get(name) is None]:
        raise CallFailed(f"{path}: {missing[0]} is missing.")
    _check_values(path, entry)
    if not isinstance(entry.get("paused", False), bool):
        raise CallFailed(f"{path}.paused: it must be true or false.")
    _check_secrets(path, entry)
    found: dict[str, Any] = entry
    return found


def _check_names(path: str, found: Any, known: Mapping[str, Any] | frozenset[str]) -> None:
    if not isinstance(found, dict):
        raise CallFailed(f"{path}: it must be a mapping.")
    for name in found:
        if not isinstance(name, str) or name not in known:
            raise CallFailed(f"{path}: {name!r} is unknown.{did_you_mean(str(name), known)}")


def _check_values(path: str, value: Any) -> None:
    """Raise `CallFailed` for values that JSON cannot represent."""
    if isinstance(value, dict):
        for name, part in value.items():
            if not isinstance(name, str):
                raise CallFailed(f"{path}: the name {name!r} must be a string; quote it.")
            _check_values(f"{path}.{name}", part)
    elif isinstance(value, list):
        for number, part in enumerate(value):
            _check_values(f"{path}.{number}", part)
    elif isinstance(value, float) and not math.isfinite(value):
        raise CallFailed(f"{path}: {value} is not a number that JSON can represent.")


def _check_secrets(path: str, entry: Mapping[str, Any]) -> None:
    given = {"secret": entry["secret"]} if "secret" in entry else {}
    secrets = entry.get("secrets", {})
    if not isinstance(secrets, dict):
        raise CallFailed(f"{path}.secrets: it must be a mapping from names to {{env: NAME}}.")
    for name, value in {**given, **{f"secrets.{name}": value for name, value in secrets.items()}}.items():
        if not (isinstance(value, dict) and value.keys() == {"env"} and isinstance(value["env"], str)):
            raise CallFailed(
                f"{path}.{name}: the file must not contain secrets; name an environment variable: {{env: NAME}}."
            )


def _parse(path: Path) -> Any:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CallFailed(f"{path}: the file has more than {_MAX_BYTES:,} bytes.")
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CallFailed(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}.") from error
    if path.suffix == ".json":
        try:
            return json.loads(content, object_pairs_hook=_named_once)
        except (ValueError, RecursionError) as error:
            raise CallFailed(f"{path}: it is not valid JSON: {error}.") from error
    try:
        import yaml
    except ImportError as error:
        raise CallFailed("YAML files need a package: pip install 'ava-jobs[apply]'. JSON files need none.") from error
    try:
        found = yaml.load(content, Loader=_loader())  # noqa: S506 - a safe loader, without aliases and dates
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise CallFailed(f"{path}: it is not valid YAML: {' '.join(str(error).split())}.") from error
    return {} if found is None else found


def _named_once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} appears twice")
        found[name] = value
    return found


def _loader() -> Any:
    """Return a loader of JSON's values: dates stay strings, names are unique, and aliases are refused."""
    import yaml

    tags = {name: f"tag:yaml.org,2002:{name}" for name in (*_PLAIN_TAGS, "timestamp")}
    replaced = (tags["timestamp"], *(tags[name] for name in _NUMBERS))

    class PlainLoader(yaml.SafeLoader):
        yaml_implicit_resolvers = {  # noqa: RUF012 - as its base has it
            first: [pair for pair in pairs if pair[0] not in replaced]
            for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }
        # The constructor of `None` refuses all other tags.
        yaml_constructors = {  # noqa: RUF012 - as its base has it
            tag: construct
            for tag, construct in yaml.SafeLoader.yaml_constructors.items()
            if tag is None or tag in {tags[name] for name in _PLAIN_TAGS}
        }

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases are not supported; write the part out")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            names = [self.construct_object(key, deep=True) for key, _ in node.value]
            for name in names:
                if names.count(name) > 1:
                    raise yaml.YAMLError(f"{name!r} appears twice, line {node.start_mark.line + 1}")
            return super().construct_mapping(node, deep)

    for name, (pattern, first) in _NUMBERS.items():
        PlainLoader.add_implicit_resolver(tags[name], re.compile(f"(?:{pattern})$"), list(first))
    return PlainLoader
