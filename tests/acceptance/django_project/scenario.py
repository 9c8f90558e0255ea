"""What a project does with its tasks, step by step; prints what it has seen as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from datetime import timedelta
from io import StringIO

import django

django.setup()

from ava_django.models import OutboxJob  # noqa: E402
from ava_django.priorities import job_priority  # noqa: E402
from django.core import checks  # noqa: E402
from django.core.exceptions import ImproperlyConfigured  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.tasks import default_task_backend, task_backends  # noqa: E402
from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist, TaskResultMismatch  # noqa: E402
from django.utils import timezone  # noqa: E402
from shop import tasks  # noqa: E402
from shop.models import Order  # noqa: E402

from ava.client import ApiConflict  # noqa: E402

_SECONDS = 60


def _finished(result):
    until = time.monotonic() + _SECONDS
    while not result.is_finished:
        assert time.monotonic() < until, result
        time.sleep(0.05)
        result.refresh()
    return result


def _error_of(call, *errors):
    try:
        call()
    except errors as error:
        return f"{type(error).__name__}: {error}"
    return None


def _shown(result):
    return {
        "status": result.status.value,
        "value": result.return_value if result.status == "SUCCESSFUL" else None,
        "errors": [(each.exception_class_path, each.traceback.strip().splitlines()[-1:]) for each in result.errors],
        "attempts": result.attempts,
        "args": result.args,
        "kwargs": result.kwargs,
    }


def results():
    order = Order.objects.create()
    pay = tasks.pay.enqueue(order.pk)
    context = tasks.context_of.enqueue(word="hello")
    waits = asyncio.run(tasks.wait_a_moment.aenqueue(0.01))
    failed, flaky = tasks.fail.enqueue("17"), tasks.flaky.enqueue()
    broken = [tasks.breaks_its_connection.enqueue() for _ in range(4)]
    seen = {"enqueued": pay.status.value, "id_of_context": context.id}
    for name, result in (("pay", pay), ("context", context), ("async", waits), ("fail", failed), ("flaky", flaky)):
        seen[name] = _shown(_finished(result))
    seen["broken"] = [_finished(each).status.value for each in broken]
    again = tasks.pay.enqueue(order.pk)
    seen["after_broken"] = _finished(again).status.value
    order.refresh_from_db()
    read = tasks.context_of.get_result(context.id)
    return seen | {
        "paid": order.paid,
        "exception": failed.errors[0].exception_class.__name__,
        "read": [
            read.task.priority,
            read.task.module_path,
            read.started_at is not None,
            read.enqueued_at <= read.finished_at,
        ],
        "async_read": asyncio.run(tasks.pay.aget_result(pay.id)).is_finished,
        "mismatch": _error_of(lambda: tasks.fail.get_result(pay.id), TaskResultMismatch),
        "unknown": _error_of(lambda: tasks.pay.get_result("job_01unknown"), TaskResultDoesNotExist),
        "job_priority": default_task_backend.client.jobs.get(context.id).priority,
        "tags": default_task_backend.client.jobs.get(context.id).tags,
    }


def cancels():
    later = tasks.pay.using(run_after=timezone.now() + timedelta(days=1)).enqueue(1)
    cancelled = default_task_backend.cancel(later)
    running = tasks.nap.enqueue(60)
    while running.status != "RUNNING":
        time.sleep(0.05)
        running.refresh()
    default_task_backend.cancel(running)
    retried = default_task_backend.retry(later)
    return {
        "same": tasks.pay.get_result(later.id) == cancelled,
        "same_run_after": later.task.run_after == tasks.pay.get_result(later.id).task.run_after,
        "later": _shown(cancelled),
        "run_after": later.task.run_after is not None,
        "running": _shown(_finished(running)),
        "again": _error_of(lambda: default_task_backend.cancel(running), ApiConflict) is not None or running.status,
        "retried": [retried.status.value, retried.id != later.id, _finished(retried).errors != []],
    }


def outbox():
    enqueued, results = [], {}
    with transaction.atomic():
        enqueued.append(tasks.receipt.enqueue(1))
    try:
        with transaction.atomic():
            enqueued.append(tasks.receipt.enqueue(2))
            raise RuntimeError
    except RuntimeError:
        pass
    cancelled, said = tasks.receipt.enqueue(3), StringIO()
    task_backends["outbox"].cancel(cancelled)
    enqueued[0].refresh()
    results["before"] = enqueued[0].status.value
    results["rolled_back"] = (
        _error_of(lambda: tasks.receipt.get_result(enqueued[1].id), TaskResultDoesNotExist) is not None
    )
    call_command("ava_outbox", "--once", "--backend", "outbox", stdout=said)
    results["said"] = said.getvalue()
    results["sent"] = _shown(_finished(enqueued[0]))
    cancelled.refresh()
    results["cancelled"] = _shown(cancelled)
    backend = task_backends["outbox"]
    again = _finished(backend.retry(enqueued[0]))
    read = backend.get_result(enqueued[0].id)
    results["retried"] = [again.id != read.id, read.enqueued_at == enqueued[0].enqueued_at, _shown(read)]
    results["never_enqueued"] = [_error_of(lambda: backend.retry(cancelled), InvalidTask)]
    waits = tasks.receipt.enqueue(4)
    results["never_enqueued"].append(_error_of(lambda: backend.retry(waits), InvalidTask))
    OutboxJob.objects.filter(pk=waits.id.removeprefix("outbox_")).update(next_at=None, error="ApiRefused: too large")
    results["never_enqueued"].append(_error_of(lambda: backend.retry(waits), InvalidTask))
    with connection.cursor() as cursor:
        cursor.execute(os.environ["SENDS_REFUSED_ROWS_AGAIN"])
    cancelled.refresh()
    waits.refresh()
    results["sent_again"] = [cancelled.status.value, waits.status.value]
    results["no_results"] = [
        _error_of(lambda id=id: backend.get_result(id), TaskResultDoesNotExist) is not None
        for id in ("outbox_", f"outbox_{'x' * 500}", "../workers", f"{again.id}/logs", "..", "")
    ]
    return results


def celerys():
    client = default_task_backend.client
    jobs = [client.jobs.trigger("wkr_shop_celery_tasks_has_a_connection_of_another_task") for _ in range(6)]
    ended = [client.jobs.wait(job.id, _SECONDS) for job in jobs]
    count = client.jobs.wait(client.jobs.trigger("wkr_shop_celery_tasks_count_orders").id, _SECONDS)
    return {"were_open": [job.output for job in ended], "count": count.output, "error": count.error}


def refusals():
    from django.conf import settings

    settings.TASKS["other"] = {"BACKEND": "ava_django.backend.AvaBackend", "OPTIONS": {"urll": "x"}}
    found = _error_of(lambda: task_backends["other"].client, ImproperlyConfigured)
    del settings.TASKS["other"]
    return {
        "queue": _error_of(lambda: tasks.pay.using(queue_name="mail"), InvalidTask),
        "option": found,
        "checks": [str(each) for each in checks.run_checks()],
        "priorities": {str(each): job_priority(each) for each in (-100, -99, -50, -1, 0, 1, 25, 50, 99, 100)},
        "no_json": _error_of(lambda: tasks.pay.enqueue(object()), TypeError) is not None,
    }


if __name__ == "__main__":
    call_command("migrate", verbosity=0, run_syncdb=True)
    call_command("makemigrations", "ava_django", check=True, dry_run=True, verbosity=0)
    done = {each.__name__: each() for each in (refusals, results, cancels, outbox, celerys)}
    json.dump(done, sys.stdout)
