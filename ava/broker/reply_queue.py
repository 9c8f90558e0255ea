"""Celery's remote control for programs that ask nodes: `celery -A ava.app inspect`, and Flower."""

from __future__ import annotations

from celery.app.control import Control as CeleryControl
from kombu import Queue
from kombu.pidbox import Mailbox


class ReplyMailbox(Mailbox):  # type: ignore[misc]  # kombu has no annotations
    """Declares the queue of the replies with each command, before the command is sent.

    kombu declares a durable queue once for each connection and name. The queue of the replies is deleted with each
    command, but its name recurs, because it is made of an object's address. So it would not exist until kombu reads it,
    and the reply of a node that is quicker than that would be dropped. A program that asks for long is Flower.
    """

    def get_reply_queue(self) -> Queue:
        queue = super().get_reply_queue()
        # kombu declares such a queue each time (`Queue.can_cache_declaration`).
        queue.auto_delete = True
        return queue


class AskingControl(CeleryControl):  # type: ignore[misc]  # Celery has no annotations
    """Celery's own, with that queue."""

    Mailbox = ReplyMailbox
