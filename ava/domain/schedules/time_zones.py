"""Time zones by IANA name, always from the `tzdata` package.

The operating system's database is ignored: machines of one installation may have different releases of it, and their
dispatchers would disagree about the instant of a firing time.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

import tzdata

#: The database's placeholder for "not configured yet"; not valid for schedules.
_PLACEHOLDER = "Factory"
#: Max characters of an unknown name that an error repeats.
_LONGEST_SHOWN = 60


@cache
def timezone_names() -> frozenset[str]:
    """Return all names in the database, including aliases such as `Asia/Calcutta`."""
    names = resources.files(tzdata).joinpath("zones").read_text("utf-8").split()
    return frozenset(names) - {_PLACEHOLDER}


@cache
def _by_lower_case() -> dict[str, str]:
    return {name.lower(): name for name in timezone_names()}


def check_timezone(name: str) -> None:
    """Raise `ValueError` if the database has no such time zone. Aliases are valid."""
    if name in timezone_names():
        return
    meant = _by_lower_case().get(name.lower()) if len(name) <= _LONGEST_SHOWN else None
    cure = f"did you mean {meant}?" if meant else "send a name such as Europe/Berlin or UTC"
    raise ValueError(f"{name[:_LONGEST_SHOWN]!r} is not a time zone of the IANA database; {cure}")


@cache
def zone(name: str) -> ZoneInfo:
    """Return a time zone. Raise `ValueError` if it does not exist."""
    # Only a listed name becomes a path, so client input cannot lead outside the package.
    check_timezone(name)
    with resources.files(tzdata).joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def timezone_data_version() -> str:
    """Return the release of the time zone database, such as `2026a`."""
    return str(tzdata.IANA_VERSION)
