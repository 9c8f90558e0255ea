"""The processes' own logs: text or JSON, one event a line whatever the message holds."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from ava import logs
from ava import settings as settings_module
from ava.settings import Settings

SETTINGS = settings_module.load({"DATABASE_URL": "postgresql://u:p4ss@db/ava", "BROKER_URL": "redis://:p4ss@broker"})


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


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


def test_a_text_line_ends_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = _lines(capsys, SETTINGS, "An attempt ended.", job_id="job_1", tenant_id="ten_1")
    assert line.endswith("INFO worker ava.tests: An attempt ended. (job_id=job_1 tenant_id=ten_1)")


def test_the_level_is_a_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert _lines(capsys, replace(SETTINGS, log_level="WARNING"), "Nothing new.") == []


def test_settings_can_be_logged_without_their_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = _lines(capsys, SETTINGS, repr(SETTINGS))
    assert "p4ss" not in line
