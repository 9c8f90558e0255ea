"""The cells of tables: how columns show fields of records, by the names that operations give their columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ava.cli.screen import printing
from ava.cli.screen.tables import Column, ago, milliseconds, ran
from ava.domain.counts import MAX_COUNTED_OF_TENANT, MAX_COUNTED_OF_WORKER, counted

#: Characters to which a cell may be cut.
_MIN_WIDTH = 7


def _joined(name: str) -> Callable[[Any], str]:
    return lambda record: ", ".join(map(str, getattr(record, name)))


def _duration(name: str, factor: int = 1) -> Callable[[Any], str | None]:
    def value(record: Any) -> str | None:
        found = getattr(record, name)
        return milliseconds(found if found is None else found * factor)

    return value


def _length(name: str) -> Callable[[Any], int]:
    return lambda record: len(getattr(record, name) or ())


def _json(name: str) -> Callable[[Any], str]:
    return lambda record: printing.as_json(getattr(record, name))


def _event_of(rule: Any) -> str:
    # A foreign server may return anything.
    return str(rule.get("event") if isinstance(rule, dict) else rule)


def _journal_value(entry: Any) -> str | None:
    if entry.child is not None:
        return str(entry.child["id"])
    if entry.value_bytes is not None:
        return f"{entry.value_bytes:,} bytes"
    return printing.as_json(entry.value) if entry.kind == "step" and entry.state == "done" else None


def _error_sentence(group: Any) -> str:
    # Null without the permission to see payloads.
    more = len(group.variants or [""]) - 1
    return f"{group.kind}: {group.message}" + (f" (and {more} variant{'s' if more > 1 else ''})" if more else "")


def _wait_reason(wait: Any) -> str:
    if not wait.jobs:
        return str(wait.condition)
    count = len(wait.jobs)
    return f"{wait.condition}: {wait.jobs[0]}" if count == 1 else f"{wait.condition}: {count} jobs"


def _node_state(node: Any) -> str:
    if node.state == "live" and node.refused_messages:
        return f"refuses messages ({', '.join(node.refused_messages)})"
    return "paused" if node.paused and node.state == "live" else str(node.state)


def _operation_progress(found: Any) -> str:
    failed = f", {found.failed} failed" if found.failed else ""
    return f"{found.done} of {found.total}{failed}"


def _used(limit: Any) -> str | None:
    return None if limit.used is None else f"{'' if limit.used_is_exact else '> '}{limit.used:,}"


def _tenant_count(name: str) -> Callable[[Any], int | str]:
    def value(load: Any) -> int | str:
        # Waiting and scheduled jobs are counted together.
        total = load.running if name == "running" else load.waiting + load.scheduled
        return counted(getattr(load, name), is_exact=total < MAX_COUNTED_OF_TENANT)

    return value


def _worker_count(name: str) -> Callable[[Any], int | str]:
    def value(count: Any) -> int | str:
        # Urgent jobs are counted among the first 10,000 queued ones.
        total = count.running if name == "running" else count.queued
        return counted(getattr(count, name), is_exact=total < MAX_COUNTED_OF_WORKER)

    return value


#: Values of cells by the names of columns. Another name is the record's field.
_CELLS: dict[str, Callable[[Any], Any]] = {
    "actor_label": lambda entry: entry.actor.label,
    "actor_name": lambda entry: entry.actor.id or entry.actor.kind,
    "actor_via": lambda entry: entry.actor.via,
    "attempt_of": lambda job: f"{job.attempt} of {job.max_attempts}",
    # A process that works on a group of short jobs has several of them.
    "busy": lambda node: f"{min(node.busy, node.processes)} of {node.processes}{' slots' if node.has_slots else ''}",
    "commits_lost": lambda promotion: "yes" if promotion.lossy else "none seen",
    "counted_waiting": lambda limit: f"{'' if limit.waiting_is_exact else '> '}{limit.waiting:,}",
    "deciders": lambda approval: ", ".join(approval.users or approval.roles),
    "error_sentence": _error_sentence,
    "event_name": lambda delivery: (delivery.event_type or "").removeprefix("ava."),
    "is_paused": lambda record: record.paused is not None,
    "journal_value": _journal_value,
    "last_seen_age": lambda group: ago(group.last_seen_at),
    "limited_per": lambda limit: limit.max_running_per or limit.rate_per or "all",
    "makes": lambda hook: hook.worker_id or hook.event_type or "events",
    "memory": lambda node: None if node.memory_bytes is None else f"{node.memory_bytes / 2**20:,.0f} MiB",
    "next_firing": lambda schedule: "paused" if schedule.paused else schedule.next_run_at,
    "node_state": _node_state,
    "outcome": lambda run: run.outcome or "running",
    "pause": lambda queue: queue.paused and printing.describe_pause(queue.paused),
    "peak_memory": lambda run: None if run.peak_memory_mb is None else f"{run.peak_memory_mb} MiB",
    "pid": lambda node: str(node.pid),
    "progress": _operation_progress,
    "ran": ran,
    "requested_age": lambda approval: ago(approval.requested_at),
    "rules": lambda notice: ", ".join(map(_event_of, notice.on)),
    "share": lambda load: None if load.share is None else f"{load.share:.1%}",
    "status_or_paused": lambda record: "paused" if record.paused else record.status,
    "timeline": lambda promotion: str(promotion.timeline),
    "timeout": lambda worker: f"{worker.timeout_seconds:g} s",
    "timing": lambda schedule: schedule.cron or f"every {schedule.every_seconds} s",
    "used": _used,
    "wait_reason": _wait_reason,
    "oldest_seconds": _duration("oldest_seconds", 1000),
    **{name: _duration(name) for name in ("duration_ms", "cpu_ms", "wait_ms")},
    **{name: _length(name) for name in ("job_ids", "woken_job_ids", "attempts")},
    **{name: _joined(name) for name in ("events", "queues", "workers")},
    **{name: _json(name) for name in ("filter", "scope")},
    **{f"{name}_jobs": _tenant_count(name) for name in ("waiting", "scheduled", "running")},
    **{f"counted_{name}": _worker_count(name) for name in ("queued", "running", "high_priority")},
}


def column(declared: str) -> Column:
    """Return a column from its declaration in the route, such as `JOBS=job_ids` or `error!`; see `PublicCall`."""
    title, _, name = declared.rpartition("=")
    name, mark = (name[:-1], name[-1]) if name[-1] in "*+?!" else (name, "")
    title = (title or name.removesuffix("_id").removesuffix("_at").upper()).replace("_", " ")
    return Column(
        title=title,
        value=_CELLS.get(name) or (lambda record: getattr(record, name)),
        min_width=None if mark == "*" or name.endswith("_at") else max(len(title), _MIN_WIDTH),
        is_wide=mark == "+",
        is_optional=mark in ("?", "!"),
        may_be_below=mark == "!",
    )
