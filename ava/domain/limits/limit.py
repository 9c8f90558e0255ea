"""A limit: its name, its value, and how errors name it. `ava.domain.limits` has all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ava.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A limit with a name; it has a fixed value, or the value of a setting."""

    #: The name that errors, the API and the docs use, such as `bulk_jobs`.
    name: str
    #: What is counted, such as `bytes`.
    unit: str
    #: What is limited, as a sentence without a subject of its own: "Bytes of a body …".
    meaning: str
    #: The HTTP status of a request beyond the limit; None if the response is cut or ends early instead.
    status: int | None
    #: The fixed value; None if a setting has it.
    fixed: int | None = None
    #: The field of `Settings` that holds the value.
    field: str | None = None

    @property
    def setting(self) -> str | None:
        """Returns the variable of the environment that sets the limit."""
        return None if self.field is None else Settings.__dataclass_fields__[self.field].metadata["variable"]

    @property
    def default(self) -> int | None:
        """Returns the value without any setting; None means that there is no limit."""
        if self.field is None:
            return self.fixed
        return _set(Settings.__dataclass_fields__[self.field].default)

    def of(self, settings: Settings) -> int | None:
        """Returns the value that these settings give; None means that there is no limit."""
        return self.fixed if self.field is None else _set(getattr(settings, self.field))

    def message(self, sentence: str) -> str:
        """Returns the message of an error that this limit causes."""
        return f"{sentence} (limit {self.name})"

    @property
    def value(self) -> int:
        """Returns the fixed value. Raises `TypeError` if a setting has it."""
        if self.fixed is None:
            raise TypeError(f"the limit {self.name} has no fixed value")
        return self.fixed


def _set(value: Any) -> int | None:
    # 0, or nothing, is how a setting says "no limit"; a rate is a text such as 300/minute.
    return int(str(value).partition("/")[0] or 0) or None


def as_table(limits: Iterable[Limit]) -> str:
    """Returns the table of `docs/reference/limits.md`, in Markdown."""
    rows = ["| limit | default | error | meaning |", "|---|---|---|---|"]
    for limit in limits:
        # The meaning begins with the unit, but for a part of something.
        unit = " %" if limit.unit == "percent" else ""
        default = "none" if limit.default is None else f"{limit.default:,}{unit}"
        setting = "" if limit.setting is None else f" (`{limit.setting}`)"
        rows.append(f"| `{limit.name}` | {default}{setting} | {limit.status or ''} | {limit.meaning} |")
    return "\n".join(rows) + "\n"
