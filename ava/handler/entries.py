"""A journal's entries for one run: by name, each name used once, including entries that the run adds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ava.domain.jobs.waits import MAX_ALL_STEPS_BYTES, MAX_STEPS, VALUED, JournalEntry, JournalKind, LoadedJournal
from ava.handler.call_arguments import check_earlier_names, check_name
from ava.handler.errors import DuplicateName, StepError


class JournalEntries:
    def __init__(
        self,
        journal: LoadedJournal,
        *,
        on_caught_up: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.monotonic,
        loaded_at: float | None = None,
    ) -> None:
        """`on_caught_up` is called when the run gets the last entry, or writes its first.

        `now` is a clock in seconds; `loaded_at`: when the journal was loaded, by that clock. None: now.
        """
        self._found = {(entry.kind, entry.name): entry for entry in journal.entries}
        self._last_n = max((entry.n for entry in journal.entries), default=None)
        self._on_caught_up = on_caught_up
        self._now = now
        self._loaded_at = now() if loaded_at is None else loaded_at
        self._used: set[tuple[JournalKind, str]] = set()
        values = [entry for entry in journal.entries if entry.kind in VALUED]
        self._values, self._values_bytes = len(values), sum(len(entry.value_json or "") for entry in values)

    def find(self, kind: JournalKind, name: str, was: Sequence[str]) -> JournalEntry | None:
        """Return the entry with the name, or with an earlier name.

        Raise `DuplicateName`, `TypeError`, `ValueError`.
        """
        check_earlier_names(was)
        self._use_name(kind, name)
        found = self._found.get((kind, name))
        for earlier in was:
            if found is None and (found := self._found.get((kind, earlier))) is not None:
                self._use_name(kind, earlier)
        if found is not None and found.n == self._last_n:
            self._on_caught_up()
        return found

    def _use_name(self, kind: JournalKind, name: str) -> None:
        check_name(name)
        if (kind, name) in self._used:
            raise DuplicateName(f"Two calls of this run have the name {name!r}; give one call another key=.")
        self._used.add((kind, name))

    def seconds_left(self, found: JournalEntry) -> float:
        """Return the seconds until a sleep or wait ends, negative if it has."""
        return (found.until_in_seconds or 0.0) - (self._now() - self._loaded_at)

    def add_value(self) -> None:
        """Count one more step or event. Raise `StepError` if the journal is full."""
        self._values += 1
        if self._values > MAX_STEPS:
            raise StepError(f"A job has at most {MAX_STEPS:,} steps and events (limit steps)")

    def add_bytes(self, json_string: str) -> None:
        """Count the serialized result of a step, or an event. Raise `StepError` if the journal is full."""
        self._values_bytes += len(json_string)
        if self._values_bytes > MAX_ALL_STEPS_BYTES:
            size = f"{MAX_ALL_STEPS_BYTES:,} bytes of JSON"
            raise StepError(f"All steps and events of a job together may have at most {size} (limit all_steps_bytes)")

    def catch_up(self) -> None:
        """End the replay of earlier runs, because the run writes an entry or waits."""
        self._on_caught_up()
