"""Time zones by their IANA names, always from the `tzdata` package.

The system's own database is not read: the machines of one installation may have different releases of it, and then two
dispatchers would disagree about the instant of a firing time.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

import tzdata

#: The database's name for "not configured yet"; a schedule must not run in it.
_PLACEHOLDER = "Factory"
#: Characters of a wrong name that an error repeats.
_LONGEST_SHOWN = 60


@cache
def timezone_names() -> frozenset[str]:
    """Returns every name of the database, aliases such as `Asia/Calcutta` included."""
    names = resources.files(tzdata).joinpath("zones").read_text("utf-8").split()
    return frozenset(names) - {_PLACEHOLDER}


@cache
def _by_lower_case() -> dict[str, str]:
    return {name.lower(): name for name in timezone_names()}


def check_timezone(name: str) -> None:
    """Raises `ValueError` if the database has no zone of this name. An alias is as good as the name it stands for."""
    if name in timezone_names():
        return
    meant = _by_lower_case().get(name.lower()) if len(name) <= _LONGEST_SHOWN else None
    cure = f"did you mean {meant}?" if meant else "send a name such as Europe/Berlin or UTC"
    raise ValueError(f"{name[:_LONGEST_SHOWN]!r} is not a time zone of the IANA database; {cure}")


@cache
def zone(name: str) -> ZoneInfo:
    """Returns a zone. Raises `ValueError` if there is none of this name."""
    # Only a listed name becomes a path, so no text of a client leads outside the package.
    check_timezone(name)
    with resources.files(tzdata).joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def timezone_data_version() -> str:
    """Returns the release of the time zone database, such as `2026a`."""
    return str(tzdata.IANA_VERSION)
