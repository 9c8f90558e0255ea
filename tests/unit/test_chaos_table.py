"""What the fault suite counts as kept, and where its table is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from chaos import table
from chaos.effects import Run
from chaos.result import Record, Result, is_true

KEPT = Result(
    broker="redis",
    fault="a fault",
    accepted=10,
    finished=8,
    lost=0,
    invented=0,
    twice=0,
    untrue=0,
    repeated=1,
    failed=0,
    recovery_seconds=1.25,
    promised_seconds=5,
    uncommitted=2,
    refusals="",
    broken=(),
    measured=(),
    appendix="",
)


def _run(name: str, *, is_done: bool) -> Run:
    return Run(job_id="job_a", name=name, began_at=1.0, last_at=2.0, is_done=is_done)


def test_only_the_last_run_may_have_completed_a_job() -> None:
    runs = [_run("1.1", is_done=True), _run("2.1", is_done=True)]
    assert is_true(Record(status="completed", run="2.1"), runs)
    assert not is_true(Record(status="completed", run="1.1"), runs)
    assert not is_true(Record(status="completed", run="2.1"), [runs[0], _run("2.1", is_done=False)])
    assert not is_true(Record(status="failed", run=None), runs)
    assert is_true(Record(status="queued", run=None), [])


def test_a_row_counts_what_was_not_replicated_beside_what_was_lost() -> None:
    assert "| 0 (and 2 not replicated) | 0 | 1 | 1.2 s | 5 s | yes |" in table.row(KEPT)
    assert "NO (3 repeated)" in table.row(replace(KEPT, broken=("3 repeated",)))
    assert "| yes; writes after 1 s |" in table.row(replace(KEPT, measured=("writes after 1 s",)))
    assert "never" in table.row(replace(KEPT, recovery_seconds=None))


def test_the_table_replaces_the_marked_block_of_a_page_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- The table that `python -m chaos` writes begins here. -->\nold\n<!-- It ends here. -->\nafter\n"
    )
    table.write(page, [KEPT], command="python -m chaos")
    text = page.read_text()
    assert text.startswith("before\n<!-- The table")
    assert text.endswith("<!-- It ends here. -->\nafter\n")
    assert table.row(KEPT) in text
    assert "old\n" not in text


def test_a_page_without_a_block_is_left_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("text\n")
    with pytest.raises(ValueError, match="no block"):
        table.write(page, [KEPT], command="python -m chaos")
    assert page.read_text() == "text\n"
