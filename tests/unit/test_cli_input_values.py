"""Values of an input on the command line, and what the shell offers for them."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.shell_completion import CompletionItem, get_completion_class

from ava.cli.host import completion
from ava.cli.options.inputs import schema_paths, with_values

SCHEMA: dict[str, Any] = {
    "properties": {
        "channel": {"enum": ["ops", "a b", 7], "description": "Where to"},
        "is_urgent": {"type": "boolean"},
        "account": {"$ref": "#/$defs/Account"},
        "$(reboot)": {"type": "string"},
    },
    "$defs": {"Account": {"properties": {"id": {"type": "integer"}, "parent": {"$ref": "#/$defs/Account"}}}},
}


def test_a_shell_is_offered_the_values_of_a_schema_and_nothing_that_it_would_execute() -> None:
    found = dict(schema_paths(SCHEMA))
    assert found["channel=ops"] == "Where to"
    assert {"channel=7", "is_urgent=true", "is_urgent=false", "account.id=", "account.parent.id="} < set(found)
    assert not any(" " in path or "$" in path for path in found)
    for none in (None, {}, {"properties": []}, {"properties": {"a": True}, "$defs": []}):
        assert [path for path, _ in schema_paths(none)] == (["a="] if none and none["properties"] else [])


def test_values_are_json_or_strings_at_their_paths() -> None:
    given = {"account": {"name": "x"}}
    values = [("account.id", "17"), ("channel", "ops"), ("ids", "[1]"), ("quoted", '"17"')]
    assert with_values(given, values) == {
        "account": {"name": "x", "id": 17}, "channel": "ops", "ids": [1], "quoted": "17",
    }  # fmt: skip
    assert given == {"account": {"name": "x"}}
    with pytest.raises(click.BadParameter, match="name is not an object"):
        with_values(given, [("account.name.first", "x")])


@pytest.mark.parametrize(
    ("words", "args", "incomplete", "printed"),
    [
        ("--set channel = o", ["--set"], "channel=o", "ops"),
        ("--set channel =", ["--set"], "channel=", "ops"),
        ("--set = channel = o", ["--set", "="], "channel=o", "ops"),
        ("--set chan", ["--set"], "chan", "channel=ops"),
    ],
)
def test_bash_completes_the_part_behind_an_equals_sign(
    words: str, args: list[str], incomplete: str, printed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_AVA_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"ava {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
    completion.install()
    shell = get_completion_class("bash")
    assert shell is not None
    found = shell(click.Command("ava"), {}, "ava", "_AVA_COMPLETE")
    assert found.get_completion_args() == (args, incomplete)
    assert found.format_completion(CompletionItem("channel=ops")) == f"plain,{printed}"
