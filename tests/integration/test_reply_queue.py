"""Remote control with replies, as Flower uses it, on a machine that pauses the program that asks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from celery import Celery

from ava.broker.celery_app import make_app
from ava.settings import Settings


@contextmanager
def _node(app: Celery, answered: threading.Event) -> Iterator[None]:
    """A node that replies to `ping`, and sets the event when it has."""
    has_ended = threading.Event()
    with app.connection_for_read() as connection, connection.channel() as channel:
        handlers = {"ping": lambda *_, **__: "pong"}
        node = app.control.mailbox(connection).Node("ava-1", channel=channel, handlers=handlers)

        def handle(body: Any, message: Any) -> None:
            node.handle_message(body, message)
            answered.set()

        def consume() -> None:
            while not has_ended.is_set():
                with suppress(socket.timeout):
                    connection.drain_events(timeout=0.2)

        node.listen(callback=handle)
        thread = threading.Thread(target=consume)
        thread.start()
        try:
            yield
        finally:
            has_ended.set()
            thread.join()


def test_a_reply_that_comes_before_it_is_read_is_not_lost(settings: Settings) -> None:
    app, answered = make_app(settings, consumes=True), threading.Event()
    with _node(app, answered), app.connection_for_write() as connection:
        mailbox = app.control.mailbox(connection)
        publish = mailbox._publish

        def publish_and_pause(*positional: Any, **named: Any) -> None:
            publish(*positional, **named)
            assert answered.wait(30)
            answered.clear()

        mailbox._publish = publish_and_pause
        for _ in range(3):
            # The queue has the same name each time, as by chance between the commands of one program.
            assert mailbox.multi_call("ping", timeout=5, limit=1) == [{"ava-1": "pong"}]
    app.pool.force_close_all()
