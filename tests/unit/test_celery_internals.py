"""Every private thing of Celery, kombu and billiard that a node uses is still there, and is in the README's list."""

from __future__ import annotations

import inspect
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from amqp import channel as amqp_channel
from amqp.transport import SSLTransport
from billiard import common, heap, process
from billiard import pool as billiard_pool
from celery import Celery, _state
from celery.app.amqp import AMQP
from celery.app.events import Events
from celery.apps import worker as worker_program
from celery.apps.worker import Worker as WorkerProgram
from celery.concurrency import asynpool, base, prefork
from celery.events import EventDispatcher
from celery.worker import consumer, control, request, state
from kombu import Connection, Queue, compression, pidbox, transport
from kombu import Consumer as KombuConsumer
from kombu.asynchronous import hub, semaphore
from kombu.transport import redis as kombu_redis

README = Path(__file__).parent.parent.parent / "ava" / "node" / "celery_internals" / "README.md"

#: What must have each name, as an attribute or, if the name is set on objects, in its source.
USED: dict[Any, str] = {
    prefork.TaskPool: "Pool maintain_pool flush num_processes on_start",
    base.BasePool: "on_start on_apply on_stop flush register_with_event_loop",
    base: "accept_callback",
    hub.Hub: "add_reader call_repeatedly",
    state: "should_stop requests reserved_requests task_ready maybe_shutdown",
    asynpool.AsynPool: (
        "Worker ResultHandler _create_write_handlers _quick_put consolidate_callback _all_inqueues "
        "_busy_workers _active_writes outbound_buffer on_job_ready flush"
    ),
    billiard_pool.Pool: (
        "_maintain_pool _join_exited_workers _repopulate_pool mark_as_worker_lost did_start_ok _putlock _pool _cache"
    ),
    asynpool.ResultHandler: "_make_methods",
    billiard_pool.ResultHandler: "state_handlers on_state_change on_ready_counters putlock cache",
    billiard_pool.ApplyResult: "_worker_pid _write_to _scheduled_for _job _accept_callback _set",
    asynpool.Worker: "_make_child_methods after_fork",
    billiard_pool.Worker: "wait_for_job inqW_fd synqW_fd",
    common: "reset_signals",
    worker_program: "safe_say",
    _state: "_tls current_app default_app _set_current_app set_default_app",
    Celery: "send_task",
    process: "_parent_pid",
    heap: "BufferWrapper Arena",
    request.Request: "_terminate_on_ack on_accepted on_failure acknowledge acknowledged time_start revoked terminate",
    consumer.Consumer: (
        "cancel_active_requests ensure_connected on_close register_with_event_loop "
        "broker_connection_retry_attempt first_connection_attempt connect create_task_handler "
        "on_decode_error"
    ),
    AMQP: "Consumer",
    KombuConsumer: "declare _queues _basic_consume cancel_by_queue",
    amqp_channel.Channel: "is_open cancel_callbacks",
    semaphore.LaxBoundedSemaphore: "_waiting initial_value",
    pidbox.Mailbox: "node_cls get_queue get_reply_queue reply_exchange",
    Queue: "can_cache_declaration",
    pidbox.Node: "handle_message handlers",
    Events: "dispatcher_cls",
    EventDispatcher: "send buffer_limit on_send_buffered",
    WorkerProgram: "on_before_init",
    Connection: "_connection",
    kombu_redis.Channel: (
        "conn_or_acquire sep _brpop_start handlers _in_poll _brpop_sent_at brpop_timeout _queue_cycle "
        "_q_for_pri priority_steps global_keyprefix _brpop_read _handle_message _get"
    ),
    compression: "_decoders",
    transport: "TRANSPORT_ALIASES",
    SSLTransport: "_wrap_socket_sni",
}


def test_each_private_name_is_still_there_and_in_the_list() -> None:
    listed = README.read_text()
    for owner, names in USED.items():
        for name in names.split():
            assert hasattr(owner, name) or name in inspect.getsource(owner), (owner, name)
            assert f"`{name}`" in listed, name


def test_celery_reads_states_of_its_own_below_ours() -> None:
    from ava.node.celery_internals import pool_child

    ours = {pool_child.SOON_FREE}
    theirs = {value for name, value in vars(billiard_pool).items() if name.isupper() and isinstance(value, int)}
    assert not ours & (theirs | {asynpool.WORKER_UP})


def test_a_revoke_has_the_database_asked_and_looks_for_no_result_backend(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from ava.node.celery_internals import remote_control

    monkeypatch.setattr(control.Panel, "data", dict(control.Panel.data))
    app = Celery("test", broker="redis://localhost/0")
    calls: list[str] = []
    remote_control.restrict(app, is_redis=True, on_revoke=lambda: calls.append("asked"))
    request = SimpleNamespace(id="job_a.1", terminate=lambda *_: calls.append("terminated"))
    monkeypatch.setitem(state.requests, request.id, request)
    caplog.set_level(logging.WARNING)
    for task_id in ("job_b.1", ["job_a.1", "job_c.1"]):
        control.Panel.data["revoke"](SimpleNamespace(app=app), task_id=task_id, terminate=True, signal="SIGTERM")
    assert calls == ["asked", "asked", "terminated"]
    assert not caplog.records


@pytest.mark.parametrize(("url", "names"), [("amqp://localhost//", 2), ("redis://localhost/0", 1)])
def test_each_connection_to_rabbitmq_has_a_control_queue_of_its_own(
    url: str, names: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ava.node.celery_internals import remote_control

    monkeypatch.setattr(control.Panel, "data", dict(control.Panel.data))
    app = Celery("test", broker=url)
    remote_control.restrict(app, is_redis=url.startswith("redis"), on_revoke=lambda: None)
    found = [app.control.mailbox.get_queue("ava-1@host").name for _ in range(2)]
    assert len(set(found)) == names
    assert all(name.startswith("ava-1@host.") and name.endswith(".celery.pidbox") for name in found)
