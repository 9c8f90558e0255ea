"""What a handler changes in Python's logging is undone, also for loggers that it makes."""

# Printing is what is tested.
# ruff: noqa: T201

from __future__ import annotations

import logging
import logging.handlers
import sys
import warnings
from collections.abc import Callable

import pytest

from ava.domain.jobs.job import LogLevel
from tests.unit.process_states import NewState, run


def test_a_logger_that_a_handler_made_keeps_nothing_of_it(new_state: NewState) -> None:
    def handler() -> None:
        # The logger takes the place of the placeholder that its child has made before.
        for name in ("vendor_a", "vendor_a.http", "vendor_b"):
            logger = logging.getLogger(name)
            logger.addHandler(logging.handlers.MemoryHandler(2, target=logging.StreamHandler(sys.stdout)))
            logger.addFilter(lambda _record: False)
            logger.setLevel(logging.CRITICAL)
        logger = logging.getLogger("vendor_a.http")
        logger.filters.clear()
        logger.setLevel(logging.INFO)
        logger.info("secret of A")
        logger.propagate = False
        logger.disabled = True

    def log() -> None:
        for name in ("vendor_a", "vendor_a.http", "vendor_b"):
            logging.getLogger(name).info("logged by %s", name)

    logging.getLogger("vendor_a.child")
    state = new_state()
    said = [(LogLevel.INFO, f"logged by {name}") for name in ("vendor_a", "vendor_a.http", "vendor_b")]
    for _ in range(2):
        run(state, handler)
        assert run(state, log) == said


_CHANGES: dict[str, Callable[[logging.Logger], object]] = {
    "a handler": lambda it: it.addHandler(logging.NullHandler()),
    "no handler": lambda it: it.handlers.clear(),
    "another handler": lambda it: it.handlers.__setitem__(slice(0, 1), [logging.StreamHandler()]),
    "more handlers": lambda it: it.handlers.__iadd__([logging.NullHandler()]),
    "another list": lambda it: setattr(it, "handlers", [logging.NullHandler()]),
    "a filter": lambda it: it.filters.insert(0, lambda _record: False),
    "its level": lambda it: it.setLevel(logging.CRITICAL),
    "no propagation": lambda it: setattr(it, "propagate", False),
    "switched off": lambda it: setattr(it, "disabled", True),
}


@pytest.mark.parametrize("change", _CHANGES.values(), ids=_CHANGES)
def test_each_change_of_a_known_logger_is_undone_in_each_run(
    new_state: NewState, change: Callable[[logging.Logger], object]
) -> None:
    logger, own = logging.getLogger("vendor_c"), logging.NullHandler()
    logger.addHandler(own)
    state = new_state()
    for _ in range(2):
        run(state, lambda: change(logger))
        assert (logger.handlers, logger.filters) == ([own], [])
        assert (logger.level, logger.propagate, logger.disabled) == (logging.NOTSET, True, False)
        assert run(state, lambda: logger.info("logged")) == [(LogLevel.INFO, "logged")]
    logger.removeHandler(own)


def test_what_all_loggers_share_is_restored(new_state: NewState) -> None:
    class OtherRecord(logging.LogRecord):
        pass

    class OtherLogger(logging.Logger):
        pass

    def handler() -> None:
        logging.setLogRecordFactory(OtherRecord)
        logging.setLoggerClass(OtherLogger)
        logging.root.manager.setLoggerClass(OtherLogger)
        logging.root.manager.setLogRecordFactory(OtherRecord)
        logging.raiseExceptions = False
        logging.addLevelName(logging.INFO, "SECRET")
        logging.addLevelName(25, "NOTICE")
        logging.lastResort = None
        logging.root.addFilter(lambda _record: False)
        logging.root.disabled = True
        logging.captureWarnings(True)

    def shared() -> list[object]:
        manager = logging.root.manager
        return [
            logging.getLogRecordFactory(), logging.getLoggerClass(), manager.loggerClass, manager.logRecordFactory,
            logging.raiseExceptions, logging.getLevelName(logging.INFO), logging.getLevelName(25), logging.lastResort,
            logging.getLevelNamesMapping(), list(logging.root.filters), logging.root.disabled,
            logging._warnings_showwarning, warnings.showwarning,  # type: ignore[attr-defined]
        ]  # fmt: skip

    state = new_state()
    before = shared()
    run(state, handler)
    assert shared() == before


def test_attributes_of_the_job_s_logger_and_of_the_streams_are_gone(new_state: NewState) -> None:
    def handler() -> None:
        logger = logging.getLogger("ava.job")
        logger.token = "secret"  # type: ignore[attr-defined]
        logger.info = lambda *_: None  # type: ignore[method-assign]
        logger.parent = None
        sys.stdout.write = sys.stderr.write = lambda _text: 0  # type: ignore[method-assign]

    def say() -> None:
        logger = logging.getLogger("ava.job")
        assert not hasattr(logger, "token")
        logger.info("logged")
        print("printed")
        print("to stderr", file=sys.stderr)

    state = new_state()
    run(state, handler)
    assert run(state, say) == [(LogLevel.INFO, "logged"), (LogLevel.INFO, "printed"), (LogLevel.WARN, "to stderr")]
