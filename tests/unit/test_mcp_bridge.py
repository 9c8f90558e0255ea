"""`ava mcp`: what the bridge answers without the API."""

from __future__ import annotations

import io
import json
from typing import Any, cast

import pytest

from ava.cli.api.mcp import _Bridge
from ava.client import Client


@pytest.mark.parametrize("line", [b"{", b"[1]", b"\xff", b"[" * 100_000, b'{"a":' * 100_000])
def test_a_line_that_is_no_message_is_answered_with_a_parse_error_and_the_next_one_is_read(line: bytes) -> None:
    answers = io.BytesIO()
    # No line of these reaches the API.
    _Bridge(cast(Client, None), io.BytesIO(line + b"\n" + b"{\n"), answers).run()
    found: list[dict[str, Any]] = [json.loads(response) for response in answers.getvalue().splitlines()]
    assert [response["error"]["code"] for response in found] == [-32700, -32700]
