"""The use case of limits: show each limit of this installation, with what a tenant uses of it."""

from __future__ import annotations

from dataclasses import dataclass

from ava.domain.access.caller import Caller
from ava.domain.limits.limit import Limit
from ava.domain.limits.table import LIMITS, MOST_URGENT_PRIORITY, TENANT_RUNNING_JOBS, TENANT_STORED_BYTES
from ava.settings import Settings
from ava.store.engine.database import Database
from ava.store.fleet import tenants
from ava.store.reports import usage, worker_limits
from ava.store.reports.usage import MAX_COUNTED_IN_USE
from ava.store.reports.worker_limits import WorkerLimitUse


@dataclass(frozen=True, kw_only=True)
class LimitUse:
    """A limit as it is set here, and what one tenant uses of it."""

    limit: Limit
    #: The limit's value, the tenant's own if operators have set one; None if there is none.
    value: int | None
    #: What the tenant uses; None if it is not counted. At most `MAX_COUNTED_IN_USE`, …
    used: int | None
    #: … of which it is a lower bound then.
    used_is_exact: bool | None

    @property
    def name(self) -> str:
        """Returns the limit's name."""
        return self.limit.name

    @property
    def unit(self) -> str:
        """Returns what is counted."""
        return self.limit.unit

    @property
    def setting(self) -> str | None:
        """Returns the variable that sets the limit; None if it is fixed."""
        return self.limit.setting

    @property
    def status(self) -> int | None:
        """Returns the HTTP status of a request beyond the limit; None if it is no error."""
        return self.limit.status

    @property
    def meaning(self) -> str:
        """Returns what is limited."""
        return self.limit.meaning


class TenantLimits:
    """The limits of this installation, over one database."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    def show(self, caller: Caller) -> list[LimitUse]:
        """Returns every limit with what the caller's tenant uses of it. Raises `DatabaseUnavailable`."""
        with self._database.connect() as connection:
            used = usage.read(connection, tenant_id=caller.tenant_id)
            rules = tenants.read(connection, caller.tenant_id)
        own = {TENANT_RUNNING_JOBS.name: rules.max_running, MOST_URGENT_PRIORITY.name: rules.most_urgent_priority}
        return [self._use_of(limit, used.get(limit.name), own.get(limit.name)) for limit in LIMITS]

    def of_workers(self, caller: Caller) -> list[WorkerLimitUse]:
        """Returns the workers with a limit, and what the caller's tenant uses of it. Raises `DatabaseUnavailable`."""
        with self._database.connect() as connection:
            return worker_limits.read(connection, tenant_id=caller.tenant_id)

    def _use_of(self, limit: Limit, used: int | None, own: int | None) -> LimitUse:
        """`own` is what operators have set for the tenant."""
        if limit.of(self._settings) is None and limit is TENANT_STORED_BYTES:
            # It is measured only if it is limited; what is known is of an earlier time.
            used = None
        return LimitUse(
            limit=limit,
            value=limit.of(self._settings) if own is None else own,
            # Bytes are not counted but measured, a while ago.
            used=used if used is None or limit.unit == "bytes" else min(used, MAX_COUNTED_IN_USE),
            used_is_exact=None if used is None else used <= MAX_COUNTED_IN_USE and limit.unit != "bytes",
        )
