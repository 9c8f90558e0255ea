"""Checks of `ava doctor` about processes: all required ones run, and no node refuses messages."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ava.settings import Settings

_MAX_NODES = 500
_MAX_NAMED = 10
#: Endpoints that get webhooks.
_SERVED = ("active", "degraded")


def check_processes(settings: Settings) -> str:
    """Return the running processes. Raises `StartError` without a dispatcher, a node, or a required sender."""
    from ava.errors import StartError
    from ava.store.engine import leader_lease, schema
    from ava.store.engine.database import Database
    from ava.store.reports import metrics
    from ava.store.webhooks import endpoint_leases

    schema.check(settings)
    dead_after = settings.node_dead_seconds
    with closing(Database.of(settings, name="doctor")) as database, database.connect() as connection:
        has_dispatcher = leader_lease.await_leader(connection)
        live = [of for of in metrics.node_counts(connection, dead_after_seconds=dead_after) if of.state == "live"]
        senders = endpoint_leases.count_senders(connection, dead_after_seconds=dead_after)
        endpoints = sum(count for status, count, _ in metrics.endpoint_counts(connection) if status in _SERVED)
    missing = []
    if not has_dispatcher:
        missing.append(
            "no dispatcher is active, so no waiting job starts and no schedule fires: run `ava start dispatcher`"
        )
    if not live:
        missing.append("no node is live, so no job runs: run `ava start node`")
    if endpoints and not senders:
        missing.append(
            f"no sender is live, so {endpoints} webhook{'s get' * (endpoints > 1) or ' gets'} nothing: run `ava "
            "start sender`"
        )
    if missing:
        raise StartError(f"{'; '.join(missing)}. `ava up` starts all of them.")
    nodes = ", ".join(f"{of.nodes} of version {of.version}" for of in live)
    return f"an active dispatcher; live nodes: {nodes}; senders of webhooks: {senders}"


def check_nodes(settings: Settings) -> str:
    """Return the number of live nodes. Raises `StartError` if one of them refuses messages."""
    from ava.errors import StartError
    from ava.store.engine import schema
    from ava.store.engine.database import Database
    from ava.store.fleet import node_reads
    from ava.store.fleet.node_reads import NodeFilter

    schema.check(settings)
    with closing(Database.of(settings, name="doctor")) as database, database.connect() as connection:
        every = NodeFilter(tenant_id="", has_all=True)
        dead_after = settings.node_dead_seconds
        found = node_reads.page(connection, every, dead_after_seconds=dead_after, limit=_MAX_NODES)
    live = [node for node in found if node.state == "live"]
    refusing = [f"{node.name} ({', '.join(node.refused_messages)})" for node in live if node.refused_messages]
    if refusing:
        raise StartError(
            f"{len(refusing)} of {len(live)} live nodes refused messages from the broker in the last minute: "
            f"{'; '.join(refusing)}. `unsigned`: AVA_MESSAGE_KEY of the node lacks the first key of the API and the "
            "dispatcher, and the jobs wait. Other reasons: another program writes these messages."
        )
    return f"{len(live)} live, and none refuses messages"


def check_workers(settings: Settings) -> str:
    """Return that each id belongs to one worker. Raises `StartError` if a pull worker hides another worker."""
    from ava.errors import StartError
    from ava.store.engine import schema
    from ava.store.engine.database import Database
    from ava.store.fleet import pull_workers

    schema.check(settings)
    with closing(Database.of(settings, name="doctor")) as database, database.connect() as connection:
        found = pull_workers.hiding(connection, limit=_MAX_NAMED + 1)
    if found:
        named = [f"{id_} of {'the platform' if owner == '*' else owner}" for owner, id_ in found[:_MAX_NAMED]]
        more = " and more" if len(found) > _MAX_NAMED else ""
        raise StartError(
            f"{', '.join(named)}{more}: a pull worker has the same id as a handler or a platform worker, and "
            "receives its jobs. Rename the handler, or delete the pull worker."
        )
    return "no pull worker hides another worker"


def check_agents(settings: Settings) -> str:
    """Return the workers that are MCP tools. Raises `StartError` if AVA_MCP_WORKERS names an unknown worker."""
    from ava.errors import StartError
    from ava.store.engine import schema
    from ava.store.engine.database import Database
    from ava.store.fleet import worker_tools

    schema.check(settings)
    named = [pattern for pattern in settings.mcp_workers if pattern not in ("*", "-")]
    with closing(Database.of(settings, name="doctor")) as database, database.connect() as connection:
        unmatched = worker_tools.unmatched(connection, named)
    if unmatched:
        raise StartError(
            f"AVA_MCP_WORKERS names {', '.join(unmatched[:_MAX_NAMED])}, but no such worker exists. Use slugs from "
            "`ava workers list`, without wkr_, or start nodes that have their handlers."
        )
    return f"workers that AVA_MCP_WORKERS offers as tools: {', '.join(settings.mcp_workers)}"
