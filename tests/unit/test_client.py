"""The client without a server."""

from __future__ import annotations

import pytest

from ava.client import ApiUnavailable, Client
from ava.local.start import free_port


def test_an_api_that_is_not_there_is_one_clear_error() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with (
        Client(url, secret="x", tenant="ten_x", user="usr_x", retries=0) as client,
        pytest.raises(ApiUnavailable, match="cannot be reached: Connection refused"),
    ):
        client.get("job_x")
