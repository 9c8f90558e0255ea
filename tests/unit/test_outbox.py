"""The outbox of an application: what its transaction writes, and what the relay sends of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, MetaData, create_engine, select
from sqlalchemy.orm import Session

from ava.client import ApiConflict, ApiError, ApiNotFound, ApiRefused, ApiUnavailable
from ava.client.outbox import Relay, new_row
from ava.client.outbox.sqlalchemy import Outbox

HOUR = 3600.0


@dataclass
class FakeClient:
    """An API that keeps a job for each idempotency key, and fails where a test asks for it."""

    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    #: How many entries each bulk has had.
    bulks: list[int] = field(default_factory=list)
    #: What the next triggers raise: before the job is made, or after.
    failures: list[BaseException] = field(default_factory=list)
    lost_answers: list[BaseException] = field(default_factory=list)

    @property
    def jobs(self) -> FakeClient:
        return self

    def trigger(self, worker_id: str, input: Any = None, *, idempotency_key: str, **options: Any) -> None:
        self.calls.append(idempotency_key)
        if self.failures:
            raise self.failures.pop(0)
        self.made.setdefault(idempotency_key, {"worker_id": worker_id, "input": input, **options})
        if self.lost_answers:
            raise self.lost_answers.pop(0)

    def trigger_many(self, entries: list[dict[str, Any]]) -> None:
        """Make jobs, all or none, unless something fails: it fails again for the entry to blame alone."""
        self.bulks.append(len(entries))
        if self.failures:
            raise self.failures[0]
        for entry in entries:
            self.made.setdefault(entry["idempotency_key"], {k: v for k, v in entry.items() if k != "idempotency_key"})
        if self.lost_answers:
            raise self.lost_answers[0]

    def list(self, *, tags: dict[str, str], per_page: int) -> Iterator[Any]:
        return iter([job for job in self.made.values() if job["tags"]["outbox"] == tags["outbox"]])


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'application'}")
    yield engine
    engine.dispose()


@pytest.fixture
def outbox(engine: Engine) -> Outbox:
    metadata = MetaData()
    outbox = Outbox(metadata)
    metadata.create_all(engine)
    return outbox


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def relay(client: FakeClient, outbox: Outbox, engine: Engine) -> Relay:
    return Relay(client, outbox.on(engine))  # type: ignore[arg-type]


def _add(outbox: Outbox, engine: Engine, number: int, **options: Any) -> str:
    with Session(engine) as session, session.begin():
        return outbox.trigger(session, "wkr_receipt", {"order": number}, **options)


def _rows(outbox: Outbox, engine: Engine) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(select(outbox.table)).mappings()]


def test_a_row_is_there_when_the_transaction_commits_and_gone_when_it_rolls_back(
    outbox: Outbox, engine: Engine, client: FakeClient, relay: Relay
) -> None:
    with Session(engine) as session:
        outbox.trigger(session, "wkr_receipt", {"order": 1})
        session.rollback()
    id_ = _add(outbox, engine, 2, priority=2, tags={"team": "a"}, scheduled_at="2030-01-01T00:00:00Z")
    with engine.begin() as connection:
        connection.execute(outbox.statement("wkr_other"))
    assert relay.run_once(0) == 2
    first, second = client.made.values()
    assert first == {
        "worker_id": "wkr_receipt",
        "input": {"order": 2},
        "priority": 2,
        "tags": {"team": "a", "outbox": id_},
        "scheduled_at": "2030-01-01T00:00:00Z",
    }
    assert second["worker_id"] == "wkr_other"
    assert _rows(outbox, engine) == []
    assert relay.run_once(0) == 0


def test_rows_are_sent_in_their_order(outbox: Outbox, engine: Engine, client: FakeClient, relay: Relay) -> None:
    for number in range(5):
        _add(outbox, engine, number)
    relay.run_once(0)
    assert [job["input"]["order"] for job in client.made.values()] == [0, 1, 2, 3, 4]
    assert (client.bulks, client.calls) == ([5], [])


def test_rows_are_sent_together_as_far_as_their_bytes_allow(
    outbox: Outbox, engine: Engine, client: FakeClient, relay: Relay
) -> None:
    with Session(engine) as session, session.begin():
        for number in range(150):
            outbox.trigger(session, "wkr_receipt", {"order": number, "text": "x" * (900_000 if number < 5 else 1)})
    assert (relay.run_once(0), relay.run_once(0), relay.run_once(0)) == (100, 50, 0)
    assert (client.bulks, client.calls) == ([2, 2, 96, 50], [])
    assert (len(client.made), _rows(outbox, engine)) == (150, [])


def test_rows_whose_common_answer_was_lost_are_one_job_each(
    outbox: Outbox, engine: Engine, client: FakeClient, relay: Relay
) -> None:
    ids = [_add(outbox, engine, number) for number in range(3)]
    client.lost_answers.append(ApiUnavailable("the connection broke off"))
    with pytest.raises(ApiUnavailable):
        relay.run_once(0)
    # Another relay has taken a new row along meanwhile.
    ids.append(_add(outbox, engine, 3))
    while relay.run_once(60):
        pass
    assert list(client.made) == ids
    assert _rows(outbox, engine) == []


def test_a_row_whose_answer_was_lost_is_sent_again_with_the_same_key(
    outbox: Outbox, engine: Engine, client: FakeClient, relay: Relay
) -> None:
    id_ = _add(outbox, engine, 1)
    client.lost_answers.append(ApiUnavailable("the connection broke off"))
    with pytest.raises(ApiUnavailable):
        relay.run_once(1000)
    (row,) = _rows(outbox, engine)
    assert (row["first_sent_at"], row["attempts"]) == (1000, 1)
    assert relay.run_once(1000 + HOUR) == 1
    assert client.calls == [id_, id_]
    assert (len(client.made), _rows(outbox, engine)) == (1, [])


def test_rows_of_an_hour_without_the_api_become_a_job_each(
    outbox: Outbox, engine: Engine, client: FakeClient, relay: Relay
) -> None:
    now = 0.0
    for minute in range(60):
        _add(outbox, engine, minute)
        (client.lost_answers if minute % 7 == 0 else client.failures).append(ApiUnavailable("away"))
        with pytest.raises(ApiUnavailable):
            relay.run_once(now)
        now += 61
    while relay.run_once(now):
        pass
    assert sorted(job["input"]["order"] for job in client.made.values()) == list(range(60))
    assert _rows(outbox, engine) == []


@pytest.mark.parametrize("was_made", [True, False])
def test_a_row_is_looked_up_by_its_tag_before_it_is_sent_after_its_key_has_ended(
    outbox: Outbox, engine: Engine, client: FakeClient, relay: Relay, was_made: bool
) -> None:
    _add(outbox, engine, 1)
    (client.lost_answers if was_made else client.failures).append(ApiUnavailable("away"))
    with pytest.raises(ApiUnavailable):
        relay.run_once(0)
    relay.run_once(23 * HOUR)
    assert len(client.calls) == (1 if was_made else 2)
    assert (len(client.made), _rows(outbox, engine)) == (1, [])


def test_a_refused_row_is_kept_with_its_reason_and_stops_no_other(
    outbox: Outbox, engine: Engine, client: FakeClient, relay: Relay
) -> None:
    wrong, _ = _add(outbox, engine, 1), _add(outbox, engine, 2)
    client.failures.append(ApiRefused("input.order: must be a string.", status=422))
    relay.run_once(0)
    assert [job["input"]["order"] for job in client.made.values()] == [2]
    (row,) = _rows(outbox, engine)
    assert (row["id"], row["next_at"]) == (wrong, None)
    assert row["error"] == "ApiRefused: input.order: must be a string."
    assert relay.run_once(10**9) == 0


@pytest.mark.parametrize(
    ("failure", "options", "is_final"),
    [
        (ApiNotFound("no worker wkr_receipt", status=404), {}, False),
        (ApiConflict("it is deprecated", status=409), {}, False),
        (ApiConflict("a job has the key", status=409), {"dedupe": {"key": "a", "mode": "refuse"}}, True),
        (ApiError("it failed", status=500), {}, False),
        (ValueError("the answer is no JSON"), {}, False),
    ],
)
def test_a_failure_that_may_pass_puts_its_row_off(
    outbox: Outbox,
    engine: Engine,
    client: FakeClient,
    relay: Relay,
    failure: Exception,
    options: dict[str, Any],
    is_final: bool,
) -> None:
    _add(outbox, engine, 1, **options)
    client.failures.append(failure)
    relay.run_once(0)
    (row,) = _rows(outbox, engine)
    assert row["next_at"] == (None if is_final else 1)
    relay.run_once(5)
    assert len(client.made) == (0 if is_final else 1)


def test_a_row_that_is_no_trigger_is_refused(outbox: Outbox, engine: Engine, client: FakeClient, relay: Relay) -> None:
    for id_, body in (("a", "no JSON"), ("b", "[]"), ("c", "{}"), ("d", '{"worker_id": "w", "tags": 5}')):
        with engine.begin() as connection:
            connection.execute(outbox.table.insert().values(id=id_, body=body, next_at=0))
    relay.run_once(0)
    assert [row["next_at"] for row in _rows(outbox, engine)] == [None] * 4
    assert client.calls == []


@pytest.mark.parametrize(
    ("input", "options", "reason"),
    [
        ({"x": float("nan")}, {}, "JSON"),
        ({"x": object()}, {}, "JSON"),
        ({"x": "a" * 2_000_000}, {}, "bytes"),
        ({}, {"tags": {str(n): "v" for n in range(10)}}, "9 tags"),
        ({}, {"tags": {"outbox": "mine"}}, "adds the tag outbox"),
        # Its row's id is the key.
        ({}, {"idempotency_key": "x"}, "does not support idempotency_key"),
        ({}, {"foo": 11}, "does not support foo"),
    ],
)
def test_what_cannot_be_a_job_is_refused_where_it_is_written(
    input: dict[str, Any], options: dict[str, Any], reason: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=reason):
        new_row("wkr_receipt", input, **options)


def test_hostile_strings_are_stored_unchanged() -> None:
    row = new_row("wkr_receipt", {"text": "\0 \udc80 '; DROP TABLE ava_outbox; --"})
    assert row.body.isascii()
    assert json.loads(row.body)["input"]["text"].startswith("\0 \udc80")


def test_a_relay_without_a_table_goes_on_and_shows_no_row(
    engine: Engine, client: FakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    relay = Relay(client, Outbox(MetaData()).on(engine), idle_seconds=0.01)  # type: ignore[arg-type]
    relay.start()
    while not caplog.records:
        pass
    relay.stop()
    assert "no such table" in caplog.text
    assert "SELECT" not in caplog.text
