"""Inputs that are made of events: what a template takes of an event, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ava.domain.events.subscription import Rule, make_input
from ava.domain.events.templates import TemplateError, TemplateTooLarge, compile_template
from ava.errors import PayloadTooLarge
from tests.unit.test_event_patterns import EVENT, nested


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ({"n": {"$get": "data.number"}}, {"n": 7}),
        ({"a": [{"$get": "data.labels.1.name"}, "x"]}, {"a": ["ui", "x"]}),
        ({"a": {"$get": "data.missing"}}, {"a": None}),
        ({"a": {"$get": "data.missing.deeper", "default": {"$get": "x"}}}, {"a": {"$get": "x"}}),
        ({"a": {"$get": "data.title.length", "default": 0}}, {"a": 0}),
        ({"a": {"$get": "data.labels.9", "default": 0}}, {"a": 0}),
        ({"a": {"$get": "data.labels.-1", "default": 0}}, {"a": 0}),
        ({"a": {"$get": ["headers", "x-github-event"]}}, {"a": "pull_request"}),
        ({"a": {"$get": "data.__class__", "default": 0}}, {"a": 0}),
        ({"a": {"$get": "data.nothing", "default": 0}}, {"a": None}),
        ({"$get": "data"}, EVENT["data"]),
        ({}, {}),
    ],
)
def test_a_template_takes_values_of_the_event(template: Any, filled: Any) -> None:
    assert json.loads(compile_template(template).fill(EVENT, max_bytes=10_000)) == filled


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ([], ""),
        ({"a": {"$get": "environ.HOME"}}, "a"),
        ({"a": {"$get": ""}}, "a"),
        ({"a": {"$get": "data..x"}}, "a"),
        ({"a": {"$get": 1}}, "a"),
        ({"a": [{"$get": ["data", 1]}]}, "a[0]"),
        ({"a": {"$get": "data", "else": 1}}, "a"),
        ({"a": {"$get": "data." + "x." * 40 + "y"}}, "a"),
        ({"a": [{"$get": "data"}] * 101}, ""),
        (nested(21, 1), ".".join("a" * 20)),
    ],
)
def test_a_wrong_template_is_refused_with_its_path(template: Any, path: str) -> None:
    with pytest.raises(TemplateError) as caught:
        compile_template(template)
    assert caught.value.path == path


def test_a_template_that_repeats_a_large_event_ends_before_it_is_built() -> None:
    event = {"data": "x" * 2**20}
    template = compile_template({"a": [{"$get": "data"}] * 100})
    with pytest.raises(TemplateTooLarge):
        template.fill(event, max_bytes=2**20)


def test_an_input_that_is_no_object_or_too_large_is_refused() -> None:
    with pytest.raises(PayloadTooLarge, match="must be an object"):
        make_input(Rule(input_json='{"$get":"type"}'), EVENT)
    with pytest.raises(PayloadTooLarge, match="too large"):
        make_input(Rule(), {"data": "x" * 2_000_000})
    assert json.loads(make_input(Rule(), EVENT)) == {"event": EVENT}
    # A character of Cyrillic is two bytes, and six as JSON in ASCII.
    assert len(make_input(Rule(), {"data": "ж" * 500_000})) > 2_900_000
