"""A limit: its name, its value, and its mention in errors; and operators' limits of a tenant."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from ava.domain.jobs import priority
from ava.settings import Settings

#: The highest limit of running jobs that operators can set for a tenant.
MAX_RUNNING = 1_000_000

_SETTING = {"description": "The environment variable that sets the limit; null: it is fixed."}


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A named limit with a fixed value, or the value of a setting."""

    name: str = dataclasses.field(metadata={"description": "The name in errors, such as `bulk_jobs`."})
    unit: str = dataclasses.field(metadata={"description": "The counted unit, such as `bytes`."})
    #: The limited quantity, as a sentence without a verb: "Bytes of a body …".
    meaning: str
    status: int | None = dataclasses.field(
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


def as_table(limits: Iterable[Limit]) -> str:
    """Return the Markdown table of `docs/reference/limits.md`."""
    rows = ["| limit | default | error | meaning |", "|---|---|---|---|"]
    for limit in limits:
        # The meaning begins with the unit, except for percentages.
        unit = " %" if limit.unit == "percent" else ""
        default = "none" if limit.default is None else f"{limit.default:,}{unit}"
        setting = "" if limit.setting is None else f" (`{limit.setting}`)"
        rows.append(f"| `{limit.name}` | {default}{setting} | {limit.status or ''} | {limit.meaning} |")
    return "\n".join(rows) + "\n"


@dataclass(frozen=True, kw_only=True)
class TenantRules:
    """The limits that operators have set for a tenant; null: the installation's default."""

    tenant_id: str
    max_running: int | None = dataclasses.field(
        default=None,
        metadata={"description": "Max number of its running jobs; 0: none.", "minimum": 0, "maximum": MAX_RUNNING},
    )
    weight: float | None = dataclasses.field(
        default=None,
        metadata={
            "description": "Its weight in fair queueing (default 1), relative to the weights of other tenants.",
            "maximum": 1_000.0,
        },
    )
    most_urgent_priority: int | None = dataclasses.field(
        default=None,
        metadata={
            "description": "The smallest priority number that its jobs may have; a smaller number is raised to it.",
            "minimum": priority.FIRST,
            "maximum": priority.LAST,
        },
    )
    retention_days: float | None = dataclasses.field(
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
    limit: Limit = dataclasses.field(metadata={"flat": True})
    #: Or the tenant's own value from operators.
    value: int | None = dataclasses.field(metadata={"description": "Null: there is no limit."})
    #: At most `MAX_COUNTED_IN_USE`.
    used: int | None = dataclasses.field(metadata={"description": "The tenant's usage; null: not counted."})
    used_is_exact: bool | None = dataclasses.field(metadata={"description": "False: `used` is a lower bound."})
