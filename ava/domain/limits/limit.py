"""A limit: its name, its value, and its mention in errors; and operators' limits of a tenant."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

from ava.domain.jobs import priority
from ava.domain.limits.rates import Rate
from ava.settings import Settings

#: The highest limit of running jobs that operators can set for a tenant.
MAX_RUNNING = 1_000_000

_SETTING = {"description": "The environment variable that sets the limit; null: it is fixed."}


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A named limit with a fixed value, or the value of a setting."""

    name: str = field(metadata={"description": "The name in errors, such as `bulk_jobs`."})
    unit: str = field(metadata={"description": "The counted unit, such as `bytes`."})
    #: The limited quantity, as a sentence without a verb: "Bytes of a body …".
    meaning: str
    status: int | None = field(
        metadata={
            "description": "The HTTP status when a request exceeds the limit; null: the response ends early instead.",
            "minimum": 400,
            "maximum": 599,
        }
    )
    #: None if a setting has the value.
    fixed: int | None = None
    field: str | None = None

    @property
    def setting(self) -> Annotated[str | None, _SETTING]:
        return None if self.field is None else Settings.__dataclass_fields__[self.field].metadata["variable"]

    @property
    def default(self) -> int | None:
        """Return the default value; None: unlimited."""
        if self.field is None:
            return self.fixed
        return _set(Settings.__dataclass_fields__[self.field].default)

    def of(self, settings: Settings) -> int | None:
        """Return the value in these settings; None: unlimited."""
        return self.fixed if self.field is None else _set(getattr(settings, self.field))

    def message(self, sentence: str) -> str:
        return f"{sentence} (limit {self.name})"

    @property
    def value(self) -> int:
        """Return the fixed value. Raise `TypeError` if a setting has the value."""
        if self.fixed is None:
            raise TypeError(f"the limit {self.name} has no fixed value")
        return self.fixed


def _set(value: Any) -> int | None:
    # 0 or an empty setting means unlimited; a rate is a string such as 300/minute.
    return int(str(value).partition("/")[0] or 0) or None


@dataclass(frozen=True, kw_only=True)
class TenantRules:
    """The limits that operators have set for a tenant; null: the installation's default."""

    tenant_id: str
    max_running: int | None = field(
        default=None,
        metadata={"description": "Max number of its running jobs; 0: none.", "minimum": 0, "maximum": MAX_RUNNING},
    )
    weight: float | None = field(
        default=None,
        metadata={
            "description": "Its weight in fair queueing (default 1), relative to the weights of other tenants.",
            "maximum": 1_000.0,
        },
    )
    most_urgent_priority: int | None = field(
        default=None,
        metadata={
            "description": "The smallest priority number that its jobs may have; a smaller number is raised to it.",
            "minimum": priority.FIRST,
            "maximum": priority.LAST,
        },
    )
    retention_days: float | None = field(
        default=None,
        metadata={
            "description": "Retention of its ended jobs and their log lines, in days; a worker's own "
            "`retention_days` takes precedence. A change applies to stored jobs within ten minutes."
        },
    )
    updated_by: str | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class LimitUse:
    limit: Limit = field(metadata={"flat": True})
    #: Or the tenant's own value from operators.
    value: int | None = field(metadata={"description": "Null: there is no limit."})
    #: At most `MAX_COUNTED_IN_USE`.
    used: int | None = field(metadata={"description": "The tenant's usage; null: not counted."})
    used_is_exact: bool | None = field(metadata={"description": "False: `used` is a lower bound."})


#: Max counted running and queued jobs of a worker with a limit.
MAX_COUNTED = 1_000


@dataclass(frozen=True, kw_only=True)
class WorkerLimitUse:
    """A worker with a limit, and the jobs of one tenant that run or wait."""

    worker_id: str
    max_running: int | None = field(metadata={"description": "Max number of running jobs; null: no limit."})
    max_running_per: str | None = field(
        metadata={"description": "`tenant`, a path in the input, or null: the whole worker."}
    )
    rate: Rate | None = field(metadata={"description": "Max starts per period, such as `100/minute`."})
    rate_per: str | None
    running: int = field(metadata={"description": "The tenant's running jobs of the worker."})
    waiting: int = field(
        metadata={
            "description": f"Jobs waiting for a permit, among the first {MAX_COUNTED:,} queued jobs of the worker."
        }
    )
    waiting_is_exact: bool = field(metadata={"description": "False: `waiting` is a lower bound."})
