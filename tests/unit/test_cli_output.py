"""What the operator's commands print: tables within the terminal's width, JSON, ids and CSV."""

from __future__ import annotations

import csv
import importlib
import io
import json
import pkgutil
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wcwidth import wcswidth

import ava.cli
from ava.cli.api import factory, lists
from ava.cli.screen import printing, tables, terminal, watching
from ava.cli.screen.output import OutputFormat, RecordPrinter
from ava.cli.screen.tables import Column
from ava.client import QueueCount, TenantLoad
from ava.client.reading import read
from ava.domain.counts import MAX_COUNTED_OF_WORKER

ID = "job_01hxyzabcdefghjkmnpqrstvwx"
_YEAR = datetime.now(UTC).year


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A record as the client has them."""

    id: str = ID
    name: str | None = "a thing"
    count: int = 1_234
    made_at: datetime = datetime(_YEAR, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    output: Any = None


COLUMNS = (
    Column(title="ID", value=lambda thing: thing.id),
    Column(title="NAME", value=lambda thing: thing.name, min_width=8, is_optional=True),
    Column(title="COUNT", value=lambda thing: thing.count),
    Column(title="MADE", value=lambda thing: thing.made_at),
    Column(title="OUTPUT", value=lambda thing: str(thing.output), is_wide=True),
)


@pytest.fixture
def terminal_of_80(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(terminal, "is_terminal", lambda: True)
    with monkeypatch.context() as patched:
        patched.setenv("COLUMNS", "80")
        patched.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def _printed(capsys: pytest.CaptureFixture[str], form: str, things: Sequence[Thing]) -> list[str]:
    RecordPrinter(format=OutputFormat(form)).records(things, COLUMNS)
    return capsys.readouterr().out.splitlines()


@pytest.mark.usefixtures("terminal_of_80")
def test_a_table_fits_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _printed(capsys, "table", [Thing(name="x" * 200), Thing(name="語" * 100, count=7), Thing(name=None)])
    assert max(map(wcswidth, lines)) == 80
    assert all(line.startswith(ID) for line in lines[1:])
    assert lines[1].endswith("01-02 03:04")
    assert "…" in lines[1]
    assert "…" in lines[2]
    assert "OUTPUT" not in lines[0]


@pytest.mark.usefixtures("terminal_of_80")
def test_a_moment_of_another_year_or_zone_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = _printed(capsys, "table", [Thing(made_at=datetime(2028, 2, 29, 12, 0, tzinfo=UTC))])
    assert lines[1].endswith(" 2028-02-29 12:00")
    # POSIX: five hours behind UTC all year, so that the names alone say which moment is in which zone.
    monkeypatch.setenv("TZ", "EST5")
    time.tzset()
    zones = iter(["EDT", "EST"])
    monkeypatch.setattr(tables, "zone_name", lambda _timestamp=None: next(zones))
    assert tables._short_time(datetime(_YEAR, 7, 1, 16, 0, tzinfo=UTC)) == "07-01 11:00 EDT"


@pytest.mark.usefixtures("terminal_of_80")
def test_a_wide_table_cuts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _printed(capsys, "wide", [Thing(name="x" * 200)])
    assert "x" * 200 in lines[1]
    assert f"{_YEAR}-01-02 03:04:05" in lines[1]
    assert "OUTPUT" in lines[0]


@pytest.mark.usefixtures("terminal_of_80")
def test_a_column_without_values_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert "NAME" not in _printed(capsys, "table", [Thing(name=None)])[0]
    assert "NAME" in _printed(capsys, "wide", [Thing(name=None)])[0]


@pytest.mark.usefixtures("terminal_of_80")
def test_a_sentence_that_has_no_room_beside_the_others_has_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = (*COLUMNS[:-1], Column(title="ERROR", value=lambda thing: thing.output, min_width=8, may_be_below=True))
    things = [Thing(output="E: " + "x" * 100), Thing(output=None), Thing(output="E: short")]

    def lines() -> list[str]:
        RecordPrinter(format=OutputFormat.TABLE).records(things, columns)
        return capsys.readouterr().out.splitlines()

    assert [line[:31].strip() for line in lines()] == ["ID", ID, "E: " + "x" * 26, ID, ID, "E: short"]
    assert lines()[2] == f"  E: {'x' * 74}…"
    monkeypatch.setenv("COLUMNS", "200")
    assert [line.split()[-1] for line in lines()] == ["ERROR", "x" * 100, "-", "short"]


def test_no_records_are_a_sentence_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    RecordPrinter(format=OutputFormat.TABLE).records([], COLUMNS, empty="No things match.")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "No things match.\n"


def test_ids_are_printed_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert _printed(capsys, "id", [Thing(), Thing(id="job_2")]) == [ID, "job_2"]


def test_csv_has_every_field_and_no_formula(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _printed(capsys, "csv", [Thing(name="=1+1", output={"a": [1]}), Thing(name='say "a, b"\n')])
    rows = list(csv.DictReader(io.StringIO("\n".join(lines))))
    assert rows[0] == {
        "id": ID, "name": "'=1+1", "count": "1234", "made_at": f"{_YEAR}-01-02T03:04:05.678Z", "output": '{"a": [1]}'
    }  # fmt: skip
    assert rows[1]["name"] == 'say "a, b"\\n'


def test_json_is_one_line_a_record(capsys: pytest.CaptureFixture[str]) -> None:
    assert [json.loads(line)["id"] for line in _printed(capsys, "json", [Thing(), Thing(id="b")])] == [ID, "b"]


@pytest.mark.usefixtures("terminal_of_80")
def test_a_large_value_of_a_record_is_folded(capsys: pytest.CaptureFixture[str]) -> None:
    RecordPrinter(format=OutputFormat.TABLE).record(Thing(output={"rows": [{"text": "x" * 500}] * 1_000}))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 30
    assert max(map(len, lines)) <= 80
    assert lines[-1].strip() == "… 2,984 more lines; 514,010 bytes; -o json prints all"
    RecordPrinter(format=OutputFormat.TABLE).record(Thing(output={"rows": 3}))
    assert capsys.readouterr().out.splitlines()[-1] == 'output   {"rows": 3}'


@pytest.mark.usefixtures("terminal_of_80")
def test_a_moment_is_shown_in_the_named_local_zone(capsys: pytest.CaptureFixture[str]) -> None:
    RecordPrinter(format=OutputFormat.TABLE).record(Thing())
    assert f"{_YEAR}-01-02 03:04:05.678 UTC" in capsys.readouterr().out


def test_a_sentence_of_the_api_has_its_times_in_the_local_zone_and_keeps_the_words_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        at = "2026-11-28T22:50:43.681Z"
        shown = "2026-11-28 17:50:43.681 EST"
        for sentence in (
            f"failed at {{}} in attempt 1 of 1: ValueError: {at}",
            "queued: paused by usr_1 since {}; it waits",
        ):
            assert printing.with_local_times(sentence.format(at)) == sentence.format(shown)
        assert printing.with_local_times("running on node a\nsince 2026-11-28T22:50:43Z") == (
            "running on node a\nsince 2026-11-28 17:50:43.000 EST"
        )
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.usefixtures("terminal_of_80")
def test_a_status_line_leaves_nothing_behind_whatever_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    def stop() -> None:
        with terminal.StatusLine() as line:
            line.set_progress(0.5, "half\x1b[2J" + "x" * 200)
            assert wcswidth(capsys.readouterr().out) == 79
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    # click removes the sequence that erases the line, because this is no terminal.
    assert capsys.readouterr().out == "\r"


def test_a_status_line_is_not_written_into_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.StatusLine() as line:
        line.set_progress(0.5, "half")
    assert capsys.readouterr().out == ""


@example("00\N{DEVANAGARI VOWEL SIGN AA}0", 3)
@given(st.text(), st.integers(1, 40))
def test_a_cut_string_is_no_wider_than_asked(string: str, width: int) -> None:
    assert wcswidth(terminal.cut(printing.clean(string), width)) <= width


@given(st.lists(st.tuples(st.integers(1, 300), st.none() | st.integers(1, 20)), min_size=1, max_size=9))
def test_columns_are_cut_only_as_far_as_needed(columns: list[tuple[int, int | None]]) -> None:
    widths, least = [width for width, _ in columns], [bound for _, bound in columns]
    found = tables.fit(widths, least, 80)
    gaps = 2 * (len(widths) - 1)
    for width, bound, new in zip(widths, least, found, strict=True):
        assert new == width or (bound is not None and bound <= new < width)
    if found != widths:
        assert sum(found) + gaps >= 80


def _tables() -> list[Any]:
    modules = [importlib.import_module(each.name) for each in pkgutil.walk_packages(ava.cli.__path__, "ava.cli.")]
    return [
        pytest.param(value, id=f"{module.__name__.rpartition('.')[2]}{name.lower()}")
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, tuple) and value and isinstance(value[0], Column)
    ] + [
        pytest.param(factory.columns(method), id=method) for method, call in factory.CALLS.items() if "columns" in call
    ]


@pytest.mark.parametrize("columns", _tables())
def test_every_table_can_be_cut_to_80_columns(columns: tuple[Column, ...]) -> None:
    """Ids have 30 characters at most, moments 11; a column that is never cut has a title that says how wide it is."""
    widths = {"ID": 30, "JOB": 30, "JOBS": 6, "LAST": 4}
    shown = [column for column in columns if not column.is_wide]
    least = [column.min_width or widths.get(column.title, max(len(column.title), 11)) for column in shown]
    assert sum(least) + 2 * (len(shown) - 1) <= 80


def _output(records: Sequence[Any], columns: tuple[Column, ...], capsys: pytest.CaptureFixture[str]) -> str:
    RecordPrinter(format=OutputFormat.TABLE).records(records, columns)
    return capsys.readouterr().out


def test_a_number_that_has_reached_its_bound_says_that_there_may_be_more(capsys: pytest.CaptureFixture[str]) -> None:
    counts = [
        QueueCount(worker_id="wkr_many", queued=MAX_COUNTED_OF_WORKER, running=3, high_priority=12),
        QueueCount(worker_id="wkr_few", queued=MAX_COUNTED_OF_WORKER - 1, running=0, high_priority=0),
    ]
    out = _output(counts, lists.WORKER_COLUMNS, capsys)
    assert re.search(r"wkr_many +10,000 or more +12 or more +3\b", out), out
    assert re.search(r"wkr_few +9,999 +0 +0\b", out), out

    # Waiting and scheduled jobs are counted together.
    ended = {"completed": 1_500, "failed": 0, "cancelled": 0}
    loads = [TenantLoad(tenant_id="ten_a", waiting=700, scheduled=300, running=999, **ended)]
    out = _output(loads, factory.columns("tenants.list"), capsys)
    assert re.search(r"ten_a +700 or more +999\b", out), out


def test_ctrl_c_ends_the_command_and_says_that_the_job_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, watching.until_interrupted(ID):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr().err == f"{ID} continues; `ava jobs watch {ID}` follows it.\n"


def test_fields_of_a_newer_server_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"worker_id": "wkr_a", "queued": 1, "high_priority": 0, "running": 0, "of_the_future": {"a": 1}}
    for form in ("json", "table", "csv"):
        RecordPrinter(format=OutputFormat(form)).record(read(QueueCount, data))
        assert "of_the_future" in capsys.readouterr().out, form
