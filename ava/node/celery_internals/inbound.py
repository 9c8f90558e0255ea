"""What a node takes from the broker, which is not trusted: messages exactly as our publisher writes them.

A message that is taken keeps nothing but the values that were checked. Celery acts on many more, such as callbacks,
times, limits and a reply queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kombu.pidbox import Node as ControlNode

from ava.broker.dropped import DROPPED
from ava.domain.jobs.messages import SIGNATURE, TASK, is_signed, read_arguments

#: The most bytes of a message's body. Ours have at most 2,100: 320, and 120 for each further run.
MAX_BYTES = 4096


class MessageRefused(Exception):
    """A message is not one of ours. Its argument is the reason, for the metric."""


def admit(message: Any, keys: Sequence[str] = ()) -> None:
    """Check a message of a queue, and leave only what was checked in it. Raises `MessageRefused`.

    Set its attribute `job_message`, so that no other component parses it.

    `keys`: those of AVA_MESSAGE_KEY; with any, the message must be signed with one of them.
    """
    headers = message.headers
    if not isinstance(headers, dict) or headers.get("task") != TASK or message.content_type != "application/json":
        raise MessageRefused("foreign")
    if not isinstance(message.body, bytes | str) or len(message.body) > MAX_BYTES:
        raise MessageRefused("foreign")
    try:
        arguments, keywords, embedded = message.payload
    except Exception:
        # kombu raises errors of its own for what it cannot decode.
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
        "argsrepr": ours.arguments_text,
        "kwargsrepr": "{}",
    }
    message.properties = {}
    message.job_message = ours


def _is_empty(embedded: Any) -> bool:
    """Returns True if a message names no callbacks, chain or chord."""
    return isinstance(embedded, dict) and not any(embedded.values())


class GuardedControlNode(ControlNode):  # type: ignore[misc]  # kombu has no annotations
    """A node's side of remote control, which ignores messages that are malformed or can block it."""

    def handle_message(self, body: Any, message: Any = None) -> Any:
        """Run a command if it is for this node."""
        if not self._is_sane(body):
            DROPPED.drop("control")
            return None
        if message is not None:
            # The sender's logical clock is a number without a limit, which this node would send on with each event.
            message.headers = {}
        return super().handle_message(body, message)

    def _is_sane(self, body: Any) -> bool:
        # A pattern is a regular expression, which may take hours to match.
        if not isinstance(body, dict) or body.get("pattern") or body.get("matcher"):
            return False
        method, arguments, reply_to = body.get("method"), body.get("arguments") or {}, body.get("reply_to")
        if not isinstance(method, str) or method not in self.handlers or not isinstance(arguments, dict):
            return False
        # A reply that goes anywhere else would be a message of this node's in a queue that the sender chooses.
        return reply_to is None or (
            isinstance(reply_to, dict)
            and reply_to.get("exchange") == self.mailbox.reply_exchange.name
            and isinstance(reply_to.get("routing_key"), str)
        )
