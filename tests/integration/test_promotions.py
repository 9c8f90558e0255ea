"""A promotion of a standby is seen, and it is known whether it lost what the dispatcher had seen."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from ava.broker.control import Control
from ava.cli.main import cli
from ava.dispatcher.dispatcher_process import make_duties
from ava.dispatcher.duties.lost_runs import Promotions
from ava.metrics.system_metrics import SystemMetrics
from ava.store.reports import promotions
from harness.api import Api
from tests.backlog import Backlog


def _see_an_older_timeline(stored: Backlog) -> None:
    """Make the server's timeline another one than that which was recorded."""
    stored.run("UPDATE promotions SET timeline = 0")


@pytest.mark.parametrize("is_lossy", [False, True])
def test_a_promotion_is_recorded_once_with_what_it_lost(stored: Backlog, is_lossy: bool) -> None:
    jobs = stored.insert(3, is_published=True)
    stored.join()
    stored.claim(jobs[0])
    duty = Promotions(stored.database)
    # The first timeline is that of the installation.
    assert [duty.run_once(0), duty.run_once(0)] == [0, 0]
    _see_an_older_timeline(stored)
    duty._server = None
    if is_lossy:
        stored.run("DELETE FROM jobs WHERE id = (SELECT max(id::text) FROM jobs)::uuid")
    assert [duty.run_once(0), duty.run_once(0)] == [1, 0]
    # Another dispatcher becomes active.
    assert Promotions(stored.database).run_once(0) == 0
    with stored.database.connect() as connection:
        found = promotions.latest(connection, days=1)
    assert found is not None
    assert (found.running, found.is_lossy) == (1, is_lossy)
    exposition = SystemMetrics(stored.database, node_dead_seconds=14).expose().decode()
    assert f'ava_database_promotions_total{{lossy="{str(is_lossy).lower()}"}} 1.0' in exposition


def test_a_dispatcher_that_misses_its_last_job_corrects_what_another_has_recorded(
    stored: Backlog, caplog: pytest.LogCaptureFixture
) -> None:
    stored.insert(3, is_published=True)
    others: list[str] = []
    observer = Promotions(stored.database, on_another_server=lambda: others.append("seen"))
    assert observer.run_once(0) == 0
    assert not others
    _see_an_older_timeline(stored)
    observer._server = "the one before"
    stored.run("DELETE FROM jobs WHERE id = (SELECT max(id::text) FROM jobs)::uuid")
    # This one becomes active by the promotion, and knows no job.
    assert Promotions(stored.database).run_once(0) == 1
    assert _latest(stored).is_lossy is False
    assert [observer.run_once(0), observer.run_once(0)] == [1, 0]
    assert others == ["seen"]
    assert _latest(stored).is_lossy is True
    assert "A standby of PostgreSQL was promoted without the last commits" in caplog.text
    exposition = SystemMetrics(stored.database, node_dead_seconds=14).expose().decode()
    assert 'ava_database_promotions_total{lossy="true"} 1.0' in exposition


def test_a_restored_database_that_lacks_the_last_job_is_a_loss_on_the_same_timeline(stored: Backlog) -> None:
    stored.insert(3, is_published=True)
    observer = Promotions(stored.database)
    observer.run_once(0)
    observer._server = "the database that was renamed away"
    stored.run("DELETE FROM jobs WHERE id = (SELECT max(id::text) FROM jobs)::uuid")
    assert observer.run_once(0) == 1
    assert _latest(stored).is_lossy is True


def test_a_job_that_retention_deletes_is_no_loss(stored: Backlog) -> None:
    stored.insert(1, is_published=True)
    observer = Promotions(stored.database)
    observer.run_once(0)
    stored.run("DELETE FROM jobs")
    assert observer.run_once(0) == 0
    with stored.database.connect() as connection:
        assert promotions.latest(connection, days=1) is None


def test_every_dispatcher_observes_promotions_active_or_not(stored: Backlog) -> None:
    duties = make_duties(stored.settings, stored.database, stored.publisher, Control(stored.app))
    on_all = [duty.name for duty in duties if duty.is_on_standby]
    assert sorted(on_all) == ["heartbeat_watch", "promotions"]


def _latest(stored: Backlog) -> promotions.Promotion:
    with stored.database.connect() as connection:
        found = promotions.latest(connection, days=1)
    assert found is not None
    return found


def test_operators_see_the_promotions_and_others_do_not(stored: Backlog, api: Api) -> None:
    stored.run("DELETE FROM promotions")
    for timeline, running in ((1, "NULL"), (2, "3"), (3, "12")):
        stored.run(
            f"INSERT INTO promotions (timeline, running, is_lossy) VALUES ({timeline}, {running}, {timeline == 3})"
        )
    found = api.get("/v1/ava/promotions", headers={"x-platform-role": "platform-admin"}).get_json()["data"]
    assert [(each["timeline"], each["running"], each["lossy"]) for each in found] == [(3, 12, True), (2, 3, False)]
    assert api.get("/v1/ava/promotions").status_code == 403


def test_the_doctor_says_what_happened(stored: Backlog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", stored.settings.database_url)
    monkeypatch.setenv("BROKER_URL", stored.settings.broker_url)
    assert (
        "no standby is synchronous, so `Durability: replicated` is refused; none was promoted"
        in CliRunner().invoke(cli, ["doctor"]).output
    )
    stored.run("INSERT INTO promotions (timeline, running, is_lossy) VALUES (7, 12, true)")
    output = CliRunner().invoke(cli, ["doctor"]).output
    assert "(timeline 7), it lacked the last commits" in output
    assert "12 runs were checked again" in output
