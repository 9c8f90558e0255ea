"""Which workers the tasks of a Celery application become, and why a task is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from ava_celery import beat, entries, faults, load, workers
from ava_celery.exceptions import exception_of
from ava_celery.handler import TaskHandler, _is_redelivered
from ava_celery.results import as_json
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import Celery, Task
from celery.exceptions import Reject
from celery.result import AsyncResult
from celery.schedules import crontab, solar

from ava import testing
from ava.client.slugs import MAX_LENGTH, slug_of
from ava.domain.schedules.cron import parse_cron
from ava.handler import registry
from ava.handler.env import Env
from ava.handler.registry import Handler


@pytest.fixture
def app() -> Celery:
    app = Celery("of_a_test", broker="memory://", set_as_current=False)

    @app.task(name="t", shared=False)
    def t() -> None: ...

    return app


def test_a_slug_is_the_path_with_underscores_and_a_hash_where_it_is_cut() -> None:
    assert slug_of("shop.tasks.send") == "shop_tasks_send"
    assert slug_of("Shop.tasks.Send-mail") == "shop_tasks_send_mail"
    assert slug_of("1st.task") == "t_1st_task"
    assert slug_of("\udc80é") == "t_"
    exact, long = "a" * MAX_LENGTH, "shop.tasks." + "a" * 60
    assert slug_of(exact) == exact
    assert len(slug_of(long)) == MAX_LENGTH
    assert slug_of(long) != slug_of(f"{long}b")


def test_each_task_that_would_behave_otherwise_is_skipped_with_its_reason_and_the_fix() -> None:
    checked = load.check("tests.acceptance.celery_project.unfit:app", load.Selection())
    found = {name.rpartition(".")[2]: " ".join(map(str, faults)) for name, faults in checked.faults.items()}
    for name, part in {
        "pickled": "serializer='pickle', but arguments and results are JSON here; set serializer=\"json\"",
        "endless": "max_retries=None is unlimited, but here a job must end; set 0 to 25",
        "unlimited": "rate_limit='often' is no rate; set one such as",
        "waits_for_a_task": "page.get() waits for a task",
        "waits_for_a_group": "use a chain or a chord",
        "adds_to_its_chord": "self.add_to_chord() changes a chord that has begun; use self.replace",
        "long": "time_limit=7200; set above 0, and at most 3600 s",
        "awaited": "async def",
        "twice_named": "would both be wkr_twice_named; set another name=",
    }.items():
        assert part in found.pop(name)
    assert found == {}
    # Each application also has the shared tasks of every imported module.
    own = [task.name.rpartition(".")[2] for task in checked.workers if task.run.__module__.endswith(".unfit")]
    assert own == ["named", "fine", "limited", "replaces"]


def test_patterns_select_tasks(app: Celery) -> None:
    selection = load.Selection(only=("shop.*", "mail.send"), skip=("*.slow_?",))
    names = ("shop.a", "shop.slow_1", "shop.slow_10", "mail.send", "mail.sends", "t")
    assert [name for name in names if selection.includes(name)] == ["shop.a", "shop.slow_10", "mail.send"]


@pytest.mark.parametrize(
    ("given", "rate"),
    [(None, None), (0, None), ("100/m", "100/minute"), (5, "5/second"), ("2/h", "2/hour"), ("0.5/s", "1/2 seconds")],
)
def test_a_rate_limit_is_the_rate_of_the_worker(app: Celery, given: Any, rate: str | None) -> None:
    @app.task(shared=False, rate_limit=given)
    def limited() -> None: ...

    found = workers.spec_of(app, app.tasks[limited.name]).limits.rate
    assert (None if found is None else str(found)) == rate


def test_a_soft_limit_after_the_end_of_the_job_is_refused(app: Celery) -> None:
    @app.task(shared=False, soft_time_limit=4000)
    def long() -> None: ...

    @app.task(shared=False, soft_time_limit=4000, time_limit=60)
    def killed_before() -> None: ...

    (fault,) = faults.of_task(app, app.tasks[long.name])
    assert str(fault) == "soft_time_limit=4000, but the job ends after 3600 s; set less than 3600"
    assert faults.of_task(app, app.tasks[killed_before.name]) == []


def test_a_workers_options_are_those_of_its_task(app: Celery) -> None:
    app.conf.task_routes = {"*.safe": {"queue": "feeds"}}

    @app.task(shared=False, acks_late=True, reject_on_worker_lost=True, time_limit=60, max_retries=7, expires=90)
    def safe(a: int, b: int = 1, *, c: int = 2) -> None:
        """Does it."""

    @app.task(shared=False)
    def plain(*args: Any, **kwargs: Any) -> None: ...

    found = workers.spec_of(app, app.tasks[safe.name])
    assert (found.timeout_seconds, found.max_retries, found.expires_in_seconds, found.queue) == (60, 7, 90, "feeds")
    assert (found.on_worker_lost, found.description) == ("requeue", "Does it.")
    request = {"type": "object"}
    assert workers.input_schema(app.tasks[safe.name])["properties"] == {
        "args": {"type": "array", "maxItems": 2},
        "request": request,
        "kwargs": {"type": "object", "properties": {"a": True, "b": True, "c": True}, "additionalProperties": False},
    }
    other = workers.spec_of(app, app.tasks[plain.name])
    assert (other.timeout_seconds, other.max_retries, other.on_worker_lost) == (3600, 3, "fail")
    assert workers.input_schema(app.tasks[plain.name])["properties"] == {
        "args": {"type": "array"},
        "request": request,
        "kwargs": {"type": "object"},
    }


@pytest.mark.parametrize(
    ("given", "cron"),
    [
        (timedelta(minutes=1), "* * * * *"),
        (timedelta(minutes=15), "*/15 * * * *"),
        (3600, "0 * * * *"),
        (timedelta(hours=6), "0 */6 * * *"),
        (86_400.0, "0 0 * * *"),
        (crontab(minute="*/5", hour="8-18, 20", day_of_week=[5, 1]), "*/5 8-18,20 * * 1,5"),
        (crontab(0, 0, day_of_month="1,15"), "0 0 1,15 * *"),
        (crontab("55-5", "20-2/2", day_of_week="monday,Fri"), "0-5,55-59 0,2,20,22 * * 1,5"),
        (crontab("*/40", "*/99", day_of_week="sat-mon", month_of_year="jan-march"), "*/40 0 * 1-3 0,1,6"),
        (crontab(0, 0, day_of_month="1-31", day_of_week="mon-fri"), "0 0 * * 1-5"),
    ],
)
def test_an_entry_of_beat_has_its_pattern(app: Celery, given: Any, cron: str) -> None:
    app.conf.update(timezone="Europe/Berlin", beat_schedule={"e": {"task": "t", "schedule": given}})
    (entry,) = beat.entries(app)
    assert (entry.fault, entry.cron, entry.timezone, entry.worker_id) == (None, cron, "Europe/Berlin", "wkr_t")
    # The API takes it.
    parse_cron(entry.cron)


def _sunset() -> solar:
    """Returns a schedule without the package that its creation needs."""
    found = solar.__new__(solar)
    found.event = "sunset"
    return found


@pytest.mark.parametrize("given", [10, 10.0, timedelta(seconds=10)])
def test_an_entry_below_a_minute_is_an_interval(app: Celery, given: Any) -> None:
    app.conf.beat_schedule = {"e": {"task": "t", "schedule": given}}
    (entry,) = beat.entries(app)
    assert (entry.fault, entry.cron, entry.timezone, entry.every_seconds) == (None, None, None, 10)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"schedule": 0.5}, "below a minute an interval has whole seconds"),
        ({"schedule": _sunset()}, "solar('sunset') depends on the sun"),
        ({"schedule": 420}, "divides neither"),
        ({"schedule": crontab(0, 0, day_of_month=13, day_of_week=5)}, "together"),
        ({"schedule": 60, "task": "unknown"}, "no task 'unknown'"),
        ({"schedule": 60, "options": {"priority": 3}}, "priority"),
        ({"schedule": 60, "args": (timedelta(1),)}, "not JSON"),
        ({"schedule": 60, "options": {"queue": "other"}}, "queue 'other'"),
    ],
)
def test_an_entry_without_a_counterpart_says_why(app: Celery, given: dict[str, Any], reason: str) -> None:
    app.conf.beat_schedule = {"e": {"task": "t", **given}}
    (entry,) = beat.entries(app)
    assert entry.fault is not None
    assert reason in entry.fault


def test_a_result_becomes_json_as_celery_writes_it() -> None:
    when, id_ = datetime(2026, 1, 2, tzinfo=UTC), UUID(int=1)
    found = as_json({"at": when, 1: (Decimal("1.10"), id_), None: {2}})
    assert found == {"at": "2026-01-02T00:00:00+00:00", "1": ["1.10", str(id_)], "null": [2]}
    assert as_json(AsyncResult("b", parent=AsyncResult("a"))) == [["b", [["a", None], None]], None]


@pytest.fixture
def run(app: Celery, monkeypatch: pytest.MonkeyPatch) -> Callable[..., testing.Result]:
    """Runs a task as the handler of a job, without servers."""

    def run(task: Task, *args: Any, attempt: int = 1) -> testing.Result:
        spec, function = workers.spec_of(app, task), TaskHandler(app, task)
        handler = Handler(spec=spec, function=function, is_async=False, takes_env=True, retries=load.RETRIES)
        monkeypatch.setitem(registry._handlers, spec.id, handler)
        return testing.run(spec.id, {"args": list(args)}, attempt=attempt)

    return run


def test_a_retry_is_the_next_attempt_and_any_other_error_the_last(
    app: Celery, run: Callable[..., testing.Result]
) -> None:
    @app.task(bind=True, shared=False, max_retries=1)
    def fetch(self: Task, kind: str) -> None:
        if kind == "retry":
            raise self.retry(exc=OSError("down"), countdown=30)
        if kind == "other arguments":
            raise self.retry(args=("others",))
        if kind == "more retries":
            raise self.retry(max_retries=5)
        if kind == "late":
            raise self.retry(countdown=10**12)
        raise ValueError(kind)

    task = app.tasks[fetch.name]
    first, last = run(task, "retry"), run(task, "retry", attempt=2)
    assert (first.error, first.is_retried) == ("OSError: down", True)
    assert (last.error, last.is_retried) == ("OSError: down", False)
    failed = run(task, "no such page")
    assert (failed.error, failed.is_retried) == ("ValueError: no such page", False)
    for kind, reason in (
        ("other arguments", "retries with other arguments, but a job keeps its input"),
        ("more retries", "max_retries=5"),
        ("late", "too late"),
    ):
        refused = run(task, kind)
        assert (reason in str(refused.error), refused.is_retried) == (True, False), refused.error


def test_a_request_tells_the_priority_and_a_repeated_run(app: Celery) -> None:
    assert [entries.priority_of(app, entries._priority(app, given) or 0) for given in range(10)] == [*range(10)]
    # Runs 4 and 5 are the first and second attempt, and run 6 repeats the latter.
    runs = [(4, 1), (5, 2), (6, 2)]
    envs = [SimpleNamespace(_job=SimpleNamespace(first_run_no=4, run_no=no), attempt=attempt) for no, attempt in runs]
    assert [_is_redelivered(cast("Env", env)) for env in envs] == [False, False, True]


def test_autoretry_has_the_retries_and_the_countdown_of_its_retry_kwargs(
    app: Celery, run: Callable[..., testing.Result], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "celery.app.trace")

    @app.task(bind=True, shared=False, autoretry_for=(OSError,), retry_kwargs={"max_retries": 5, "countdown": 0})
    def more(self: Task, by_hand: bool) -> None:
        if by_hand:
            raise self.retry()
        raise OSError("down")

    @app.task(shared=False, autoretry_for=(OSError,), retry_kwargs={"max_retries": 1})
    def fewer() -> None:
        raise OSError("down")

    task = app.tasks[more.name]
    assert workers.spec_of(app, task).max_retries == 5
    tries = [run(task, False, attempt=attempt) for attempt in range(1, 7)]
    assert [(each.error, each.is_retried) for each in tries] == [("OSError: down", True)] * 5 + [
        ("OSError: down", False)
    ]
    assert "retry: Retry in 0s: OSError" in caplog.text
    # Those of the task itself, which Celery counts.
    assert [run(task, True, attempt=attempt).is_retried for attempt in (3, 4)] == [True, False]
    assert [run(app.tasks[fewer.name], attempt=attempt).is_retried for attempt in (1, 2)] == [True, False]


def test_the_retries_of_retry_kwargs_have_the_limit_of_all_retries(app: Celery) -> None:
    @app.task(shared=False, autoretry_for=(OSError,), retry_kwargs={"max_retries": 26})
    def endless() -> None: ...

    (fault,) = faults.of_task(app, app.tasks[endless.name])
    assert str(fault) == "retry_kwargs has max_retries=26; set 0 to 25"


def test_a_state_is_progress(app: Celery, run: Callable[..., testing.Result]) -> None:
    @app.task(bind=True, shared=False)
    def upload(self: Task) -> None:
        self.update_state(state="PROGRESS", meta={"current": 1, "total": 4})
        self.update_state(state="CUSTOM", meta={1: object})
        self.update_state(state="DONE")

    found = run(app.tasks[upload.name])
    assert found.progress[0] == (0.25, 'PROGRESS {"current": 1, "total": 4}')
    assert [fraction for fraction, _ in found.progress] == [0.25, 0.25, 0.25]
    assert found.progress[2][1] == "DONE"


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        ("ValueError: no such page", ValueError, "no such page"),
        ("KeyError: 'foo'", KeyError, "'foo'"),
        ("LookupError: ('a page', 3)", LookupError, "('a page', 3)"),
        ("Timeout: exceeded 1 s", TimeLimitExceeded, "TimeLimitExceeded(1.0,)"),
        ("WorkerLost: the worker process died (signal 9)", WorkerLostError, "the worker process died (signal 9)"),
        ("GiveUp: rejected: busy", Reject, "('busy', False)"),
        ("Unheard: of", Exception, "of"),
        ("UnicodeDecodeError: 'utf-8' codec", Exception, "'utf-8' codec"),
    ],
)
def test_the_error_of_a_job_is_an_exception_again(error: str, kind: type[BaseException], text: str) -> None:
    found = exception_of(error, None)
    assert isinstance(found, kind)
    assert str(found) == text
