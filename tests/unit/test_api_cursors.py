"""A cursor leads back to the item it was made from, and to no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ava.api.http import paging
from ava.domain import ids


@given(st.uuids(), st.integers(0, 2**63 - 3))
def test_a_lines_cursor_leads_back_to_it(uuid: object, seq: int) -> None:
    job_id = ids.encode("job", str(uuid))
    assert paging.line_of_cursor(job_id, paging.cursor_of_line(job_id, seq)) == seq
    assert paging.id_reader("job")(paging.cursor_of_item(job_id)) == job_id


def test_a_lines_cursor_is_refused_for_another_job() -> None:
    mine, other = (ids.encode("job", ids.new_uuid()) for _ in range(2))
    assert paging.line_of_cursor(other, paging.cursor_of_line(mine, 7)) is None


def test_a_workers_cursor_leads_back_to_it() -> None:
    assert paging.client_id_reader("wkr")(paging.cursor_of_item("wkr_http_request")) == "wkr_http_request"


def test_a_names_cursor_leads_back_to_it() -> None:
    read = paging.name_reader({"bulk_jobs"}.__contains__)
    assert read(paging.cursor_of_name("bulk_jobs")) == "bulk_jobs"
    assert read("cur_other") is None
    assert read("bulk_jobs") is None


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "cur_",
        "cur_x",
        "job_01h455vb4pex5vsknk084sn02q",
        "cur_01H455VB4PEX5VSKNK084SN02Q",
        "cur_zzzzzzzzzzzzzzzzzzzzzzzzzz",
        "\0",
    ],
)
def test_a_broken_cursor_is_refused(cursor: str) -> None:
    assert paging.id_reader("job")(cursor) is None
    assert paging.line_of_cursor("job_01h455vb4pex5vsknk084sn02q", cursor) is None
