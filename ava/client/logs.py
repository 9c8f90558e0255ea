"""Read a job's log: from its beginning or its end, searched by the server, and followed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ava.client.calls import Calls
from ava.client.events import Event, follow
from ava.client.flows import Flow, Item, Listing, Request
from ava.client.reading import read
from ava.client.records import LogLine
from ava.client.sent import sent_time

_MAX_LINES = 500


@dataclass(frozen=True, kw_only=True)
class LogChoice:
    """A choice of log lines; None means any."""

    level: str | None = None
    #: A part of the line, ignoring case.
    text: str | None = None
    #: The earliest time; a string without an offset is UTC.
    since: datetime | str | None = None

    def __post_init__(self) -> None:
        sent_time(self.since)

    @property
    def params(self) -> dict[str, Any]:
        return {"filter[level]": self.level, "q": self.text, "since": sent_time(self._since)}

    @property
    def _since(self) -> datetime | None:
        if not isinstance(self.since, str):
            return self.since
        timestamp = datetime.fromisoformat(self.since)
        return timestamp.replace(tzinfo=UTC) if timestamp.tzinfo is None else timestamp

    def admits(self, line: LogLine) -> bool:
        """Return True if a line of the stream, which has all lines, matches."""
        since = self._since
        return (
            self.level in (None, line.level)
            and (self.text is None or self.text.lower() in line.msg.lower())
            and (since is None or line.ts >= since)
        )


def read_log(calls: Calls, path: str, choice: LogChoice, *, tail: int | None, is_followed: bool) -> Listing[LogLine]:
    """Yield the log lines of the job at `path`, oldest first; see `client.jobs.logs`."""
    last_id = None
    if tail is not None:
        lines, last_id = yield from _tail(calls, path, choice, tail)
        yield from map(Item, lines)
    if is_followed:

        def line_of(event: Event) -> LogLine | None:
            return event.line if event.line is not None and choice.admits(event.line) else None

        yield from follow(calls, f"{path}/stream", line_of, last_id)
    elif tail is None:
        yield from _forward(calls, path, choice)


def _forward(calls: Calls, path: str, choice: LogChoice) -> Listing[LogLine]:
    params = choice.params | {"limit": _MAX_LINES}
    while True:
        lines, pagination = yield from _read(calls, path, params)
        yield from map(Item, lines)
        if not pagination["has_more"]:
            return
        params["after"] = pagination["next_cursor"]


def _tail(calls: Calls, path: str, choice: LogChoice, tail: int) -> Flow[tuple[list[LogLine], str | None]]:
    """Return the last lines, and the cursor after the last line of the log."""
    # Read the cursor first, so that no line written during the call is missed.
    _, last = yield from _read(calls, path, {"tail": 1})
    end = last["next_cursor"]
    if tail < 1 or end is None:
        return [], end
    found: list[LogLine] = []
    params = choice.params | {"limit": min(tail, _MAX_LINES), "before": end}
    while True:
        lines, pagination = yield from _read(calls, path, params)
        found[:0] = lines
        if len(found) >= tail or not pagination["has_more"]:
            return found[-tail:], end
        params["before"] = pagination["previous_cursor"]


def _read(calls: Calls, path: str, params: dict[str, Any]) -> Flow[tuple[list[LogLine], dict[str, Any]]]:
    response = yield from calls.send(Request(method="GET", url=f"{path}/logs", params=params))
    page = response.json()
    return [read(LogLine, data) for data in page["data"]["logs"]], page["pagination"]
