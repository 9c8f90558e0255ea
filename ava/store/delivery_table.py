"""Read the deliveries of one direction: pages, counts and single ones. The tables differ, the statements do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from ava.domain import ids
from ava.domain.counts import MAX_IN_TOTAL, PageBounds
from ava.domain.delivery import Delivery, DeliveryStatus, decode_body
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import RecordRows
from ava.store.engine.statement import IN_ORDER, Statement


@dataclass(frozen=True, kw_only=True)
class DeliveryFilter:
    """A filter for the deliveries of a hook or a webhook; None means any."""

    status: DeliveryStatus | None = None
    event_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class DeliveryTable:
    """The table of one direction, and the statements that read it."""

    def __init__(
        self,
        name: str,
        *,
        owner: str,
        prefixes: Sequence[str],
        leading: Sequence[str],
        statuses: Sequence[DeliveryStatus],
        columns: Mapping[str, str],
        joins: str,
        body: str,
    ) -> None:
        """`owner` is the column of the hook, webhook or notice, and `prefixes` are the prefixes of its id.

        `leading` are the columns before the status in the indexes, `columns` the expressions of fields without a column
        of the same name, and `joins` further tables for these and for `body`, the column of the whole body.
        """
        self._name = name
        self._prefixes = prefixes
        self._leading = leading
        self._statuses = statuses
        self._rows = RecordRows(Delivery, "d", columns=columns, without=("body", "created_at"))
        self.columns, self.joins = self._rows.columns, joins
        #: The condition of one delivery.
        self.is_one = f"d.tenant_id = %(tenant_id)s AND {owner} = %(owner_id)s::uuid AND d.id = %(id)s::uuid"
        #: Statements without and with an event type; each module has them as constants.
        self.pages = self._page(has_type=False), self._page(has_type=True)
        self.counts = self._count(has_type=False), self._count(has_type=True)
        self.shown = Statement(f"SELECT {self.columns}, {body} FROM {name} AS d {joins} WHERE {self.is_one}")

    # As for jobs, a list consists of a few index ranges, one per status, as row comparisons in the index's order. With
    # IN_ORDER no short time range is read from `…_by_id`, which has the rows of all tenants.
    def ranges(self, *, has_type: bool, order: str = "DESC", columns: str = "d.id") -> str:
        """Return the matching ranges of an index as a FROM item, `found`, with `columns`, each range in `order`."""
        index = [*self._leading, "d.status", *(["d.event_type"] if has_type else [])]
        values = {"d.tenant_id": "%(tenant_id)s", "d.status": "s.status", "d.event_type": "%(event_type)s"}
        names, keys = ", ".join(index), ", ".join(values.get(name, "%(owner_id)s::uuid") for name in index)
        return f"""unnest(%(statuses)s::text[]) AS s (status) CROSS JOIN LATERAL (
    SELECT {columns} FROM {self._name} AS d
    WHERE ({names}, d.id) >= ({keys}, %(first)s::uuid) AND ({names}, d.id) < ({keys}, %(before)s::uuid)
        AND d.id >= %(first)s::uuid AND d.id < %(before)s::uuid AND d.tenant_id IS NOT DISTINCT FROM %(tenant_id)s
    ORDER BY {", ".join(f"{name} {order}" for name in index)}, d.id {order} LIMIT %(limit)s
) AS found"""

    def _page(self, *, has_type: bool) -> Statement:
        return Statement(f"""{IN_ORDER}
SELECT {self.columns} FROM (
    SELECT found.id FROM {self.ranges(has_type=has_type)} ORDER BY found.id DESC LIMIT %(page)s OFFSET %(offset)s
) AS asked CROSS JOIN LATERAL (
    SELECT * FROM {self._name} WHERE tenant_id = %(tenant_id)s AND id = asked.id LIMIT 1
) AS d {self.joins} ORDER BY d.id DESC
""")

    def _count(self, *, has_type: bool) -> Statement:
        ranges = self.ranges(has_type=has_type)
        return Statement(f"{IN_ORDER} SELECT count(*) FROM (SELECT 1 FROM {ranges} LIMIT %(limit)s) AS counted")

    def page(
        self,
        connection: Connection,
        *,
        tenant_id: str,
        owner_id: str,
        delivery_filter: DeliveryFilter,
        bounds: PageBounds,
    ) -> tuple[list[Delivery], int]:
        """Return deliveries of a hook or a webhook, newest first, without bodies.

        Also returns the number of matches, exact up to `MAX_IN_TOTAL`.
        """
        has_type = delivery_filter.event_type is not None
        page, count = self.pages[has_type], self.counts[has_type]
        part = self.parameters(tenant_id, owner_id, delivery_filter, bounds.after_id)
        part |= {"limit": bounds.limit + bounds.offset, "offset": bounds.offset, "page": bounds.limit}
        found = [self.read(row) for row in connection.exec_driver_sql(page, part)]
        every = self.parameters(tenant_id, owner_id, delivery_filter) | {"limit": MAX_IN_TOTAL}
        return found, int(connection.exec_driver_sql(count, every).scalar_one())

    def show(self, connection: Connection, *, tenant_id: str, owner_id: str, delivery_id: str) -> Delivery | None:
        """Return one delivery with its body; None if there is none."""
        parameters = self.one(tenant_id, owner_id, delivery_id)
        statement = self.shown
        row = connection.exec_driver_sql(statement, parameters).first()
        return None if row is None else self.read(row, body=_read_body(row[self._rows.count]))

    def parameters(
        self, tenant_id: str, owner_id: str, wanted: DeliveryFilter, before_id: str | None = None
    ) -> dict[str, object]:
        """Return the parameters of `ranges`, except `limit`."""
        return {
            **ids.uuid_range("del", since=wanted.since, until=wanted.until, before_id=before_id),
            "tenant_id": tenant_id,
            "owner_id": self._owner_uuid(owner_id),
            "statuses": [each.value for each in self._statuses if wanted.status in (None, each)],
            "event_type": wanted.event_type,
        }

    def one(self, tenant_id: str, owner_id: str, delivery_id: str) -> dict[str, object]:
        """Return the parameters of `is_one`."""
        return {"tenant_id": tenant_id, "owner_id": self._owner_uuid(owner_id), "id": delivery_uuid(delivery_id)}

    def _owner_uuid(self, owner_id: str) -> str | None:
        return next(filter(None, (ids.to_uuid(prefix, owner_id) for prefix in self._prefixes)), None)

    def read(self, row: Sequence[Any], body: str | None = None) -> Delivery:
        """Return the delivery of a row that begins with `columns`."""
        # The id's time, so that a time range of ids has exactly the deliveries that show a time in it.
        return self._rows.read(row, created_at=ids.time_of(row[0]), body=body)

    def rest(self, row: Sequence[Any]) -> Sequence[Any]:
        """Return the part of a row that follows `columns`."""
        return row[self._rows.count :]


delivery_uuid = partial(ids.to_uuid, "del")


def _read_body(body: Any) -> str | None:
    """Return a body as a string: bytes that are not UTF-8 in base64."""
    return decode_body(bytes(body)) if isinstance(body, memoryview | bytes) else body
