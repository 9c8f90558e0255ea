"""What `ava jobs trigger` makes of its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from ava.cli.options.inputs import JSON_OBJECT, take_keys

_NONE = dict.fromkeys(
    ("dedupe", "dedupe_mode", "debounce", "debounce_seconds", "debounce_max_seconds", "debounce_keep")
)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({}, {}),
        ({"dedupe": "k"}, {"dedupe": {"key": "k"}}),
        ({"dedupe": "k", "dedupe_mode": "replace"}, {"dedupe": {"key": "k", "mode": "replace"}}),
        (
            {"debounce": "k", "debounce_seconds": 5, "debounce_max_seconds": 60, "debounce_keep": "first"},
            {"debounce": {"key": "k", "seconds": 5, "max_seconds": 60, "keep": "first"}},
        ),
    ],
)
def test_the_options_of_keys_are_what_the_client_takes(given: dict[str, Any], taken: dict[str, Any]) -> None:
    options = {**_NONE, "tags": (), **given}
    assert take_keys(options) == taken
    assert options == {"tags": ()}


@pytest.mark.parametrize("given", [{"debounce": "k"}, {"debounce_seconds": 5}, {"dedupe_mode": "refuse"}])
def test_an_option_of_a_key_without_the_key_is_an_error(given: dict[str, Any]) -> None:
    with pytest.raises(click.UsageError):
        take_keys({**_NONE, **given})


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
