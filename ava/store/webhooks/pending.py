"""Parts of statements that search an endpoint's pending deliveries, which are found by other columns than the id."""

from __future__ import annotations

__all__ = ["ALL_IDS", "IS_SEARCHED", "failures_of"]

#: The condition that a delivery `d` has one of the ids that are searched, by which other partitions are left out.
IS_SEARCHED = "d.id BETWEEN %(first)s::uuid AND %(last)s::uuid"
#: The first and the last of all ids.
ALL_IDS = ("00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff")


def failures_of(endpoint: str, condition: str = "true") -> str:
    """Returns the failures of an endpoint's pending deliveries, each number once, as the FROM item `f (failures)`.

    Every search looks into each partition, so a loose index scan, from the most to none, finds those that there are.
    """
    return f"""(
        WITH RECURSIVE levels (failures) AS (
            (SELECT d.failures FROM webhook_deliveries AS d
             WHERE d.endpoint_id = {endpoint} AND d.status = 'pending' AND {condition}
             ORDER BY d.failures DESC LIMIT 1)
            UNION ALL
            SELECT next.failures FROM levels CROSS JOIN LATERAL (
                SELECT d.failures FROM webhook_deliveries AS d
                WHERE d.endpoint_id = {endpoint} AND d.status = 'pending' AND d.failures < levels.failures
                    AND {condition}
                ORDER BY d.failures DESC LIMIT 1
            ) AS next WHERE levels.failures > 0
        )
        SELECT failures FROM levels
    ) AS f (failures)"""
