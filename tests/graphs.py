"""Graphs and trees in a database, whose jobs a test runs as nodes do."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from ava.broker.celery_app import make_app
from ava.broker.control import Control
from ava.dispatcher.duties.waiting_jobs import stop_overdue_jobs
from ava.dispatcher.duties.wakes import Wakes
from ava.domain import ids
from ava.domain.events.awaited import AwaitedEvent
from ava.domain.jobs.job import RunKey, Status
from ava.domain.jobs.run_outcome import Ending
from ava.domain.jobs.waits import NewChild, NewEntry, Wait, WaitCondition
from ava.services.creation.child_creator import ChildCreator
from ava.settings import Settings
from ava.store.engine.database import Connection
from ava.store.jobs import journal
from ava.store.jobs.reads import lists
from ava.store.jobs.transitions import claim, end, wait
from harness.api import JOBS, NODE, Api
from tests.integration.model.run_driver import run_line
from tests.runs import ended

__all__ = ["BULK", "JOBS", "Graphs"]

BULK = f"{JOBS}/bulk"


class Graphs:
    """Graphs in a database, whose jobs the test runs."""

    def __init__(self, api: Api, settings: Settings) -> None:
        self.api = api
        self._wakes = Wakes(api.database)
        self._control = Control(make_app(settings))

    def declare(self, **entries: dict[str, Any]) -> dict[str, str]:
        """Trigger a bulk of entries by their names. Returns their ids by name."""
        body = {"jobs": [{"worker_id": "wkr_open", "name": name, **entry} for name, entry in entries.items()]}
        response = self.api.post(BULK, json=body)
        assert response.status_code == 201, response.text
        return dict(zip(entries, [job["id"] for job in response.get_json()["data"]], strict=True))

    def show(self, job_id: str) -> dict[str, Any]:
        record: dict[str, Any] = self.api.get(f"{JOBS}/{job_id}").get_json()["data"]
        return record

    def statuses(self, jobs: dict[str, str]) -> dict[str, str]:
        return {name: self.show(job_id)["status"] for name, job_id in jobs.items()}

    def startable(self, jobs: dict[str, str]) -> set[str]:
        uuids = {str(ids.decode("job", job_id)): name for name, job_id in jobs.items()}
        found = self.api.execute("SELECT id::text FROM jobs WHERE status = 'queued' AND waits_for IS NULL")
        return {uuids[uuid] for (uuid,) in found if uuid in uuids}

    def start(self, job_id: str) -> tuple[RunKey, str]:
        """Claim a job, as a node does. Returns its run and its claim."""
        with self.api.database.connect() as connection:
            return self.claim(connection, job_id)

    def claim(self, connection: Connection, job_id: str) -> tuple[RunKey, str]:
        """Claim a job as `start` does, on a connection of the test's."""
        job = lists.show(connection, tenant_id="ten_test", job_id=job_id)
        assert job is not None
        claim_id = str(uuid4())
        wanted = claim.Claim(run=job.next_run, worker_id=job.worker_id, node_id=NODE, claim_id=claim_id)
        assert claim.claim(connection, wanted) is not None
        return job.next_run, claim_id

    def finish(self, job_id: str, output: Any = None, *, error: str | None = None) -> None:
        """Run a job, and follow the wakes of its end."""
        self.end(*self.start(job_id), output, error=error)

    def end(self, run: RunKey, claim_id: str, output: Any = None, *, error: str | None = None) -> None:
        """End a run, and follow the wakes."""
        ending = Ending.COMPLETED if error is None else Ending.FAILED
        output_json = json.dumps(output) if error is None else None
        lines = [run_line(run.run_no, 1, "over")]
        with self.api.database.connect() as connection:
            how = ended(connection, run, ending, lines, claim_id=claim_id, output_json=output_json, error=error)
            assert end.end(connection, how) is not None
        self.wake()

    def wait(
        self,
        run: RunKey,
        claim_id: str,
        *children: str,
        seconds: float | None = None,
        event: AwaitedEvent | None = None,
    ) -> None:
        """End a run because its handler waits, and follow the wakes."""
        condition = WaitCondition.ENDED if children else WaitCondition.TIME if event is None else WaitCondition.EVENT
        shown = None if event is None else event.shown
        waits = Wait(condition=condition, job_ids=children, timeout_seconds=seconds, event=shown)
        lines = [run_line(run.run_no, 1, f"Handler waits for {waits.description}")]
        with self.api.database.connect() as connection:
            how = ended(connection, run, Ending.WAITED, lines, claim_id=claim_id, wait=waits)
            assert wait.end_waiting(connection, how) is Status.QUEUED
        self.wake()

    def children(
        self, job_id: str, claim_id: str, *names: str, worker_id: str = "wkr_open", is_detached: bool = False
    ) -> list[str]:
        """Make children, as a handler asks for them."""
        return self.maker(job_id, claim_id, worker_id=worker_id, is_detached=is_detached)(*names)

    def maker(
        self, job_id: str, claim_id: str, *, worker_id: str = "wkr_open", is_detached: bool = False
    ) -> Callable[..., list[str]]:
        """Returns what makes children of a run by their names, as one process does."""
        jobs = self.api.app.extensions["ava"].jobs
        with self.api.database.connect() as connection:
            job = lists.show(connection, tenant_id="ten_test", job_id=job_id)
        assert job is not None
        creator = ChildCreator(creator=jobs.creator, rules=jobs.rules)

        def make(*names: str) -> list[str]:
            new = [NewChild(name=name, worker_id=worker_id, input_json="{}", is_detached=is_detached) for name in names]
            with self.api.database.transaction() as connection:
                made = creator.create(connection, job, claim_id=claim_id, new=new)
            return [child.id for child in made]

        return make

    def wake(self) -> None:
        self._wakes.run_once(0)

    def stop_overdue(self) -> None:
        stop_overdue_jobs(self.api.database, self._control)

    def tree(self, job_id: str) -> dict[str, Any]:
        record: dict[str, Any] = self.api.get(f"{JOBS}/{job_id}/tree").get_json()["data"]
        return record

    def journal(self, run: RunKey, claim_id: str, *entries: NewEntry) -> None:
        """Write entries into the journal of a run's job, as its handler does."""
        with self.api.database.connect() as connection:
            assert journal.write(connection, run=run, claim_id=claim_id, attempt=1, entries=entries)
