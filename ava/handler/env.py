"""What a handler gets beside its input."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

from ava.domain.jobs.job import Job
from ava.domain.record import make_record

__all__ = ["Env", "Secrets"]


class Secrets(Mapping[str, str]):
    """Secrets by name; neither `repr` nor `str` shows them."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = dict(secrets)

    def __getitem__(self, name: str) -> str:
        return self._secrets[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._secrets)

    def __len__(self) -> int:
        return len(self._secrets)

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self._secrets))})"


class Env(Mapping[str, str]):
    """The worker's configuration as a mapping, and the handler's access to its job.

    `env["KEY"]` is what the tenant has set, else what the platform has, else the variable `AVA_WORKER_<SLUG>_<KEY>` of
    the environment.
    """

    def __init__(
        self,
        *,
        config: Mapping[str, str],
        secrets: Mapping[str, str] | None = None,
        job: Job,
        log: logging.Logger,
        report: Callable[[float, str], None],
        is_cancelled: Callable[[], bool],
        traceparent: str | None = None,
    ) -> None:
        self._config = config
        #: The secrets that the tenant has set of this worker, by name. They are masked in the job's log, output and
        #: error.
        self.secrets = Secrets(secrets or {})
        self._report = report
        self._is_cancelled = is_cancelled
        #: Writes lines into the job's log.
        self.log = log
        self._job = job
        #: The value of W3C's header of this name. A request that carries it joins the job's trace; OpenTelemetry's
        #: own instrumentation adds it by itself. None if nothing is traced.
        self.traceparent = traceparent
        #: Which attempt this is, from 1.
        self.attempt = job.attempt

    @cached_property
    def job(self) -> dict[str, Any]:
        """Returns the job's record, as the API shows it."""
        return make_record(self._job)

    @property
    def cancelled(self) -> bool:
        """Returns True if the handler must stop, because of a cancel, its time-out or a shutdown."""
        return self._is_cancelled()

    def progress(self, fraction: float, message: str = "") -> None:
        """Report the progress, from 0 to 1, with a short message. Raises ValueError for any other number."""
        if not 0 <= fraction <= 1:
            raise ValueError(f"progress must be from 0 to 1, not {fraction!r}")
        self._report(float(fraction), str(message))

    def __getitem__(self, key: str) -> str:
        return self._config[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._config)

    def __len__(self) -> int:
        return len(self._config)
