"""The baseline: Flask, SQLAlchemy and Celery in their simplest good form.

A record and four log lines per job, and nothing more: no tenants, leases, recovery or events. It reads the
URLs of its servers from `BENCH_DATABASE` and `BENCH_BROKER`.
"""

from __future__ import annotations

import datetime as dt
import os
import time
import uuid
from typing import Any

from celery import Celery
from celery.signals import worker_process_init
from flask import Flask, abort, jsonify, request
from sqlalchemy import JSON, DateTime, ForeignKey, String, Text, create_engine, insert
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

engine = create_engine(os.environ["BENCH_DATABASE"], pool_size=8, max_overflow=0)
queue = Celery("baseline", broker=os.environ["BENCH_BROKER"])
queue.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    task_default_queue="baseline",
)
app = Flask(__name__)


def now() -> dt.datetime:
    """Return this machine's time."""
    return dt.datetime.now(dt.UTC)


class Base(DeclarativeBase):
    """The baseline's tables."""


class Job(Base):
    """A job's record."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    handler: Mapped[str] = mapped_column(String(80))
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)
    status: Mapped[str] = mapped_column(String(12), default="queued", index=True)
    output: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    created_at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True), default=now)
    started_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[dt.datetime | None] = mapped_column(DateTime(timezone=True))


class Log(Base):
    """A line of a job's log."""

    __tablename__ = "job_logs"
    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))
    level: Mapped[str] = mapped_column(String(8))
    message: Mapped[str] = mapped_column(Text)


def noop(_payload: dict[str, Any], log: Any) -> Any:
    """Do nothing but log two lines."""
    log("one")
    log("two")
    return {"ok": 1}


def mark(_payload: dict[str, Any], log: Any) -> Any:
    """Return the start time."""
    began = time.time()
    log("one")
    log("two")
    return {"began": began}


HANDLERS = {"noop": noop, "mark": mark}


@worker_process_init.connect
def _fresh_pool(**_: Any) -> None:
    engine.dispose(close=False)


@queue.task(name="run_job")
def run_job(job_id: str) -> None:
    """Run one job."""
    lines = []

    def log(message: str, level: str = "info") -> None:
        lines.append({"job_id": job_id, "at": now(), "level": level, "message": message})

    with Session(engine, expire_on_commit=False) as session:
        job = session.get(Job, job_id)
        if job is None or job.status in ("completed", "failed"):
            return
        job.status, job.started_at = "running", now()
        session.commit()
        log("start")
        try:
            job.output = HANDLERS[job.handler](job.payload, log)
            job.status = "completed"
            log("done")
        except Exception as error:
            job.status = "failed"
            log(repr(error), "error")
        job.finished_at = now()
        session.execute(insert(Log), lines)
        session.commit()


@app.post("/jobs")
def create() -> Any:
    """Accept one job."""
    body = request.get_json()
    if not isinstance(body, dict) or body.get("handler") not in HANDLERS or not isinstance(body.get("payload"), dict):
        abort(400)
    job = Job(id=str(uuid.uuid4()), handler=body["handler"], payload=body["payload"])
    job_id = job.id
    with Session(engine) as session:
        session.add(job)
        session.commit()
    run_job.delay(job_id)
    return jsonify(id=job_id, status="queued"), 202


@app.get("/jobs/<job_id>")
def show(job_id: str) -> Any:
    """Show one job."""
    with Session(engine) as session:
        job = session.get(Job, job_id) or abort(404)
        return jsonify(id=job.id, status=job.status, output=job.output)
