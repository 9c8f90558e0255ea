"""Runs histories, and finds a short one that fails as well."""

from __future__ import annotations

import random
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ava.store.engine.database import Database
from tests.integration.model import (
    client_rules,
    duty_rules,
    end_rules,
    event_rules,
    graph_rules,
    journal_rules,
    pull_rules,
    run_rules,
    schedule_rules,
    setting_rules,
)
from tests.integration.model.cast import RATED, WORKERS
from tests.integration.model.healing import heal
from tests.integration.model.history import RULES, History, Step, one_history
from tests.integration.model.recorder import Recorder

#: The modules that add their steps to `RULES`.
_STEPS = (
    client_rules,
    duty_rules,
    run_rules,
    end_rules,
    graph_rules,
    event_rules,
    journal_rules,
    pull_rules,
    schedule_rules,
    setting_rules,
)
STEPS_PER_HISTORY = 100
#: The workers of most jobs of one history, beside one with a rate.
_FAVOURITES = 2
#: Whole records are compared after so many steps, because that reads all rows and logs.
_RECORDS_EVERY = 20


@dataclass(kw_only=True)
class Failure:
    """A history that fails."""

    seed: int
    steps: Sequence[Step]
    lines: Sequence[str]
    #: How many steps the history had before it was shortened.
    found_after: int
    message: str

    def __str__(self) -> str:
        lines = "\n".join(f"  {number:3} {line}" for number, line in enumerate(self.lines, 1))
        return (
            f"history {self.seed} fails after {self.found_after} steps; these {len(self.lines)} are enough:\n{lines}\n"
            f"{self.message}\nmake model ARGS='--seed {self.seed} --histories 1' repeats it"
        )


@dataclass(kw_only=True)
class Runner:
    """Runs histories in one database."""

    database: Database
    recorder: Recorder
    steps_per_history: int = STEPS_PER_HISTORY
    #: Seconds for which a failing history is shortened.
    shorten_seconds: float = 30.0
    done: Counter[str] = field(default_factory=Counter)
    histories: int = 0

    def run(self, seed: int) -> Failure | None:
        """Run the history of a seed. Returns a short failure, or None."""
        chosen = random.Random(seed)
        names = list(RULES)
        weights = [RULES[name].weight for name in names]
        # Many have nothing to do.
        max_rules = 4 * self.steps_per_history
        wanted = [(chosen.choices(names, weights)[0], chosen.getrandbits(48)) for _ in range(max_rules)]
        favourites = [chosen.choice(RATED), *chosen.sample(WORKERS, _FAVOURITES)]
        steps, lines, error = self._follow(wanted, favourites)
        self.histories += 1
        if error is None:
            return None
        failure = Failure(seed=seed, steps=steps, lines=lines, found_after=len(lines), message=error)
        return self._shorten(failure, favourites) if self.shorten_seconds else failure

    def _follow(
        self, wanted: Sequence[Step], favourites: Sequence[str]
    ) -> tuple[list[Step], Sequence[str], str | None]:
        """Do steps, until enough had something to do. Returns them all, the lines of those, and what failed."""
        steps: list[Step] = []
        with one_history(self.database, self.recorder, favourites) as history:
            try:
                for step in wanted:
                    if len(history.lines) == self.steps_per_history:
                        break
                    steps.append(step)
                    if history.step(*step) and len(history.lines) % _RECORDS_EVERY == 0:
                        history.oracle.check_records()
                self._end(history)
            except Exception as error:
                return steps, history.lines, _describe(error)
            finally:
                self.done += history.done
        return steps, history.lines, None

    def _end(self, history: History) -> None:
        history.oracle.check_records()
        history.lines.append("heal")
        heal(history)
        history.oracle.check_records()
        history.lines.pop()

    def _shorten(self, failure: Failure, favourites: Sequence[str]) -> Failure:
        """Leave steps out as long as the history fails."""
        ends = time.monotonic() + self.shorten_seconds
        _, lines, message = self._follow(failure.steps, favourites)
        if message is None:
            return replace(failure, message=f"{failure.message}\n(it did not fail when it was repeated)")
        best = list(failure.steps)
        size = max(1, len(best) // 2)
        while time.monotonic() < ends:
            start, is_shorter = 0, False
            while start < len(best) and time.monotonic() < ends:
                steps, new_lines, failed = self._follow(best[:start] + best[start + size :], favourites)
                if failed is not None:
                    best, lines, message, is_shorter = steps, new_lines, failed, True
                else:
                    start += size
            if size == 1 and not is_shorter:
                break
            size = max(1, size // 2)
        return replace(failure, steps=best, lines=list(lines), message=message)


def _describe(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-6:]
    frames = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(last))
    return f"{type(error).__name__}: {error}\n  at {frames}"
