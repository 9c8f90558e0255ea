"""Calls about notices: `client.notices.create(…)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ava.client.calls import Calls, PausableResource, flag, key_header
from ava.client.deliveries import NoticeDeliveries
from ava.client.flows import Flow, Listing, Mode, Sender, call, listing
from ava.client.records import Delivery, Notice
from ava.client.sent import segment

_NOTICES = "/v1/ava/notices"


class Notices(PausableResource[Mode, Notice]):
    """Calls about notices, which send messages to Slack, Teams, mail addresses or a URL."""

    _kind, _path = Notice, _NOTICES

    def __init__(self, calls: Calls, sender: Sender) -> None:
        super().__init__(calls, sender)
        #: Shows the deliveries of a notice, and sends them again.
        self.deliveries: NoticeDeliveries[Mode] = NoticeDeliveries(calls, sender)

    @call
    def create(
        self,
        name: str,
        channel: str,
        target: str,
        on: Sequence[Mapping[str, Any]],
        *,
        paused: bool = False,
        idempotency_key: str | None = None,
    ) -> Flow[Notice]:
        """Create a notice. `channel`: `slack`, `teams`, `email` or `webhook`; the API never shows the target again.

        Each rule of `on` has an `event` and its conditions: `{"event": "job.failed", "worker_id": "wkr_report"}`.
        """
        body = {"name": name, "channel": channel, "target": target, "on": [*map(dict, on)], "paused": paused}
        return self._calls.record(Notice, "POST", _NOTICES, body=body, headers=key_header(idempotency_key))

    @listing
    def list(self, *, paused: bool | None = None, per_page: int = 100) -> Listing[Notice]:
        """Return the notices, newest first: all, paused or other ones."""
        return self._calls.records(Notice, _NOTICES, {"per_page": per_page, "filter[paused]": flag(paused)})

    @call
    def get(self, notice_id: str) -> Flow[Notice]:
        """Return a notice."""
        return self._calls.record(Notice, "GET", f"{_NOTICES}/{segment(notice_id)}")

    @call
    def update(
        self,
        notice_id: str,
        *,
        name: str | None = None,
        channel: str | None = None,
        target: str | None = None,
        on: Sequence[Mapping[str, Any]] | None = None,
    ) -> Flow[Notice]:
        """Change the given fields. A new channel needs a target."""
        rules = None if on is None else [*map(dict, on)]
        fields = {"name": name, "channel": channel, "target": target, "on": rules}
        body = {name: value for name, value in fields.items() if value is not None}
        return self._calls.record(Notice, "PATCH", f"{_NOTICES}/{segment(notice_id)}", body=body)

    @call
    def delete(self, notice_id: str) -> Flow[None]:
        """Delete a notice with its target. It sends nothing more."""
        return self._calls.delete(f"{_NOTICES}/{segment(notice_id)}")

    @call
    def test(self, notice_id: str) -> Flow[Delivery]:
        """Send a test message, which is retried like any other. Returns its pending delivery."""
        return self._calls.record(Delivery, "POST", f"{_NOTICES}/{segment(notice_id)}/test", is_idempotent=False)
