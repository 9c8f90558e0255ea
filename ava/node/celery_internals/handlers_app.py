"""Set the current Celery application for handlers: their own, never this service's.

`@shared_task` publishes through the current application, which Celery's worker sets to its own. A handler's `.delay()`
would then publish into a queue of this service, whose nodes drop it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery, _state
from celery.exceptions import ImproperlyConfigured


class _NoApp(Celery):  # type: ignore[misc]  # Celery has no annotations
    """Celery's fallback application for handlers without their own. It publishes only to an explicitly configured
    broker.
    """

    def __init__(self) -> None:
        super().__init__(
            "default", fixups=[], set_as_current=False, loader=os.environ.get("CELERY_LOADER") or "default"
        )

    def send_task(self, name: str, *args: Any, **options: Any) -> Any:
        if not self.conf.broker_write_url:
            raise ImproperlyConfigured(
                f"the task {name} has no Celery application: make one, as in Celery(broker=...), in the module of the "
                "handler; `ava.client` triggers jobs of this service"
            )
        return super().send_task(name, *args, **options)


class HandlersApp:
    """The current application while a handler runs."""

    def __init__(self) -> None:
        self._app: Celery | None = None

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Record the application that handler modules make current while the block imports them."""
        ours, our_default = _state._tls.current_app, _state.default_app
        none = _NoApp()
        _state._set_current_app(None)
        _state.set_default_app(none)
        try:
            yield
            self._app = _state._tls.current_app or _state.default_app
        finally:
            _state._set_current_app(ours)
            _state.set_default_app(our_default)

    def make_current(self) -> None:
        _state._set_current_app(None)
        _state.set_default_app(self._app or _NoApp())
