"""Marshmallow fields of settings and of the filters of their lists; see `ava.api.http.fields`."""

from __future__ import annotations

import re
from typing import Any

from marshmallow import ValidationError

from ava.api.http.fields import Plain, String
from ava.domain.limits import rates
from ava.domain.limits.limit import Limit
from ava.domain.strings import storable

#: Max characters of a configuration value of a worker, or of a secret.
LONGEST_ENTRY = 8_192
#: Names of a worker's configuration values and secrets.
ENTRY_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class RateString(String):
    """A rate, such as `100/minute`."""

    def read(self, value: Any) -> rates.Rate:
        try:
            return rates.parse(value)
        except ValueError:
            raise ValidationError(
                "It must be a rate such as 100/minute, or with /second, /hour, /day, /10 seconds."
            ) from None


class NamedStrings(Plain):
    """An object of strings by name; null deletes an entry."""

    def __init__(self, *, limit: Limit, shortest: int = 0, **rest: Any) -> None:
        """`limit`: max number of entries. `shortest`: min characters of a string."""
        super().__init__(**rest)
        self.limit = limit
        self.shortest = shortest

    def read(self, value: Any) -> dict[str, str | None]:
        if not isinstance(value, dict):
            raise ValidationError("It must be an object.")
        if len(value) > self.limit.value:
            raise ValidationError(self.limit.message(f"It must have at most {self.limit.value} entries."))
        wrong = {name: [fault] for name, string in value.items() if (fault := self._fault(name, string)) is not None}
        if wrong:
            raise ValidationError(wrong)
        return value

    def _fault(self, name: str, string: Any) -> str | None:
        if not ENTRY_NAME.fullmatch(name):
            return "The name must match [A-Za-z_][A-Za-z0-9_]{0,63}."
        if string is None:
            return None
        if not isinstance(string, str):
            return "It must be a string, or null to delete the entry."
        if not self.shortest <= len(string) <= LONGEST_ENTRY:
            bounds = f"{self.shortest} to {LONGEST_ENTRY:,}"
            return f"It must have {bounds} characters."
        return None if storable(string) == string else "It must not contain NUL characters or lone surrogates."
