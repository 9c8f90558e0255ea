"""Calls tasks and prints what a user sees of each call as JSON, on either side."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import ava_celery
from celery import chain, chord, group
from celery.exceptions import ImproperlyConfigured
from celery.exceptions import TimeoutError as TimedOut

from tests.acceptance.celery_calls import celery as project
from tests.acceptance.celery_calls.celery import add, app, same, total, write

SECONDS = 30


def _wait_for(condition: Callable[[], Any]) -> Any:
    until = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return found


def _raised(result: Any) -> str:
    try:
        return repr(result.get(timeout=SECONDS))
    except Exception as error:
        return f"{type(error).__module__}.{type(error).__name__}: {error}"


def _folder() -> Path:
    return Path(tempfile.mkdtemp())


# Calls ----------------------------------------------------------------------------------------------------------------


def delay() -> Any:
    return add.delay(2, y=3).get(timeout=SECONDS)


def apply_async_and_send_task() -> Any:
    first = add.apply_async((2, 3), priority=3)
    second = app.send_task(add.name, (4, 5))
    third = add.s(6).delay(7)
    return [each.get(timeout=SECONDS) for each in (first, second, third)]


def wrong_arguments() -> Any:
    try:
        add.delay(1)
    except TypeError as error:
        return str(error)
    return None


def countdown() -> Any:
    before = time.time()
    later = project.at.apply_async(countdown=1).get(timeout=SECONDS)
    eta = project.at.apply_async(eta=datetime.now(UTC) + timedelta(seconds=1)).get(timeout=SECONDS)
    return [later - before >= 0.9, eta - before >= 0.9]


def chosen_task_id() -> Any:
    id_ = str(uuid4())
    result = project.own_id.apply_async(task_id=id_)
    return [result.id == id_, result.get(timeout=SECONDS) == id_, app.AsyncResult(id_).state]


def own_id() -> Any:
    result = project.own_id.delay()
    return result.get(timeout=SECONDS) == result.id


def combined_calls() -> Any:
    id_ = str(uuid4())
    with ava_celery.together():
        results = [add.delay(number, 1) for number in range(3)]
        results.append(project.own_id.apply_async(task_id=id_))
    return [*(each.get(timeout=SECONDS) for each in results[:3]), results[3].get(timeout=SECONDS) == id_]


def headers() -> Any:
    return project.context.apply_async(headers={"customer": "c17"}).get(timeout=SECONDS)


def dates() -> Any:
    return project.day_of.delay(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)).get(timeout=SECONDS)


def link() -> Any:
    folder = _folder()
    result = add.apply_async((2, 2), link=add.s(16))
    (child,) = _wait_for(lambda: result.ready() and result.children)
    add.apply_async((1, 1), link=write.si(str(folder), "linked"))
    _wait_for((folder / "linked").exists)
    return [result.get(timeout=SECONDS), child.get(timeout=SECONDS)]


def link_error() -> Any:
    folder = _folder()
    result = project.refuse.apply_async(
        ("visa",), link_error=[project.on_error.s(str(folder)), project.on_error_by_id.s(str(folder))]
    )
    by_id = folder / "on_error_by_id"
    _wait_for(lambda: by_id.exists() and by_id.read_text())
    return [(folder / "on_error").read_text(), by_id.read_text() == result.id]


def task_that_calls_another() -> Any:
    folder = _folder()
    found = project.starts_another.delay(str(folder), 7).get(timeout=SECONDS)
    _wait_for((folder / "another").exists)
    return [found, (folder / "another").read_text()]


# Results --------------------------------------------------------------------------------------------------------------


def failures() -> Any:
    failed = project.refuse.delay("visa")
    text = _raised(failed)
    return [text, failed.state, repr(failed.info), _raised(project.missing.delay("foo")), "refuse" in failed.traceback]


def states() -> Any:
    """The view /status/<id> of flask-celery-example."""
    folder = _folder()
    task = project.long_task.delay(str(folder))

    def status() -> dict[str, Any]:
        found = project.long_task.AsyncResult(task.id)
        if found.state == "PENDING":
            return {"state": found.state, "current": 0, "total": 1, "status": "Pending..."}
        response = {"state": found.state, "current": found.info.get("current", 0), "status": found.info["status"]}
        if "result" in found.info:
            response["result"] = found.info["result"]
        return response

    _wait_for(lambda: status()["state"] == "PROGRESS")
    seen = [status()]
    (folder / "end").touch()
    task.get(timeout=SECONDS)
    return [*seen, status(), app.AsyncResult(str(uuid4())).state]


def timeout() -> Any:
    folder = _folder()
    result = project.long_task.delay(str(folder))
    try:
        result.get(timeout=0.5)
    except TimedOut:
        (folder / "end").touch()
        return result.get(timeout=SECONDS)["status"]
    return "no timeout"


def revoke() -> Any:
    waiting = add.apply_async((1, 1), countdown=300)
    _wait_for(lambda: waiting.state == "PENDING")
    time.sleep(1)
    waiting.revoke(terminate=True)
    running = project.long_task.delay(str(_folder()))
    _wait_for(lambda: running.state == "PROGRESS")
    running.revoke(terminate=True)
    _wait_for(lambda: running.state == "REVOKED")
    return [running.state, _raised(running).partition(":")[0]]


def unknown_result() -> Any:
    return [app.AsyncResult("unheard").state, app.AsyncResult("unheard").result]


# Canvas ---------------------------------------------------------------------------------------------------------------


def chains() -> Any:
    result = chain(add.s(2, 2), add.s(4), add.s(8))()
    piped = (add.s(1, 1) | add.si(5, 5) | same.s()).apply_async()
    partial = chain(add.s(1), add.s(2)).apply_async((10,))
    found = [each.get(timeout=SECONDS) for each in (result, piped, partial)]
    return [*found, result.parent.get(timeout=SECONDS), result.parent.parent.get(timeout=SECONDS)]


def groups() -> Any:
    result = group(add.s(i, i) for i in range(4))()
    saved = result.get(timeout=SECONDS)
    return [saved, result.successful(), result.completed_count(), len(result.results)]


def saved_group() -> Any:
    result = group(add.s(i, i) for i in range(3))()
    result.save()
    return app.GroupResult.restore(result.id).get(timeout=SECONDS)


def chords() -> Any:
    plain = chord(add.s(i, i) for i in range(4))(total.s())
    piped = (group(add.s(i, 1) for i in range(3)) | total.s() | add.s(100)).apply_async()
    empty = chord([])(total.s())
    return [each.get(timeout=SECONDS) for each in (plain, piped, empty)]


def nested() -> Any:
    whole = chain(
        add.s(1, 1),
        group(add.s(10), chain(add.s(20), add.s(1)), chord([add.s(1), add.s(2)], total.s())),
        total.s(),
        group(same.s(), add.s(1)),
    )
    return whole().get(timeout=SECONDS)


def maps() -> Any:
    mapped = total.map([[1, 2], [3, 4]]).apply_async()
    starred = add.starmap([(1, 2), (3, 4)]).apply_async()
    chunked = add.chunks(zip(range(6), range(6), strict=True), 2).apply_async()
    return [each.get(timeout=SECONDS) for each in (mapped, starred, chunked)]


def failing_canvases() -> Any:
    chained = chain(add.s(1, 1), project.refuse.s(), same.s())()
    in_header = chord([add.s(1, 1), project.refuse.s("visa")])(total.s())
    grouped = group(add.s(1, 1), project.refuse.s("visa"))()
    failed = _raised(in_header).partition(":")[0]
    # Celery raises the header's error before it has stored the state of the body.
    _wait_for(lambda: in_header.state != "PENDING")
    return [_raised(chained), failed, in_header.state, _raised(grouped)]


SCENARIOS: tuple[Callable[[], Any], ...] = (
    delay,
    apply_async_and_send_task,
    wrong_arguments,
    countdown,
    chosen_task_id,
    own_id,
    combined_calls,
    headers,
    dates,
    link,
    link_error,
    task_that_calls_another,
    failures,
    states,
    timeout,
    revoke,
    unknown_result,
    chains,
    groups,
    saved_group,
    chords,
    nested,
    maps,
    failing_canvases,
)


def mixed_canvas() -> str:
    """Return the refusal of a canvas with a task that stays on Celery."""
    try:
        chain(add.s(1, 1), project.stays.s())()
    except ImproperlyConfigured as error:
        return str(error)
    return ""


def main(names: list[str]) -> None:
    found = {}
    for scenario in SCENARIOS:
        if not names or scenario.__name__ in names:
            try:
                found[scenario.__name__] = scenario()
            except Exception as error:
                found[scenario.__name__] = f"raised {type(error).__name__}: {error}"
    print(json.dumps(found))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main(sys.argv[1:])
