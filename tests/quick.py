"""`--quick`: only the unit tests, and the integration tests on PostgreSQL and Redis (`make test-quick`).

It deselects tests by what they need, and the files that take longest. The command's last line counts them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

#: Servers and programs that a quick test does without, by their fixtures: RabbitMQ, PgBouncer, servers of the test's
#: own, whole systems, a browser.
NEEDED = frozenset(
    ("rabbitmq_server", "rabbitmq_url", "pooler", "private_postgres", "private_redis", "system", "browser")
)
#: Files whose tests start servers of their own in other ways, or migrate many databases: a quarter of the time.
LONG = (
    "integration/test_embedded.py",
    "integration/test_held_snapshot.py",
    "integration/test_migrations.py",
    "integration/test_promotions.py",
    "integration/test_replicated_triggers.py",
    "integration/test_standby_reads.py",
)


def deselect(items: list[pytest.Item], config: pytest.Config) -> None:
    """Take the tests out of `items` that are not quick."""
    quick = [item for item in items if _is_quick(item)]
    config.hook.pytest_deselected(items=[item for item in items if not _is_quick(item)])
    items[:] = quick


def _is_quick(item: pytest.Item) -> bool:
    ring, *rest = Path(item.path).relative_to(Path(__file__).parent).parts
    needed = NEEDED.intersection(getattr(item, "fixturenames", ()))
    return (
        ring in ("unit", "integration")
        and "/".join((ring, *rest)) not in LONG
        and not needed
        and item.get_closest_marker("rabbitmq") is None
    )
