"""Validate messages from the untrusted broker: a node accepts only the form that our publisher writes.

An accepted message keeps only the validated values. Celery acts on many more, such as callbacks, times, limits and a
reply queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kombu.pidbox import Node as ControlNode

from ava.broker.untrusted_messages import DROPPED
from ava.domain.jobs.messages import SIGNATURE, TASK, is_signed, read_arguments

#: Maximum bytes of a message's body. Ours have at most 2,100: 320, plus 120 for each further run.
MAX_BYTES = 4096


class MessageRefused(Exception):
    """A message that this service did not publish. Its argument is the reason, for the metric."""


def admit(message: Any, keys: Sequence[bytes] = ()) -> None:
    """Validate a message, remove all other content, and set its attribute `job_message`. Raises `MessageRefused`.

    `keys`: the keys of AVA_MESSAGE_KEY; if there are any, one must have signed the message.
    """
    headers = message.headers
    if not isinstance(headers, dict) or headers.get("task") != TASK or message.content_type != "application/json":
        raise MessageRefused("foreign")
    if not isinstance(message.body, bytes | str) or len(message.body) > MAX_BYTES:
        raise MessageRefused("foreign")
    try:
        arguments, keywords, embedded = message.payload
    except Exception:
        raise MessageRefused("unreadable") from None
    ours = read_arguments(arguments)
    if ours is None or keywords != {} or not _is_empty(embedded) or headers.get("id") != ours.task_id:
        raise MessageRefused("foreign")
    if keys and not is_signed(keys, headers.get(SIGNATURE), *ours.signed_parts):
        raise MessageRefused("unsigned")
    message.headers = {
        "task": TASK,
        "id": headers["id"],
        "root_id": headers["id"],
        "ignore_result": True,
        "argsrepr": ours.arguments_repr,
        "kwargsrepr": "{}",
    }
    message.properties = {}
    message.job_message = ours


def _is_empty(embedded: Any) -> bool:
    return isinstance(embedded, dict) and not any(embedded.values())


class GuardedControlNode(ControlNode):  # type: ignore[misc]  # kombu has no annotations
    """A node's side of remote control. It ignores messages that are malformed or can block it."""

    def handle_message(self, body: Any, message: Any = None) -> Any:
        if not self._is_sane(body):
            DROPPED.drop("control")
            return None
        if message is not None:
            # The sender's logical clock is an unbounded number that this node would send on with each event.
            message.headers = {}
        return super().handle_message(body, message)

    def _is_sane(self, body: Any) -> bool:
        # A pattern is a regular expression and may take hours to match.
        if not isinstance(body, dict) or body.get("pattern") or body.get("matcher"):
            return False
        method, arguments, reply_to = body.get("method"), body.get("arguments") or {}, body.get("reply_to")
        if not isinstance(method, str) or method not in self.handlers or not isinstance(arguments, dict):
            return False
        # A reply to any other address would let the sender write into a queue of its choice.
        return reply_to is None or (
            isinstance(reply_to, dict)
            and reply_to.get("exchange") == self.mailbox.reply_exchange.name
            and isinstance(reply_to.get("routing_key"), str)
        )
