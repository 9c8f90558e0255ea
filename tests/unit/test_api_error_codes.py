"""The table of error codes: every error refers to it, and responses are made from it."""

from __future__ import annotations

import pytest

from ava.api.openapi_parts import FAILURES
from ava.error_codes import ErrorCode, code_of
from ava.errors import DatabaseUnavailable, InvalidFields, InvalidParameters, RequestError


def _all_below(error: type[RequestError]) -> list[type[RequestError]]:
    return [error] + [found for child in error.__subclasses__() for found in _all_below(child)]


def test_every_request_error_has_a_status_of_its_code() -> None:
    for kind in _all_below(RequestError):
        error = kind("x", {}) if issubclass(kind, InvalidParameters) else kind("x")
        assert error.status in error.code.meanings, kind


def test_a_validation_error_is_400_for_a_missing_field_and_422_for_a_wrong_one() -> None:
    assert InvalidParameters("x", {}).status == 400
    assert InvalidFields("x", {}).status == 422
    assert DatabaseUnavailable().status == 503


@pytest.mark.parametrize(
    ("status", "code"),
    [
        *[(400, "bad_request"), (401, "unauthorized"), (403, "forbidden"), (404, "resource_not_found")],
        *[(405, "method_not_allowed"), (409, "resource_conflict"), (413, "payload_too_large")],
        *[(415, "unsupported_media_type"), (422, "validation_error"), (429, "rate_limited")],
        *[(500, "internal_error"), (503, "unavailable"), (414, "bad_request"), (501, "bad_request")],
    ],
)
def test_a_status_without_an_error_class_gets_its_usual_code(status: int, code: str) -> None:
    assert code_of(status) == code


def test_the_openapi_description_names_each_code_at_each_of_its_statuses() -> None:
    for code in ErrorCode:
        for status in code.meanings:
            assert f"`{code}`" in FAILURES[status]
