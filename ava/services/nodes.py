"""Use cases of nodes: list, drain, and end a drain."""

from __future__ import annotations

from ava.domain import ids
from ava.domain.access.caller import Caller
from ava.errors import NodeNotFound, OperatorsOnly
from ava.store.engine.database import Database
from ava.store.fleet import node_reads, nodes
from ava.store.fleet.node_reads import NodeView


class Nodes:
    """Use cases of nodes."""

    def __init__(self, database: Database, *, node_dead_seconds: float) -> None:
        self._database = database
        self._node_dead_seconds = node_dead_seconds

    def list(self, caller: Caller) -> list[NodeView]:
        """Return the nodes, each with the tenant's jobs that it runs.

        Platform roles see all nodes with their hosts, workers and numbers; tenants only the nodes that they can use.
        """
        with self._database.connect() as connection:
            found = node_reads.nodes(connection, tenant_id=caller.tenant_id, dead_after_seconds=self._node_dead_seconds)
            if caller.is_operator:
                return found
            return node_reads.only_visible(connection, found, tenant_id=caller.tenant_id)

    def set_drained(self, caller: Caller, node_id: str, *, is_drained: bool) -> tuple[bool, NodeView]:
        """Stop a node from taking jobs, or let it take jobs again, from its next heartbeat on.

        Return True if it was drained before, and the node. Raise `OperatorsOnly`, `NodeNotFound`.
        """
        if not caller.is_operator:
            raise OperatorsOnly
        if (uuid := ids.decode("node", node_id)) is None:
            raise NodeNotFound
        with self._database.connect() as connection:
            was_drained = nodes.set_drained(connection, str(uuid), is_drained=is_drained, user_id=caller.user_id)
            if was_drained is None:
                raise NodeNotFound
        found = next((node for node in self.list(caller) if node.id == node_id), None)
        if found is None:
            raise NodeNotFound
        return was_drained, found
