"""The log of a run takes lines from every thread, within bounds, and no interruption leaves it locked."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from ava.domain.jobs.job import LogLevel
from ava.node.runs import job_log
from ava.node.runs.job_log import JobLog, LineWriter
from ava.node.runs.log_capture import JobLogger, LogCapture


@pytest.fixture
def log() -> JobLog:
    return JobLog(first_seq=100, started_at=datetime(2025, 6, 1, tzinfo=UTC))


def messages(log: JobLog) -> list[str]:
    return [line.msg for line in log.take()]


def test_lines_of_many_threads_are_numbered_without_a_gap(log: JobLog) -> None:
    def add_lines() -> None:
        for _ in range(500):
            log.add(LogLevel.INFO, "x")

    threads = [threading.Thread(target=add_lines) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line.seq for line in log.take()] == list(range(101, 2101))


def test_lines_that_could_not_be_stored_come_before_the_next_ones(log: JobLog) -> None:
    log.add(LogLevel.INFO, "one")
    taken = log.take()
    log.add(LogLevel.INFO, "two")
    log.put_back(taken)
    assert messages(log) == ["one", "two"]


def test_a_log_that_is_not_stored_does_not_stop_its_handler_for_ever(
    log: JobLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_log, "_MAX_WAITING", 5)
    monkeypatch.setattr(job_log, "_LONGEST_WAIT_SECONDS", 0.05)
    for number in range(20):
        log.add(LogLevel.INFO, str(number))
    assert len(messages(log)) == 20


def test_a_full_log_says_so_once_and_drops_the_rest(log: JobLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_log, "_MAX_CHARACTERS", 300)
    for _ in range(5):
        log.add(LogLevel.INFO, "12345")
    assert messages(log) == ["12345", "12345", "The log of this run is full; further lines are dropped"]


def test_empty_lines_count_too(log: JobLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_log, "_MAX_CHARACTERS", 1_000)
    for _ in range(100):
        log.add(LogLevel.INFO, "")
    assert messages(log) == [""] * 7 + ["The log of this run is full; further lines are dropped"]


def test_a_closed_log_drops_lines(log: JobLog) -> None:
    log.close()
    log.add(LogLevel.INFO, "late")
    assert log.is_empty


def test_what_a_foreign_thread_logs_or_prints_is_left_out(log: JobLog, capsys: pytest.CaptureFixture[str]) -> None:
    logged: list[str] = []
    other = logging.Handler()
    other.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
    record = logging.LogRecord("x", logging.INFO, "", 1, "said %d", (1,), None)
    LogCapture(log, lambda: True, [other]).handle(record)
    out = LineWriter(LogLevel.INFO, sys.stdout)
    out.begin(log, lambda: True)
    out.write("printed\n")
    assert log.is_empty
    assert capsys.readouterr().out == "printed\n"
    assert logged == ["said 1"]


@contextmanager
def logger_of(log: JobLog) -> Iterator[tuple[JobLogger, LogCapture]]:
    """Log to `log` as during its run."""
    logger, capture, root = JobLogger.get(), LogCapture(log), logging.root
    level, handlers = logger.level, root.handlers
    logger.setLevel(logging.INFO)
    # Here, because pytest has handlers of its own while a test runs.
    logger.capture, root.handlers = capture, [capture]
    try:
        yield logger, capture
    finally:
        logger.capture, root.handlers = None, handlers
        logger.setLevel(level)


def _log_in_many_ways(logger: logging.Logger) -> None:
    logger.info("plain")
    logger.info("no argument: 100 %")
    logger.warning("%s and %d", "two", 2)
    logger.info("%(a)s of a mapping", {"a": "one"})
    logger.error(ValueError("an object"))
    logger.error("%d", "no number")
    logger.error("with %s", "extra", extra={"x": 1}, stack_info=False)
    logger.debug("not at this level")


def test_a_line_is_the_same_whether_a_record_is_made_of_it_or_not(log: JobLog) -> None:
    seen: list[logging.LogRecord] = []
    with logger_of(log) as (logger, capture):
        assert logger._is_read_by(capture)
        _log_in_many_ways(logger)
        without = [(line.level, line.msg) for line in log.take()]
        logger.addFilter(lambda record: seen.append(record) or True)  # type: ignore[func-returns-value]
        try:
            _log_in_many_ways(logger)
        finally:
            logger.filters.clear()
    assert [(line.level, line.msg) for line in log.take()] == without
    assert len(seen) == len(without) == 7
    assert {record.funcName for record in seen} == {"_log_in_many_ways"}


@pytest.mark.parametrize("change", ["handler of the logger", "handler of the root", "formatter", "level", "record"])
def test_whatever_a_handler_sets_of_its_logging_sees_records(
    log: JobLog, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    own, expected = logging.StreamHandler(io.StringIO()), ["seen"]
    with logger_of(log) as (logger, capture):
        match change:
            case "handler of the logger":
                monkeypatch.setattr(logger, "handlers", [own])
            case "handler of the root":
                logging.root.handlers = [capture, own]
            case "formatter":
                capture.setFormatter(logging.Formatter("%(funcName)s: %(message)s"))
                expected = ["test_whatever_a_handler_sets_of_its_logging_sees_records: seen"]
            case "level":
                capture.setLevel(logging.ERROR)
                expected = []
            case _:
                monkeypatch.setattr(logging, "_logRecordFactory", type("OwnRecord", (logging.LogRecord,), {}))
        assert not logger._is_read_by(capture)
        logger.info("seen")
    assert messages(log) == expected
    assert own.stream.getvalue() == ("seen\n" if change.startswith("handler") else "")


def test_a_log_message_that_cannot_be_formatted_leaves_a_line(log: JobLog) -> None:
    record = logging.LogRecord("x", logging.ERROR, "", 1, "%d", ("no number",), None)
    LogCapture(log).handle(record)
    (line,) = log.take()
    assert (line.level, line.msg) == (LogLevel.ERROR, "(log message cannot be formatted: TypeError)")


def test_printed_text_is_cut_into_lines(log: JobLog) -> None:
    out = LineWriter(LogLevel.INFO)
    out.begin(log)
    for string in ("a", "b\nc\r\n", "\n", "end"):
        out.write(string)
    out.close()
    assert messages(log) == ["ab", "c", "", "end"]
    with pytest.raises(TypeError):
        out.write(b"bytes")  # type: ignore[arg-type]


def test_a_program_that_treats_the_streams_as_files_finds_what_it_needs(log: JobLog) -> None:
    out, err = LineWriter(LogLevel.INFO), LineWriter(LogLevel.WARN)
    for stream in (out, err):
        stream.begin(log)
    assert (out.fileno(), err.fileno(), out.buffer.fileno(), out.isatty()) == (1, 2, 1, False)
    out.reconfigure(encoding="utf-8", line_buffering=True)
    assert out.buffer.write("é\n".encode()[:1]) == 1
    out.buffer.write(memoryview("é\nof ".encode()[1:]))
    out.buffer.flush()
    out.write("both\n")
    wrapper = io.TextIOWrapper(out.buffer, encoding="utf-8", write_through=True)
    wrapper.write("wrapped\n")
    # It closes what it wraps when it is freed.
    del wrapper
    print("printed", file=out)
    subprocess.run([sys.executable, "-c", "print(end='')"], stdout=out, stderr=err, check=True)
    assert messages(log) == ["é", "of both", "wrapped", "printed"]


def test_half_a_character_of_one_run_is_no_part_of_the_next(log: JobLog) -> None:
    out = LineWriter(LogLevel.INFO)
    out.begin(log)
    out.buffer.write("é".encode()[:1])
    out.end()
    out.begin(log)
    out.buffer.write(b"next\n")
    assert messages(log) == ["next"]


def test_text_printed_between_two_runs_reaches_no_log(log: JobLog, capsys: pytest.CaptureFixture[str]) -> None:
    out = LineWriter(LogLevel.INFO, sys.stdout)
    out.begin(log)
    out.write("begun")
    out.end()
    out.write("late\n")
    assert messages(log) == ["begun"]
    assert capsys.readouterr().out == "late\n"


def test_a_line_without_an_end_is_bounded(log: JobLog) -> None:
    out = LineWriter(LogLevel.INFO)
    out.begin(log)
    for _ in range(30):
        out.write("x" * 100_000)
    out.write("rest of it\nnext\n")
    first, second = messages(log)
    assert first.endswith("characters, cut)")
    assert len(first) < 17_000
    assert second == "next"


def test_writes_without_a_newline_cost_time_in_proportion_to_their_number() -> None:
    def write(count: int) -> float:
        log = JobLog(first_seq=0, started_at=datetime.now(UTC))
        writer = LineWriter(LogLevel.INFO)
        writer.begin(log)
        began = time.process_time()
        for _ in range(count):
            writer.write(".")
        writer.end()
        took = time.process_time() - began
        (line,) = log.take()
        assert line.msg.startswith("." * 16_000)
        return took

    # 400,000 took 41 s when each write copied the line.
    assert write(400_000) < 10
