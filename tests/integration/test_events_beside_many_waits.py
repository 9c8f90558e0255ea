"""Events beside many jobs that wait: which waits an event is compared with, in bounded transactions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from ava.domain import ids
from ava.domain.events.awaited import pattern_key
from ava.services.events import awaiting_jobs
from ava.services.events.awaiting_jobs import AwaitingJobs
from ava.store.events import awaited
from harness.api import Api
from tests.integration.test_event_waits import EVENTS, PAID, Waiters

pytest_plugins = ["tests.integration.test_event_waits"]


def _copy(api: Api, job_id: str, matches: Sequence[Any]) -> None:
    """Insert as many waiting jobs like one, each with a pattern of its own."""
    uuid = str(ids.decode("job", job_id))
    columns = [row[0] for row in api.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'jobs'::regclass AND attnum > 0 AND NOT attisdropped "
        "AND attname <> 'id' AND attidentity = ''"
    )]  # fmt: skip
    names = ", ".join(columns)
    values = [json.dumps({"type": PAID, "match": match}) for match in matches]
    keys = [str(pattern_key(match)) for match in matches]
    with api.database.connect() as connection:
        connection.exec_driver_sql(
            f"""
WITH new AS (
    SELECT ava_uuid7() AS id, v.* FROM unnest(%(values)s::text[], %(keys)s::uuid[]) AS v (value, match_key)
), copies AS (
    INSERT INTO jobs (id, {names}) SELECT new.id, {", ".join(f"j.{name}" for name in columns)}
    FROM jobs AS j, new WHERE j.id = '{uuid}'
), waits AS (
    INSERT INTO job_waits (tenant_id, job_id, run_no, condition, waiting_for)
    SELECT w.tenant_id, new.id, w.run_no, w.condition, w.waiting_for FROM job_waits AS w, new WHERE w.job_id = '{uuid}'
)
INSERT INTO job_journal (tenant_id, job_id, kind, name, attempt, state, value, match_key)
SELECT 'ten_test', id, 'event', '{PAID}', 1, 'waits', value::json, match_key FROM new
""",
            {"values": values, "keys": keys},
        )
    api.execute("ANALYZE")


def _startable(api: Api) -> int:
    (row,) = api.execute("SELECT count(*) FROM jobs WHERE status = 'queued' AND waits_for IS NULL")
    return int(row[0])


class _Compared:
    """Counts the waits that transactions read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pages: list[int] = []
        read = awaited.waits

        def count(*args: Any, **options: Any) -> list[Any]:
            found = read(*args, **options)
            self.pages.append(len(found))
            return found

        monkeypatch.setattr(awaited, "waits", count)


def test_events_read_the_waits_for_their_exact_values_and_no_others(
    waiters: Waiters, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = waiters.waiting({"data": {"n": [-1]}})
    _copy(waiters.api, job_id, [{"data": {"n": [n]}} for n in range(2_500)])
    # Other paths, other rules, and none.
    _copy(waiters.api, job_id, [{"data": {"m": [n], "n": [3, 4]}} for n in range(500)])
    _copy(waiters.api, job_id, [{"data": {"n": [{"numeric": ["=", 5_000 + n]}]}} for n in range(5)])
    compared = _Compared(monkeypatch)
    waiters.send(3, 2_400, 1_200, 5_002, 9_999)
    waiters.send(3, type_="order.sent")
    waiters.wake()
    assert _startable(waiters.api) == 4
    assert waiters.count("wakes") == 0
    assert compared.pages == [3 + 5]


_MATCHING: list[tuple[Any, Any]] = [
    ({"data": {"n": [1]}}, {"n": 1.0}),
    ({"data": {"n": [None]}}, {"n": None}),
    ({"data": {"lines": {"sku": ["b"], "n": [2]}}}, {"lines": [{"sku": "a", "n": 2}, {"sku": "b", "n": 2}]}),
    ({"data": {"lines": {"sku": ["s499"]}}}, {"lines": [{"sku": f"s{n}"} for n in range(500)]}),
    ({"data": {"a": ["x19"], "b": ["x19"]}}, {key: [f"x{n}" for n in range(20)] for key in "ab"}),
    ({"type": [PAID], "data": {"a": {"b.c": ["ä"]}}}, {"a": {"b.c": "ä"}}),
]


def test_whatever_matches_is_found(waiters: Waiters) -> None:
    for match, data in _MATCHING:
        job_id = waiters.waiting(match)
        assert waiters.api.post(EVENTS, json={"type": PAID, "data": {"other": 1}}).status_code == 201
        waiters.wake()
        assert not waiters.continues(job_id), match
        assert waiters.api.post(EVENTS, json={"type": PAID, "data": data}).status_code == 201
        waiters.wake()
        assert waiters.continues(job_id), match


@pytest.mark.parametrize("paths", [1, 40])
def test_waits_beyond_one_transaction_follow_in_the_next_ones(
    waiters: Waiters, monkeypatch: pytest.MonkeyPatch, paths: int
) -> None:
    """Both the waits of one key and the lists of exact paths are more than a transaction reads."""
    job_id = waiters.waiting({"data": {"n": [-1]}})
    _copy(waiters.api, job_id, [{"data": {f"p{n % paths}": [7], "n": [{"numeric": [">", n]}]}} for n in range(100)])
    compared = _Compared(monkeypatch)
    service = AwaitingJobs(max_waits=10)
    event = {"type": PAID, "data": {f"p{n}": 7 for n in range(paths)} | {"n": 50}}
    assert waiters.api.post(EVENTS, json=event).status_code == 201
    marked: list[tuple[str, str]] = []
    found: list[tuple[str, str]] | None = []
    while found is not None:
        with waiters.api.database.transaction() as connection:
            found = service.run_next(connection)
            marked += found or ()
    assert len(marked) == len(set(marked)) == 50
    assert sum(compared.pages) == 100
    assert max(compared.pages) <= 10
    assert waiters.count("wakes WHERE kind = 'event'") == 0


def test_a_transaction_ends_once_its_budget_of_comparisons_is_used(
    waiters: Waiters, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = waiters.waiting({"data": {"n": [{"numeric": [">", 0]}]}})
    _copy(waiters.api, job_id, [{"data": {"n": [{"numeric": [">", n]}]}} for n in range(50)])
    monkeypatch.setattr(awaiting_jobs, "_MAX_SECONDS", -1.0)
    waiters.send(100)
    service = AwaitingJobs()
    sizes: list[int] = []
    found: list[tuple[str, str]] | None = []
    while found is not None:
        with waiters.api.database.transaction() as connection:
            found = service.run_next(connection)
        sizes += [len(found)] if found else []
    assert sizes == [1] * 51, "each transaction compares the waits of one job at least"
    assert waiters.count("wakes WHERE kind = 'event'") == 0


def test_an_event_that_was_found_for_a_pattern_is_not_written_into_its_successor(
    waiters: Waiters, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run, claim_id = waiters.begin()
    waiters.register(run, claim_id, {"data": {"n": [1]}})
    waiters.send(1)
    mark = awaited.mark

    def mark_later(*args: Any) -> list[tuple[str, str]]:
        waiters.register(run, claim_id, {"data": {"n": [2]}})
        return mark(*args)

    monkeypatch.setattr(awaited, "mark", mark_later)
    waiters.wake()
    (entry,) = waiters.load(run, claim_id).entries
    assert entry.event_id is None


def test_no_event_of_one_tenant_delays_jobs_of_another_or_jobs_that_wait_for_children(
    waiters: Waiters, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = waiters.waiting({"data": {"n": [-1]}})
    _copy(waiters.api, job_id, [{"data": {"n": [{"numeric": [">", n]}]}} for n in range(2_000)])
    jobs = waiters.declare(a={}, b={"after": ["a"]})
    waiters.send(*[-1] * 500)
    transactions = 0
    run_next = AwaitingJobs.run_next

    def count(self: AwaitingJobs, *args: Any) -> Any:
        nonlocal transactions
        transactions += 1
        # The first batch of jobs was followed before the first event.
        assert waiters.continues(jobs["b"])
        return run_next(self, *args)

    monkeypatch.setattr(AwaitingJobs, "run_next", count)
    waiters.finish(jobs["a"])
    assert transactions
