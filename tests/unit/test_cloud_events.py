"""CloudEvents 1.0, structured, in batches and binary, as the CloudEvents SDK writes them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from ava.domain.events.cloud_events import is_cloud_event, read_binary, read_structured
from ava.domain.events.event import EventSpec
from ava.errors import AvaError, InvalidFields

ATTRIBUTES = {
    "id": "A234-1234-1234",
    "source": "https://github.com/cloudevents",
    "type": "com.github.pull_request.opened",
    "subject": "123",
    "time": datetime(2018, 4, 5, 17, 31, tzinfo=UTC),
    "comexampleextension": "value ☃",
}
MINIMAL = {"specversion": "1.0", "id": "1", "source": "/s", "type": "a"}


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): str(value) for name, value in dict(headers).items()}


def _data(spec: EventSpec) -> Any:
    return json.loads(spec.data_json)


@pytest.mark.parametrize("to", [to_structured_event, to_binary_event])
@pytest.mark.parametrize(
    ("content_type", "data", "read"),
    [
        ("application/json", {"a": [1, "é"]}, {"a": [1, "é"]}),
        ("text/xml", "<a/>", "<a/>"),
        ("image/png", b"\x89PNG", {"base64": "iVBORw=="}),
    ],
)
def test_what_the_sdk_writes_is_read(to: Any, content_type: str, data: Any, read: Any) -> None:
    message = to(CloudEvent({**ATTRIBUTES, "datacontenttype": content_type}, data))
    headers = _lower(message.headers)
    assert is_cloud_event(headers.get("content-type", ""), headers)
    if to is to_structured_event:
        (spec,) = read_structured(json.loads(message.body), is_batch=False)
    else:
        spec = read_binary(headers, content_type, message.body)
    assert (spec.source_id, spec.source, spec.type, spec.subject, spec.time) == (
        "A234-1234-1234", "https://github.com/cloudevents", "com.github.pull_request.opened", "123", ATTRIBUTES["time"],
    )  # fmt: skip
    assert json.loads(spec.data_json) == read
    extensions = json.loads(spec.extensions_json)
    assert extensions == {"datacontenttype": content_type, "comexampleextension": "value ☃"}


def test_values_of_headers_are_percent_encoded() -> None:
    spec = read_binary({**{f"ce-{n}": t for n, t in MINIMAL.items()}, "ce-ext": "Euro%20%E2%82%AC"}, "", b"")
    assert json.loads(spec.extensions_json) == {"ext": "Euro €"}
    assert spec.data_json == "null"


def test_binary_data_is_kept_in_base64() -> None:
    headers = {f"ce-{name}": value for name, value in MINIMAL.items()}
    assert _data(read_binary(headers, "image/png", b"\x89PNG")) == {"base64": "iVBORw=="}
    (spec,) = read_structured({**MINIMAL, "data_base64": "iVBORw=="}, is_batch=False)
    assert _data(spec) == {"base64": "iVBORw=="}


def test_a_batch_is_a_list() -> None:
    specs = read_structured([MINIMAL, {**MINIMAL, "id": "2"}], is_batch=True)
    assert [spec.source_id for spec in specs] == ["1", "2"]
    assert read_structured([], is_batch=True) == []


@pytest.mark.parametrize(
    ("given", "is_batch", "field"),
    [
        ({**MINIMAL, "specversion": "0.3"}, False, "specversion"),
        ({"id": "1"}, False, "specversion"),
        ({**MINIMAL, "id": ""}, False, "id"),
        ({**MINIMAL, "id": 7}, False, "id"),
        ({**MINIMAL, "source": None}, False, "source"),
        ({**MINIMAL, "type": "ava.job.completed"}, False, "type"),
        ({**MINIMAL, "type": "a b"}, False, "type"),
        ({**MINIMAL, "time": "yesterday"}, False, "time"),
        ({**MINIMAL, "subject": "\0"}, False, "subject"),
        ({**MINIMAL, "Ext": "x"}, False, "Ext"),
        ({**MINIMAL, "ext": {"a": 1}}, False, "ext"),
        ({**MINIMAL, "data": 1, "data_base64": "AA=="}, False, "data_base64"),
        ({**MINIMAL, "data_base64": "?"}, False, "data_base64"),
        ([], False, "event"),
        ({}, True, "event"),
        ([MINIMAL, 7], True, "events[1]"),
        ([MINIMAL, {**MINIMAL, "id": ""}], True, "events[1].id"),
        ({**MINIMAL, "data": float("inf")}, False, "data"),
    ],
)
def test_a_wrong_event_is_refused_and_its_attribute_named(given: Any, is_batch: bool, field: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        read_structured(given, is_batch=is_batch)
    assert list(caught.value.fields) == [field]


def test_json_data_that_is_no_json_is_refused() -> None:
    headers = {f"ce-{name}": value for name, value in MINIMAL.items()}
    with pytest.raises(AvaError):
        read_binary(headers, "application/json", b"{")
    with pytest.raises(InvalidFields):
        read_binary({**headers, "ce-data": "x"}, "application/json", b"{}")
