"""The queue of wakes: batches take tenants in equal shares, and jobs and events separately."""

from __future__ import annotations

from collections import Counter

from ava.store.jobs import wake_queue
from harness.api import Api

_BATCH = {"after_tenant": "", "limit": 1000, "max_tenants": 100}


def _fill(api: Api, kind: str, tenant: str, count: int) -> None:
    type_ = "'order.paid'" if kind == "event" else "NULL"
    api.execute(
        "INSERT INTO wakes (tenant_id, kind, source_id, event_type) "
        f"SELECT '{tenant}', '{kind}', ava_uuid7(), {type_} FROM generate_series(1, {count})"
    )


def _take(api: Api, after: str = "", *, limit: int = 1000) -> tuple[Counter[str], str]:
    with api.database.transaction() as connection:
        taken = wake_queue.take_jobs(connection, after_tenant=after, limit=limit)
    return Counter(tenant for tenant, _ in taken.jobs), taken.last_tenant


def test_tenants_get_equal_shares_of_a_batch_and_events_none_of_it(api: Api) -> None:
    _fill(api, "job", "ten_a", 5000)
    _fill(api, "job", "ten_b", 3)
    _fill(api, "event", "ten_b", 2000)
    _fill(api, "event", "ten_c", 2000)
    assert _take(api) == ({"ten_a": 333, "ten_b": 3}, "")
    assert _take(api) == ({"ten_a": 333}, "")
    api.execute("DELETE FROM wakes WHERE kind = 'event'")
    assert _take(api) == ({"ten_a": 1000}, "")


def test_a_batch_takes_the_oldest_and_what_another_transaction_has_locked_is_left_to_it(api: Api) -> None:
    _fill(api, "job", "ten_a", 5)
    numbers = [n for (n,) in api.execute("SELECT n FROM wakes ORDER BY n")]
    with api.database.transaction() as other:
        assert len(wake_queue.take_jobs(other, after_tenant="", limit=2).jobs) == 2
        assert _take(api, limit=2) == ({"ten_a": 2}, "")
        assert [n for (n,) in api.execute("SELECT n FROM wakes ORDER BY n")] == [*numbers[:2], numbers[4]]


def test_more_tenants_than_a_batch_has_follow_in_the_next_ones(api: Api) -> None:
    for number in range(150):
        _fill(api, "event" if number < 100 else "job", f"ten_{number:03}", 20)
    assert _take(api) == ({}, "ten_099"), "a page of tenants that have only events ends no walk"
    assert _take(api, "ten_099") == ({f"ten_{number:03}": 20 for number in range(100, 150)}, "")


def test_events_are_claimed_tenant_by_tenant_and_those_that_no_job_awaits_are_dropped(api: Api) -> None:
    for tenant in ("ten_a", "ten_c"):
        _fill(api, "event", tenant, 30)
    _fill(api, "job", "ten_b", 10)
    claimed, after = [], ""
    with api.database.transaction() as connection:
        while (wakes := wake_queue.claim_events(connection, after_tenant=after, limit=20)) is not None:
            claimed.append((wakes.tenant_id, len(wakes.event_ids)))
            after = wakes.tenant_id
        assert claimed == [("ten_a", 20), ("ten_c", 20)]
        assert wake_queue.drop_unawaited(connection, after_tenant="", limit=30) == ""
    assert api.execute("SELECT tenant_id, count(*) FROM wakes GROUP BY 1 ORDER BY 1") == [
        ("ten_a", 20),
        ("ten_b", 10),
        ("ten_c", 20),
    ]
    with api.database.transaction() as connection:
        wake_queue.drop_unawaited(connection, after_tenant="", limit=1000)
    assert api.execute("SELECT DISTINCT kind FROM wakes") == [("job",)]


def test_a_batch_reads_no_more_of_a_long_queue_and_of_many_waits_than_it_takes(api: Api) -> None:
    _fill(api, "job", "ten_a", 30_000)
    _fill(api, "event", "ten_b", 30_000)
    api.execute(
        "INSERT INTO job_journal (tenant_id, job_id, kind, name, attempt, state, value, match_key) "
        "SELECT 'ten_b', ava_uuid7(), 'event', 'order.paid', 1, 'waits', '{\"type\": \"order.sent\"}', ava_uuid7() "
        "FROM generate_series(1, 30000)"
    )
    for state in ("no statistics", "statistics"):
        if state == "statistics":
            api.execute("ANALYZE wakes; ANALYZE job_journal")
        for statement in (wake_queue._TAKE_JOBS, wake_queue._DROP_UNAWAITED, wake_queue._CLAIM_EVENTS):
            explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
            with api.database.transaction() as connection:
                plan = connection.exec_driver_sql(explained, _BATCH).scalar()
                connection.rollback()
            assert plan is not None
            assert plan[0]["Plan"]["Shared Hit Blocks"] < 6_000, (state, plan)
