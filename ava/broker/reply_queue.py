"""Celery's remote control for programs that query nodes: `celery -A ava.app inspect` and Flower."""

from __future__ import annotations

from celery.app.control import Control as CeleryControl
from kombu import Queue
from kombu.pidbox import Mailbox


class ReplyMailbox(Mailbox):  # type: ignore[misc]  # kombu has no annotations
    """Declares the reply queue before each command is sent.

    kombu declares a durable queue once per connection and name. The reply queue is deleted with each command, but its
    name recurs because it derives from an object's address. So in long-running clients such as Flower the queue would
    not exist until kombu reads it, and earlier replies would be dropped.
    """

    def get_reply_queue(self) -> Queue:
        queue = super().get_reply_queue()
        # kombu declares auto-delete queues each time (`Queue.can_cache_declaration`).
        queue.auto_delete = True
        return queue


class AskingControl(CeleryControl):  # type: ignore[misc]  # Celery has no annotations
    """Celery's remote control with this mailbox."""

    Mailbox = ReplyMailbox
