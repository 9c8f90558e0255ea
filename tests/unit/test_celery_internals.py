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

#: What must have each name, as an attribute or, for those that are set on objects, in its source text.
USED: list[tuple[Any, str]] = [
    (prefork.TaskPool, "Pool"),
    (prefork.TaskPool, "maintain_pool"),
    (prefork.TaskPool, "flush"),
    (prefork.TaskPool, "num_processes"),
    (prefork.TaskPool, "on_start"),
    (base.BasePool, "on_start"),
    (base.BasePool, "on_apply"),
    (base.BasePool, "on_stop"),
    (base.BasePool, "flush"),
    (base.BasePool, "register_with_event_loop"),
    (base, "accept_callback"),
    (hub.Hub, "add_reader"),
    (state, "should_stop"),
    (asynpool.AsynPool, "Worker"),
    (asynpool.AsynPool, "ResultHandler"),
    (asynpool.AsynPool, "_create_write_handlers"),
    (asynpool.AsynPool, "_quick_put"),
    (asynpool.AsynPool, "consolidate_callback"),
    (asynpool.AsynPool, "_all_inqueues"),
    (asynpool.AsynPool, "_busy_workers"),
    (asynpool.AsynPool, "_active_writes"),
    (asynpool.AsynPool, "outbound_buffer"),
    (asynpool.AsynPool, "on_job_ready"),
    (asynpool.AsynPool, "flush"),
    (billiard_pool.Pool, "_maintain_pool"),
    (billiard_pool.Pool, "_join_exited_workers"),
    (billiard_pool.Pool, "_repopulate_pool"),
    (billiard_pool.Pool, "mark_as_worker_lost"),
    (billiard_pool.Pool, "did_start_ok"),
    (billiard_pool.Pool, "_putlock"),
    (billiard_pool.Pool, "_pool"),
    (billiard_pool.Pool, "_cache"),
    (asynpool.ResultHandler, "_make_methods"),
    (billiard_pool.ResultHandler, "state_handlers"),
    (billiard_pool.ResultHandler, "on_state_change"),
    (billiard_pool.ResultHandler, "on_ready_counters"),
    (billiard_pool.ResultHandler, "putlock"),
    (billiard_pool.ResultHandler, "cache"),
    (billiard_pool.ApplyResult, "_worker_pid"),
    (billiard_pool.ApplyResult, "_write_to"),
    (billiard_pool.ApplyResult, "_scheduled_for"),
    (billiard_pool.ApplyResult, "_job"),
    (billiard_pool.ApplyResult, "_accept_callback"),
    (billiard_pool.ApplyResult, "_set"),
    (asynpool.Worker, "_make_child_methods"),
    (asynpool.Worker, "after_fork"),
    (billiard_pool.Worker, "wait_for_job"),
    (billiard_pool.Worker, "inqW_fd"),
    (billiard_pool.Worker, "synqW_fd"),
    (common, "reset_signals"),
    (worker_program, "safe_say"),
    (_state, "_tls"),
    (_state, "current_app"),
    (_state, "default_app"),
    (_state, "_set_current_app"),
    (_state, "set_default_app"),
    (Celery, "send_task"),
    (process, "_parent_pid"),
    (heap, "BufferWrapper"),
    (heap, "Arena"),
    (request.Request, "_terminate_on_ack"),
    (request.Request, "on_accepted"),
    (request.Request, "on_failure"),
    (request.Request, "acknowledge"),
    (request.Request, "acknowledged"),
    (request.Request, "time_start"),
    (request.Request, "revoked"),
    (request.Request, "terminate"),
    (consumer.Consumer, "cancel_active_requests"),
    (state, "requests"),
    (state, "reserved_requests"),
    (state, "task_ready"),
    (state, "maybe_shutdown"),
    (consumer.Consumer, "ensure_connected"),
    (consumer.Consumer, "on_close"),
    (consumer.Consumer, "register_with_event_loop"),
    (consumer.Consumer, "broker_connection_retry_attempt"),
    (consumer.Consumer, "first_connection_attempt"),
    (consumer.Consumer, "connect"),
    (AMQP, "Consumer"),
    (KombuConsumer, "declare"),
    (KombuConsumer, "_queues"),
    (KombuConsumer, "_basic_consume"),
    (KombuConsumer, "cancel_by_queue"),
    (amqp_channel.Channel, "is_open"),
    (amqp_channel.Channel, "cancel_callbacks"),
    (semaphore.LaxBoundedSemaphore, "_waiting"),
    (semaphore.LaxBoundedSemaphore, "initial_value"),
    (hub.Hub, "call_repeatedly"),
    (consumer.Consumer, "create_task_handler"),
    (consumer.Consumer, "on_decode_error"),
    (pidbox.Mailbox, "node_cls"),
    (pidbox.Mailbox, "get_queue"),
    (pidbox.Mailbox, "get_reply_queue"),
    (Queue, "can_cache_declaration"),
    (pidbox.Mailbox, "reply_exchange"),
    (pidbox.Node, "handle_message"),
    (pidbox.Node, "handlers"),
    (Events, "dispatcher_cls"),
    (EventDispatcher, "send"),
    (EventDispatcher, "buffer_limit"),
    (EventDispatcher, "on_send_buffered"),
    (WorkerProgram, "on_before_init"),
    (Connection, "_connection"),
    (kombu_redis.Channel, "conn_or_acquire"),
    (kombu_redis.Channel, "sep"),
    (kombu_redis.Channel, "_brpop_start"),
    (kombu_redis.Channel, "handlers"),
    (kombu_redis.Channel, "_in_poll"),
    (kombu_redis.Channel, "_brpop_sent_at"),
    (kombu_redis.Channel, "brpop_timeout"),
    (kombu_redis.Channel, "_queue_cycle"),
    (kombu_redis.Channel, "_q_for_pri"),
    (kombu_redis.Channel, "priority_steps"),
    (kombu_redis.Channel, "global_keyprefix"),
    (kombu_redis.Channel, "_brpop_read"),
    (kombu_redis.Channel, "_handle_message"),
    (kombu_redis.Channel, "_get"),
    (compression, "_decoders"),
    (transport, "TRANSPORT_ALIASES"),
    (SSLTransport, "_wrap_socket_sni"),
]


@pytest.mark.parametrize(("owner", "name"), USED, ids=[f"{owner.__name__}.{name}" for owner, name in USED])
def test_a_private_name_is_still_there(owner: Any, name: str) -> None:
    assert hasattr(owner, name) or name in inspect.getsource(owner)


@pytest.mark.parametrize("name", sorted({name for _, name in USED}))
def test_a_private_name_is_in_the_list(name: str) -> None:
    assert f"`{name}`" in README.read_text()


def test_celery_reads_states_of_its_own_below_ours() -> None:
    from ava.node.celery_internals import take_ahead

    ours = {take_ahead.SOON_FREE}
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
