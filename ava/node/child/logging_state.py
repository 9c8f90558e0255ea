"""The state of Python's logging that a handler may change, restored after each run.

Like `ProcessState` it keeps the promise that nothing of one run reaches the next. Handlers configure logging in
ordinary runs, so replacing their process would cost each of them a fork.
"""

from __future__ import annotations

import functools
import logging
import operator
from collections.abc import Callable
from typing import Any

from ava.node.runs.job_log import JobLog
from ava.node.runs.log_capture import JobLogger, LogCapture, log_runs_from_info

#: Module attributes that functions such as `setLoggerClass` set.
_GLOBALS = (
    *("_loggerClass", "_logRecordFactory", "_warnings_showwarning", "raiseExceptions", "lastResort"),
    *("logThreads", "logProcesses", "logMultiprocessing"),
)
_get_globals = operator.itemgetter(*_GLOBALS)
_get_level_names = operator.itemgetter("_levelToName", "_nameToLevel")
_get_classes = operator.attrgetter("loggerClass", "logRecordFactory")
#: The attributes of a logger that are restored.
_STATE = ("level", "disabled", "propagate", "handlers", "filters")
_get_logger_state = operator.itemgetter(*_STATE)
#: The state of an unchanged logger.
_NEW_LOGGER: tuple[Any, ...] = (logging.NOTSET, False, True, [], [])


class _Changes:
    """Whether a logger was created or changed since the last run.

    Comparing all loggers takes a tenth of a brief job, because their attributes are not in the processor's cache.
    """

    are_any = False


class _WatchedList(list[Any]):
    """A logger's handlers or filters, which loggers and programs change in place."""


def _watched(name: str) -> Callable[..., Any]:
    change = getattr(list, name)

    def changed(*given: Any) -> Any:
        _Changes.are_any = True
        return change(*given)

    return functools.wraps(change)(changed)


for _name in (
    *("append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse"),
    *("__setitem__", "__delitem__", "__iadd__", "__imul__"),
):
    setattr(_WatchedList, _name, _watched(_name))


def _set_attribute(logger: logging.Logger, name: str, value: Any) -> None:
    """Set an attribute of a logger, also of one that is being created."""
    if name in _STATE:
        _Changes.are_any = True
    object.__setattr__(logger, name, value)


class LoggingState:
    def __init__(self) -> None:
        manager = logging.root.manager
        self._root_handlers = list(logging.root.handlers)
        self._root_level = log_runs_from_info(self._root_handlers)
        self._disabled_level = manager.disable
        #: CPython's logging acquires these locks in Python code, so an interruption may leave them locked.
        self._locks: list[Any] = [logging._lock, *(it.lock for it in self._root_handlers)]  # type: ignore[attr-defined]
        self._globals = _get_globals(vars(logging))
        self._level_names = tuple(map(dict, _get_level_names(vars(logging))))
        self._classes = _get_classes(manager)
        self._job_logger = JobLogger.get()
        self._known = list(manager.loggerDict.values())
        self._loggers = [logging.root, *_loggers_in(self._known)]
        #: Faster to read than the loggers.
        self._logger_dicts = list(map(vars, self._loggers))
        # Copied, because loggers change the lists in place.
        self._logger_states = [
            (*plain, list(handlers), list(filters))
            for *plain, handlers, filters in map(_get_logger_state, self._logger_dicts)
        ]
        for attributes in self._logger_dicts:
            _watch(attributes)
        setattr(logging.Logger, "__setattr__", _set_attribute)  # noqa: B010 - mypy takes no method
        self._job_logger.capture = None
        attributes = vars(self._job_logger)
        self._job_logger_names = attributes.keys() | ()
        self._job_logger_attributes = {name: attributes[name] for name in ("name", "parent", "manager", "capture")}

    def begin(self, log: JobLog, is_foreign: Callable[[], bool]) -> logging.Logger:
        """Send log records to a run's log, except from threads where `is_foreign` returns True.

        Returns the handler's logger.
        """
        capture = self._job_logger.capture = LogCapture(log, is_foreign, self._root_handlers)
        vars(logging.root)["handlers"] = _WatchedList([capture])
        _set_level(logging.INFO)
        return self._job_logger

    def end(self) -> None:
        self._job_logger.capture = None

    def restore(self) -> None:
        """Restore what the run's handler changed, and reset loggers that it created."""
        for lock in self._locks:
            # The companion thread would wait for it forever.
            if lock is not None and lock._is_owned():
                lock._release_save()
        vars(logging.root)["handlers"] = _WatchedList(self._root_handlers)
        if _Changes.are_any:
            _Changes.are_any = False
            self._restore_loggers()
        self._restore_globals()
        self._restore_job_logger()

    def _restore_globals(self) -> None:
        manager = logging.root.manager
        _set_level(self._root_level)
        if manager.disable != self._disabled_level:
            logging.disable(self._disabled_level)
        if _get_globals(vars(logging)) != self._globals:
            vars(logging).update(zip(_GLOBALS, self._globals, strict=True))
        if _get_level_names(vars(logging)) != self._level_names:
            for names, own in zip(_get_level_names(vars(logging)), self._level_names, strict=True):
                names.clear()
                names.update(own)
        if _get_classes(manager) != self._classes:
            manager.loggerClass, manager.logRecordFactory = self._classes

    def _restore_loggers(self) -> None:
        # Compare the loggers, not their number: a logger may replace the placeholder of its children.
        if (known := list(logging.root.manager.loggerDict.values())) != self._known:
            self._add_loggers(known)
        for attributes, state in zip(self._logger_dicts, self._logger_states, strict=True):
            if _get_logger_state(attributes) != state:
                attributes.update(zip(_STATE, state, strict=True))
            _watch(attributes)
        # As a change of a level does.
        logging.root.manager._clear_cache()  # type: ignore[attr-defined]

    def _restore_job_logger(self) -> None:
        attributes = vars(self._job_logger)
        if len(attributes) != len(self._job_logger_names):
            for name in attributes.keys() - self._job_logger_names:
                del attributes[name]
        if not self._job_logger_attributes.items() <= attributes.items():
            attributes.update(self._job_logger_attributes)

    def _add_loggers(self, known: list[Any]) -> None:
        """Also restore loggers that were created during a run, because modules keep references to them."""
        before = set(map(id, self._loggers))
        made = [logger for logger in _loggers_in(known) if id(logger) not in before]
        self._loggers += made
        self._logger_dicts += map(vars, made)
        self._logger_states += [_NEW_LOGGER] * len(made)
        self._known = known


def _loggers_in(entries: list[Any]) -> list[logging.Logger]:
    return [it for it in entries if isinstance(it, logging.Logger)]


def _watch(attributes: dict[str, Any]) -> None:
    """Replace a logger's lists by watched ones, which are also copies of the lists in its state."""
    for name in ("handlers", "filters"):
        if type(attributes[name]) is not _WatchedList:
            attributes[name] = _WatchedList(attributes[name])


def _set_level(level: int) -> None:
    # Only if it differs, because setting a level clears the caches of all loggers.
    if logging.root.level != level:
        logging.root.setLevel(level)
