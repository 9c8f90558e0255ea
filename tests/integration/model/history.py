"""One history: steps that a seed decides, each followed by the comparison of all rows with the model."""

from __future__ import annotations

import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ava.domain.jobs.job import RunKey
from ava.services.pulled_runs import SentOutcome
from ava.store.engine.database import Database
from tests.integration.model import state, transitions
from tests.integration.model.cast import NODES, WORKERS, World
from tests.integration.model.clock import VirtualClock, virtual_time
from tests.integration.model.driver import Driver
from tests.integration.model.expected import Expected, ModelError, compare
from tests.integration.model.oracle import Oracle
from tests.integration.model.recorder import Killed, Recorder
from tests.integration.model.run_driver import RunDriver
from tests.integration.model.state import JobState
from tests.integration.model.transitions import Run

#: The share of steps that are killed at a statement.
_KILLED_SHARE = 0.12
Choice = TypeVar("Choice")


class NotNow(Exception):
    """A rule has nothing to do in this state."""


#: A rule, the seed of its choices.
Step = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One kind of step."""

    name: str
    weight: float
    act: Callable[[History], None]


RULES: dict[str, Rule] = {}


def rule(weight: float = 1.0) -> Callable[[Callable[[History], None]], Callable[[History], None]]:
    """Add a function to the kinds of steps; it is chosen in proportion to its weight."""

    def add(act: Callable[[History], None]) -> Callable[[History], None]:
        RULES[act.__name__] = Rule(name=act.__name__, weight=weight, act=act)
        return act

    return add


@dataclass(kw_only=True)
class DebouncedJob:
    """What the model knows of a key: its job, and the last moment of its start in the history's seconds."""

    job_id: str
    latest: float | None


@dataclass(kw_only=True, eq=False)
class History:
    """The state of one history."""

    database: Database
    recorder: Recorder
    random: random.Random = field(default_factory=random.Random)
    #: The workers of most of its jobs: few, so that these meet.
    favourites: Sequence[str] = WORKERS
    world: World = field(default_factory=World)
    #: All jobs as they were after the last step.
    jobs: dict[str, JobState] = field(default_factory=dict)
    #: Every run that a process has asked for, whether it got it or not: each may write at any time.
    runs: list[Run] = field(default_factory=list)
    debounced: dict[tuple[str, str, str], DebouncedJob] = field(default_factory=dict)
    #: The tenant and the overlap of schedules by id.
    schedules: dict[str, tuple[str, str]] = field(default_factory=dict)
    #: The end that a worker has sent, and the status after it, of each run that was claimed over HTTP.
    pulled_ends: dict[RunKey, tuple[SentOutcome, str]] = field(default_factory=dict)
    #: What was done, for a person to read.
    lines: list[str] = field(default_factory=list)
    #: The pairs of worker and tenant whose status was ever set: the jobs of others are not looked at.
    paused_once: set[tuple[str, str]] = field(default_factory=set)
    may_kill: bool = True
    #: How often each rule had something to do.
    done: Counter[str] = field(default_factory=Counter)
    was_killed: bool = False

    def __post_init__(self) -> None:
        self.clock = VirtualClock()
        self.driver = Driver(self.database, self.clock)
        self.run_driver = RunDriver(self.database)
        self.oracle = Oracle(self)
        self._began = time.monotonic()

    @property
    def broker(self) -> Any:
        return self.driver.broker

    @property
    def now(self) -> float:
        """Returns the history's seconds."""
        return time.monotonic() - self._began + self.driver.offset.total_seconds()

    def begin(self) -> None:
        """Empty the database, announce the workers, and let all nodes join."""
        self.recorder.begin()
        self.driver.empty()
        for worker in self.world.workers.values():
            self.driver.announce(worker)
        for node_id in NODES:
            self.driver.join(node_id)

    def step(self, name: str, seed: int) -> bool:
        """Do one step. Returns False if there was nothing to do. Raises `ModelError`."""
        self.random = random.Random(seed)
        self.clock.now += 2.0
        self.lines.append(name)
        try:
            RULES[name].act(self)
        except NotNow:
            self.lines.pop()
            return False
        self.done[name] += 1
        return True

    def say(self, *facts: Any) -> None:
        """Add what was chosen to the line of this step."""
        self.lines[-1] += " " + " ".join(str(fact) for fact in facts)

    def act(
        self,
        expected: Expected,
        call: Callable[[], Any],
        *,
        can_be_killed: bool = True,
        raises: type[Exception] | tuple[type[Exception], ...] | None = None,
    ) -> Any:
        """Do what `call` does, and compare the rows with what is expected. Returns its result; `Killed` if it was.

        `raises`: the error, or one of the errors, with which it refuses.
        """
        kill_at = None
        if can_be_killed and self.may_kill and self.random.random() < _KILLED_SHARE:
            kill_at = self.random.choice([1, 1, 1, 2, 2, 3, 4, 6, 8])
        is_after = self.random.random() < 0.5
        self.recorder.begin(kill_at=kill_at, is_after=is_after)
        self.broker.sent.clear()
        result, was_killed = None, False
        error: BaseException | None = None
        try:
            result = call()
        except BaseException as failure:
            # What a killed process does afterwards fails in its own ways.
            if self.recorder.has_killed:
                was_killed = True
                self.say("KILLED", "after" if is_after else "before", kill_at)
            elif raises is None or not isinstance(failure, raises):
                raise
            else:
                error = failure
        step = list(self.recorder.step)
        if was_killed:
            self.recorder.begin()
            self.driver.bury()
        self.was_killed = was_killed
        self.recorder.begin()
        before, after = self.jobs, self.read()
        compare(before, after, expected, self.world, was_killed=was_killed)
        if raises is not None and error is None and not was_killed:
            raise ModelError(f"{raises} was not raised")
        self.jobs = after
        self.oracle.check_step(before, after, step, was_killed=was_killed)
        return Killed if was_killed else result

    def pass_time(self, seconds: float) -> None:
        """Time passes, and living nodes are seen."""
        self.say(f"{seconds} s later")

        def call() -> None:
            self.driver.pass_time(seconds)
            for node_id in self.world.living:
                self.driver.heartbeat(node_id)

        self.act(Expected(), call, can_be_killed=False)

    def read(self) -> dict[str, JobState]:
        with self.database.connect() as connection:
            return state.read(connection)

    def require(self, found: object, wanted: object, what: str) -> None:
        """Raises `ModelError` unless a call's answer is what the model says; a killed call has none."""
        if found is not Killed and found != wanted:
            raise ModelError(f"{what}: {found!r}, not {wanted!r}")

    # Choices -------------------------------------------------------------------------------------------------------

    def choose(self, among: Sequence[Choice]) -> Choice:
        if not among:
            raise NotNow
        return self.random.choice(among)

    def happens(self, share: float) -> bool:
        return self.random.random() < share

    def choose_job(self, condition: Callable[[JobState], bool] = lambda _: True) -> JobState:
        return self.choose([job for job in self.jobs.values() if condition(job)])

    def choose_run(
        self,
        condition: Callable[[Run], bool] = lambda _: True,
        *,
        stale_share: float = 0.25,
        twisted_share: float = 0.5,
    ) -> Run:
        """Returns a run that owns its job; sometimes any run, as of a process that comes back."""
        found = [run for run in self.runs if condition(run)]
        if self.happens(stale_share):
            # Most of them are of a job that another run owns.
            rivals = [run for run in found if (job := self.jobs.get(run.job_id)) and job.is_running]
            return self.twist(self.choose(rivals if self.happens(0.7) else found), share=twisted_share)
        return self.choose([run for run in found if self.owns(run)])

    def owns(self, run: Run) -> bool:
        """Returns True if a run owns its job."""
        job = self.jobs.get(run.job_id)
        return job is not None and transitions.owns(job, run)

    def twist(self, run: Run, *, share: float) -> Run:
        """Returns a run, or in some cases one with another number, node or claim, as after a lossy failover."""
        if not self.happens(share):
            return run
        number, node = run.run_no + self.random.choice([-1, 1]), self.random.choice(list(NODES))
        return self.random.choice(
            [
                replace(run, key=run.key._replace(run_no=number)),
                replace(run, node=node),
                replace(run, claim=self.new_uuid()),
                replace(run, claim=self.new_uuid()),
            ]
        )

    def job_id(self, uuid: str) -> str:
        return state.job_id(uuid)

    def job_of(self, run: Run) -> JobState | None:
        return self.jobs.get(run.job_id)

    def new_uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128)))


@contextmanager
def one_history(database: Database, recorder: Recorder, favourites: Sequence[str]) -> Iterator[History]:
    """A history in an empty database."""
    history = History(database=database, recorder=recorder, favourites=favourites)
    with virtual_time(history.clock):
        try:
            history.begin()
            yield history
        finally:
            history.driver.close()
