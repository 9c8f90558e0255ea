"""Retry rules: the retried errors of a handler, and the delays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ava.domain.jobs.retry import DEFAULT, Retry
from ava.errors import HandlerError
from ava.handler.errors import GiveUp

ErrorTypes = type[BaseException] | Iterable[type[BaseException]]


class NextAttempt(Exception):
    """The attempt failed, and the handler sets the delay of the next one, as Celery tasks do."""

    def __init__(self, seconds: float, error: BaseException, reason: str) -> None:
        super().__init__(reason)
        self.seconds = seconds
        #: The job's error if no other attempt follows.
        self.error = error


@dataclass(frozen=True, kw_only=True)
class RetryRules:
    """A worker's declared retry rules."""

    delays: Retry = DEFAULT
    #: The retried errors, including subclasses; None: all.
    retry_on: tuple[type[BaseException], ...] | None = None
    give_up_on: tuple[type[BaseException], ...] = ()

    def with_delays(self, delays: Retry | None) -> RetryRules:
        """Return these rules with a tenant's delays; None: unchanged."""
        return self if delays is None else replace(self, delays=delays)

    def allow(self, error: BaseException) -> bool:
        """Return True if another attempt may follow the error."""
        if isinstance(error, (GiveUp, *self.give_up_on)):
            return False
        return self.retry_on is None or isinstance(error, self.retry_on)

    def delay_seconds(self, error: BaseException, *, attempt: int, draw: float) -> float:
        """Return the seconds until the attempt after the given one; `draw` (0 to 1) decides the jitter."""
        if isinstance(error, NextAttempt):
            return error.seconds
        return self.delays.delay_seconds(attempt=attempt, draw=draw)


USUAL = RetryRules()


def read(slug: str, *, max_retries: int | None, retry: Any, retry_on: Any, give_up_on: Any) -> tuple[int, RetryRules]:
    """Return a worker's max retries and its rules. Raise `HandlerError` for an invalid declaration."""
    if retry is not None and not isinstance(retry, Retry):
        raise HandlerError(f"Worker {slug!r}: retry must be an ava.Retry, such as ava.Retry(max=3).")
    if retry is not None and max_retries is not None:
        raise HandlerError(f"Worker {slug!r}: max_retries is the short form of retry; set only one.")
    rules = RetryRules(
        delays=retry or DEFAULT,
        retry_on=None if retry_on is None else _types(slug, "retry_on", retry_on),
        give_up_on=() if give_up_on is None else _types(slug, "give_up_on", give_up_on),
    )
    return (max_retries or 0) if retry is None else retry.max, rules


def _types(slug: str, name: str, given: Any) -> tuple[type[BaseException], ...]:
    found = (given,) if isinstance(given, type) else tuple(given) if isinstance(given, Iterable) else (given,)
    for each in found:
        if not isinstance(each, type) or not issubclass(each, BaseException):
            raise HandlerError(f"Worker {slug!r}: {name} must name exception classes, not {each!r}.")
    return found
