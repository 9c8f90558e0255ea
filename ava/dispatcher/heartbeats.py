"""Which nodes are silent: judged by whether their heartbeats change, on this process's own clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

#: If more seconds pass between two observations, the database may have been out of reach meanwhile.
_GAP_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Heartbeat:
    #: PostgreSQL's time of the heartbeat. It is only compared with another one for equality.
    seen_at: datetime
    #: When this process first read it, in seconds of the monotonic clock.
    read_at: float


class Heartbeats:
    """The heartbeats that one process has read. One thread observes, any thread asks.

    PostgreSQL's clock may jump, and after an outage the heartbeats of living nodes are old. So a node is silent only if
    its heartbeat has not changed while this process itself read it again and again, without a gap.
    """

    def __init__(self) -> None:
        self._heartbeats: Mapping[str, _Heartbeat] = {}
        self._observed_at = float("-inf")

    def observe(self, now: float, seen_at: Mapping[str, datetime]) -> None:
        """Record the heartbeats that were read at `now`, by the node's id."""
        known = self._heartbeats if now - self._observed_at <= _GAP_SECONDS else {}
        heartbeats = {}
        for node_id, moment in seen_at.items():
            last = known.get(node_id)
            if last is None or last.seen_at != moment:
                last = _Heartbeat(seen_at=moment, read_at=now)
            heartbeats[node_id] = last
        self._heartbeats, self._observed_at = heartbeats, now

    def forget(self) -> None:
        """Begin anew, because the database could not be read or written: the nodes may not have been able to either."""
        self._heartbeats = {}

    def silent(self, now: float, *, seconds: float) -> dict[str, datetime]:
        """Returns the nodes whose heartbeats have not changed for so long, each with its last heartbeat."""
        if now - self._observed_at > _GAP_SECONDS:
            return {}
        heartbeats = self._heartbeats
        return {node_id: last.seen_at for node_id, last in heartbeats.items() if now - last.read_at >= seconds}
