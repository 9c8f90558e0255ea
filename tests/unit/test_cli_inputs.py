"""What `ava jobs trigger` makes of its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from ava.cli.api.factory import given_fields
from ava.cli.options.inputs import JSON_OBJECT

_NONE = dict.fromkeys(
    ("dedupe__key", "dedupe__mode", "debounce__key", "debounce__seconds", "debounce__max_seconds", "debounce__keep")
)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({}, {}),
        ({"dedupe__key": "k"}, {"dedupe": {"key": "k"}}),
        ({"dedupe__key": "k", "dedupe__mode": "replace"}, {"dedupe": {"key": "k", "mode": "replace"}}),
        (
            {"debounce__key": "k", "debounce__seconds": 5, "debounce__max_seconds": 60, "debounce__keep": "first"},
            {"debounce": {"key": "k", "seconds": 5, "max_seconds": 60, "keep": "first"}},
        ),
    ],
)
def test_the_options_of_keys_are_what_the_client_takes(given: dict[str, Any], taken: dict[str, Any]) -> None:
    assert given_fields("jobs.trigger", {**_NONE, "tags": (), **given}) == taken


@pytest.mark.parametrize("given", [{"debounce__key": "k"}, {"debounce__seconds": 5}, {"dedupe__mode": "refuse"}])
def test_an_option_of_a_key_without_the_key_is_an_error(given: dict[str, Any]) -> None:
    with pytest.raises(click.UsageError):
        given_fields("jobs.trigger", {**_NONE, **given})


def test_a_json_value_is_read_from_its_text_or_a_file_and_never_by_shell_completion(tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    file.write_text('{"a": 1}')
    assert JSON_OBJECT.convert('{"a": 1}', None, None) == JSON_OBJECT.convert(f"@{file}", None, None) == {"a": 1}
    completing = click.Context(click.Command("trigger"), resilient_parsing=True)
    for argument in ("-", "@/none", "{"):
        assert JSON_OBJECT.convert(argument, None, completing) == argument
    for argument, reason in (("[]", "must be a JSON object"), ("{", "is not JSON"), ("@/none", "cannot be read")):
        with pytest.raises(click.BadParameter, match=reason):
            JSON_OBJECT.convert(argument, None, None)
