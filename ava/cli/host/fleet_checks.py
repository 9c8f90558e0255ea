"""The check of `ava doctor` that each process kind runs which the installation needs."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ava.settings import Settings

__all__ = ["check_processes"]

#: Endpoints that get webhooks.
_SERVED = ("active", "degraded")


def check_processes(settings: Settings) -> str:
    """Returns what runs. Raises `StartError` if no dispatcher, no node, or no sender although there are webhooks."""
    from ava.errors import StartError
    from ava.store.engine import leader_lease, schema
    from ava.store.engine.database import Database
    from ava.store.reports import metrics
    from ava.store.webhooks import endpoint_leases

    schema.check(settings)
    dead_after = settings.node_dead_seconds
    with closing(Database.of(settings, name="doctor")) as database, database.connect() as connection:
        has_dispatcher = leader_lease.has_leader(connection)
        live = [of for of in metrics.node_counts(connection, dead_after_seconds=dead_after) if of.state == "live"]
        senders = endpoint_leases.count_senders(connection, dead_after_seconds=dead_after)
        endpoints = sum(count for status, count, _ in metrics.endpoint_counts(connection) if status in _SERVED)
    missing = []
    if not has_dispatcher:
        missing.append("no dispatcher is active, so no backlog is published and no schedule fires: `ava dispatcher`")
    if not live:
        missing.append("no node is live, so no job runs: `ava worker`")
    if endpoints and not senders:
        missing.append(
            f"no sender is live, so {endpoints} webhook{'s get' * (endpoints > 1) or ' gets'} nothing: `ava webhooks`"
        )
    if missing:
        raise StartError(f"{'; '.join(missing)}. Start what is missing, or `ava up`, which starts all of them.")
    nodes = ", ".join(f"{of.nodes} of version {of.version}" for of in live)
    return f"an active dispatcher, live nodes: {nodes}; senders of webhooks: {senders}"
