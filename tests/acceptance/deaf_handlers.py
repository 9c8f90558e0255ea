"""A handler module whose remote control command makes a node deaf: it consumes its queue no longer."""

from __future__ import annotations

from typing import Any

from celery.worker.control import control_command

DEAFEN = "test_deafen"


@control_command(name=DEAFEN)  # type: ignore[untyped-decorator]
def _deafen(state: Any) -> dict[str, str]:
    state.consumer.cancel_task_queue("default")
    return {"ok": "deaf"}
