"""Workers that a tenant may run as MCP tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ava.domain.worker import WorkerTool
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import Statement
from ava.store.fleet import worker_settings
from ava.store.fleet.workers import IS_VISIBLE

_ROWS = RecordRows(WorkerTool, "w", columns={"status": worker_settings.STATUS})
# A handler's declaration overrides the setting.
_PAGE = Statement(f"""
SELECT {_ROWS.columns}
FROM workers AS w
{worker_settings.joined("%(tenant_id)s")}
WHERE {IS_VISIBLE} AND {worker_settings.STATUS} <> 'deprecated' AND w.mcp IS DISTINCT FROM 'off'
    AND (w.mcp IS NOT NULL OR NOT %(is_declared)s AND w.id LIKE ANY (%(patterns)s::text[]))
    AND (%(id)s::text IS NULL OR w.id = %(id)s) AND w.id > %(after_id)s COLLATE "C"
    AND (%(search)s::text IS NULL OR strpos(lower(w.id), lower(%(search)s)) > 0
         OR strpos(lower(w.name), lower(%(search)s)) > 0 OR strpos(lower(w.description), lower(%(search)s)) > 0)
ORDER BY w.id COLLATE "C" LIMIT %(limit)s
""")


@dataclass(frozen=True, kw_only=True)
class ToolFilter:
    #: Slugs, with `*` as a wildcard, of tools among the workers with handlers that do not declare it.
    patterns: tuple[str, ...]
    #: Whether only workers count that are declared as tools by their handlers.
    is_declared: bool = False
    id: str | None = None
    #: A part of an id, a name or a description, case-insensitive.
    search: str | None = None

    @property
    def parameters(self) -> dict[str, object]:
        likes = [_like(pattern) for pattern in self.patterns]
        return {"patterns": likes, "is_declared": self.is_declared, "id": self.id, "search": self.search}


def _like(pattern: str) -> str:
    return f"wkr_{pattern}".replace("_", r"\_").replace("*", "%")


def page(
    connection: Connection, *, tenant_id: str, tool_filter: ToolFilter, limit: int, after_id: str | None = None
) -> list[WorkerTool]:
    """Return the workers that a tenant may run as MCP tools, by id."""
    parameters = {"tenant_id": tenant_id, "limit": limit, "after_id": after_id or "", **tool_filter.parameters}
    return [_ROWS.read(row) for row in connection.exec_driver_sql(_PAGE, parameters)]


_UNMATCHED = Statement("""
SELECT p.number FROM unnest(%(patterns)s::text[]) WITH ORDINALITY AS p (pattern, number)
WHERE NOT EXISTS (SELECT FROM workers AS w WHERE w.id LIKE p.pattern) ORDER BY p.number
""")


def unmatched(connection: Connection, patterns: Sequence[str]) -> list[str]:
    """Return the slug patterns that match no worker of any tenant."""
    parameters = {"patterns": [_like(pattern) for pattern in patterns]}
    return [patterns[number - 1] for number in connection.exec_driver_sql(_UNMATCHED, parameters).scalars()]
