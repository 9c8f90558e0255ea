"""The processes' own logs: text or JSON, one event a line whatever the message holds."""

from __future__ import annotations

import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from ava import settings as settings_module
from ava.settings import Settings
from ava.telemetry import logs

SETTINGS = settings_module.load({"DATABASE_URL": "postgresql://u:p4ss@db/ava", "BROKER_URL": "redis://:p4ss@broker"})


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks


def _lines(capsys: pytest.CaptureFixture[str], settings: Settings, message: str, **fields: Any) -> list[str]:
    logs.configure(settings, "worker")
    try:
        raise ValueError("made up") if fields.pop("fails", False) else KeyError
    except KeyError:
        logging.getLogger("ava.tests").info(message, extra=fields)
    except ValueError:
        logging.getLogger("ava.tests").exception(message, extra=fields)
    return capsys.readouterr().err.splitlines()


def test_a_json_line_holds_the_process_the_message_and_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = _lines(capsys, replace(SETTINGS, logs_json=True), "An attempt ended.", job_id="job_1", attempt=2)
    event = json.loads(line)
    assert event["msg"] == "An attempt ended."
    assert (event["level"], event["process"], event["logger"]) == ("info", "worker", "ava.tests")
    assert (event["job_id"], event["attempt"]) == ("job_1", 2)
    assert event["ts"].endswith("Z")


def test_a_traceback_stays_in_its_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = _lines(capsys, replace(SETTINGS, logs_json=True), "It failed.\nforged: line", fails=True)
    event = json.loads(line)
    assert "ValueError: made up" in event["exception"]
    assert event["msg"] == "It failed.\nforged: line"


def test_a_field_cannot_pretend_to_be_another_event(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = _lines(capsys, replace(SETTINGS, logs_json=True), "Plain.", level="error", ts="never", job_id=None)
    event = json.loads(line)
    assert (event["level"], "job_id" in event) == ("info", False)


def test_a_plain_line_ends_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = _lines(capsys, SETTINGS, "An attempt ended.", job_id="job_1", tenant_id="ten_1")
    assert line.endswith("INFO worker ava.tests: An attempt ended. (job_id=job_1 tenant_id=ten_1)")


def test_the_level_is_a_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert _lines(capsys, replace(SETTINGS, log_level="WARNING"), "Nothing new.") == []


def test_settings_can_be_logged_without_their_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = _lines(capsys, SETTINGS, repr(SETTINGS))
    assert "p4ss" not in line


def test_warnings_and_uncaught_exceptions_are_lines_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError("of a thread")

    logs.configure(replace(SETTINGS, logs_json=True), "worker")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("two\nlines", stacklevel=1)
    # pytest replaces this hook; Python calls what the module has.
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    try:
        raise KeyError("of the program")
    except KeyError as error:
        sys.excepthook(KeyError, error, error.__traceback__)
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [event["level"] for event in events] == ["warning", "critical", "critical"]
    assert "two\nlines" in events[0]["msg"]
    assert [events[n]["exception"].splitlines()[-1] for n in (1, 2)] == [
        "ValueError: of a thread",
        "KeyError: 'of the program'",
    ]


def test_what_a_signal_handler_says_is_a_line_of_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    for is_json in (True, False):
        logs.configure(replace(SETTINGS, logs_json=is_json), "worker")
        logs.write_line("celery", "Warm shutdown")
    first, second = capfd.readouterr().err.splitlines()
    assert json.loads(first)["msg"] == "Warm shutdown"
    assert second.endswith("INFO worker celery: Warm shutdown")


def test_a_process_that_cannot_start_says_it_in_the_form_of_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    assert logs.start_error_line("api", "BROKER_URL: it is not set") == "ava: BROKER_URL: it is not set"
    monkeypatch.setenv("AVA_LOG_FORMAT", "JSON")
    event = json.loads(logs.start_error_line("api", "BROKER_URL: it is not set"))
    assert (event["process"], event["level"], event["msg"]) == ("api", "critical", "BROKER_URL: it is not set")


def test_a_name_that_is_no_setting_is_logged_at_the_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVA_DRAIN_SECOND", "300")
    logs.configure(SETTINGS, "worker")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("AVA_DRAIN_SECOND is not a setting and is ignored: did you mean AVA_DRAIN_SECONDS?")
