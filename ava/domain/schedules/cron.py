"""Cron patterns with five fields: the grammar, its errors, the normalised numeric form, and words for people.

A library describes each field in words, and this module corrects and joins them: the library calls `*/45` "every 45
minutes" although cron restarts in each hour, and joins a list of days and a range of weekdays as if both had to match.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cron_descriptor import DescriptionTypeEnum, ExpressionDescriptor, Options
from cronsim import CronSim, CronSimError

#: Max characters of a pattern. Listing every value of every field takes 356.
LONGEST_CRON = 500
#: The last year of a firing time: a search looks 50 years ahead, and dates end with the year 9999.
LAST_YEAR = 9900
#: Max characters of an invalid entry that an error repeats.
_LONGEST_SHOWN = 40
#: Max cached patterns: a dispatcher repeatedly parses the patterns of due schedules.
_REMEMBERED = 4096
#: Any pattern that matches at all matches within 28 years: they contain each weekday for 1 January, with and without
#: 29 February.
_FEASIBLE_FROM = datetime(1999, 12, 31, 23, 59)

_MACROS = {
    "@YEARLY": "0 0 1 1 *",
    "@ANNUALLY": "0 0 1 1 *",
    "@MONTHLY": "0 0 1 * *",
    "@WEEKLY": "0 0 * * 0",
    "@DAILY": "0 0 * * *",
    "@MIDNIGHT": "0 0 * * *",
    "@HOURLY": "0 * * * *",
}


class CronError(ValueError):
    """An invalid cron pattern; the message names the field."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        #: `minute`, `hour`, `day of month`, `month` or `day of week`; `cron` if no single field is at fault.
        self.field = field


@dataclass(frozen=True, kw_only=True)
class CronField:
    """A field of a pattern: its name, its range, and names for its values, beginning with the first."""

    name: str
    first: int
    last: int
    names: Sequence[str] = ()

    @property
    def span(self) -> int:
        """Return the number of values; for day of week, 0 and 7 are both Sunday."""
        return 7 if self.last == 7 else self.last - self.first + 1


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
MINUTE = CronField(name="minute", first=0, last=59)
HOUR = CronField(name="hour", first=0, last=23)
DAY = CronField(name="day of month", first=1, last=31)
MONTH = CronField(name="month", first=1, last=12, names=_MONTHS)
WEEKDAY = CronField(name="day of week", first=0, last=7, names=_DAYS)
_FIELDS = (MINUTE, HOUR, DAY, MONTH, WEEKDAY)


@dataclass(frozen=True, kw_only=True)
class CronPattern:
    #: minute, hour, day of month, month, day of week
    fields: tuple[str, str, str, str, str]

    def __str__(self) -> str:
        return " ".join(self.fields)

    @property
    def is_cadence(self) -> bool:
        """Return True if the hour field begins with `*`: the pattern means an interval, not a time of day."""
        return self.fields[1].startswith("*")

    @property
    def takes_both_days(self) -> bool:
        """Return True if day of month and day of week must both match; unless one begins with `*`, either suffices.

        Source: crontab(5) of Debian.
        """
        return self.fields[2].startswith("*") or self.fields[4].startswith("*")

    def local_times(self, after: datetime) -> Iterator[datetime]:
        """Yield the pattern's local times after `after`, without a time zone, until the year 9900."""
        # CronSim gives up after 50 years without a match.
        for local_time in CronSim(str(self), after):
            if local_time.year > LAST_YEAR:
                return
            yield local_time


@lru_cache(maxsize=_REMEMBERED)
def parse_cron(cron: str) -> CronPattern:
    """Parse a pattern. Raise `CronError` if it is invalid or never matches a date."""
    if len(cron) > LONGEST_CRON:
        raise CronError("cron", f"the pattern has {len(cron)} characters; at most {LONGEST_CRON} are accepted")
    # Only these two characters separate fields; Unicode has more spaces and digits.
    if not re.fullmatch(r"[!-~ \t]*", cron):
        raise CronError("cron", "the pattern has a character that is not printable ASCII")
    fields = cron.upper().split()
    _check_count(fields)
    minute, hour, day, month, weekday = (_field(field, string) for field, string in zip(_FIELDS, fields, strict=True))
    pattern = CronPattern(fields=(minute, hour, day, month, weekday))
    _check_matches(pattern)
    return pattern


def _check_count(fields: list[str]) -> None:
    if fields and fields[0].startswith("@"):
        plain = _MACROS.get(fields[0])
        cure = f"write {plain!r}" if plain else "write the five fields"
        raise CronError("cron", f"macros such as {_shown(fields[0].lower())} are not supported; {cure}")
    if len(fields) == 6:
        raise CronError("cron", "the pattern has 6 fields; it needs 5, without seconds or years")
    if len(fields) != 5:
        raise CronError(
            "cron",
            f"the pattern has {len(fields)} fields; it needs 5: minute, hour, day of month, month, day of week",
        )


def _check_matches(pattern: CronPattern) -> None:
    try:
        found = next(pattern.local_times(_FEASIBLE_FROM), None)
    except CronSimError:
        found = None
    if found is None:
        raise CronError("day of month", f"no date ever matches: {_shown(' '.join(pattern.fields[2:]))}")


def _shown(string: str) -> str:
    return repr(string if len(string) <= _LONGEST_SHOWN else f"{string[:_LONGEST_SHOWN]}…")


# Terms -------------------------------------------------------------------------------------------------------------

_VALUE = "[0-9]{1,9}|[A-Z]{3}"
_TERM = re.compile(rf"(?P<every>\*|(?P<first>{_VALUE})(?:-(?P<last>{_VALUE}))?)(?:/(?P<step>[0-9]{{1,9}}))?", re.ASCII)
_LAST_OF_MONTH = re.compile(rf"(?P<first>{_VALUE})L", re.ASCII)
_NTH_OF_MONTH = re.compile(rf"(?P<first>{_VALUE})#(?P<nth>[0-9]{{1,9}})", re.ASCII)


def _field(field: CronField, string: str) -> str:
    return ",".join(_term(field, term) for term in string.split(","))


def _term(field: CronField, term: str) -> str:
    if field is DAY and term in ("L", "LW"):
        return term
    if field is WEEKDAY and (match := _LAST_OF_MONTH.fullmatch(term)):
        return f"{_value(field, match['first'])}L"
    if field is WEEKDAY and (match := _NTH_OF_MONTH.fullmatch(term)):
        if not 1 <= int(match["nth"]) <= 5:
            raise CronError(field.name, f"{_shown(term)} must end with #1 to #5")
        return f"{_value(field, match['first'])}#{int(match['nth'])}"
    match = _TERM.fullmatch(term)
    if match is None:
        raise CronError(field.name, f"{_shown(term)} is not valid; {_possible(field)}")
    step = match["step"]
    if step is not None and not 1 <= int(step) <= field.span:
        raise CronError(field.name, f"the step of {_shown(term)} must be from 1 to {field.span}")
    steps = "" if step is None else f"/{int(step)}"
    if match["every"] == "*":
        return f"*{steps}"
    first = _value(field, match["first"])
    if match["last"] is None:
        return f"{first}{steps}"
    last = _last(field, term, first, match["last"])
    # A step from a single value counts to the end of the field, a step of a range only to the end of the range.
    return str(first) if first == last else f"{first}-{last}{steps}"


def _last(field: CronField, term: str, first: int, string: str) -> int:
    last = _value(field, string)
    if field is WEEKDAY and string == "SUN" and first > 0:
        # FRI-SUN: Sunday is also 7.
        last = 7
    if last < first:
        raise CronError(field.name, f"the range {_shown(term)} runs backwards; split it into two ranges")
    return last


def _value(field: CronField, string: str) -> int:
    is_name = string in field.names
    value = field.names.index(string) + field.first if is_name else int(string) if string.isdecimal() else -1
    if not field.first <= value <= field.last:
        raise CronError(field.name, f"{_shown(string)} is not valid; {_possible(field)}")
    return value


def _possible(field: CronField) -> str:
    names = f", {field.names[0]} to {field.names[-1]}" if field.names else ""
    more = {DAY.name: ", L for the last day", WEEKDAY.name: ", 5L for the last Friday, 1#2 for the second Monday"}
    return f"it takes *, {field.first} to {field.last}{names}, lists, ranges and steps{more.get(field.name, '')}"


_MONDAY_TO_FRIDAY = "1,2,3,4,5"


def in_words(pattern: CronPattern) -> str:
    """Return a description such as `Every weekday at 09:30`."""
    minute, hour, day, month, weekday = pattern.fields
    time = _time(minute, hour)
    if (day, month) == ("*", "*") and minute.isdecimal() and hour.isdecimal():
        at = time.replace("At", "at", 1)
        if weekday == "*":
            return f"Every day {at}"
        if weekday.isdecimal():
            return f"Every {_words(f'0 0 * * {weekday}', DescriptionTypeEnum.DAYOFWEEK).rpartition(' ')[2]} {at}"
        if not _counted(weekday) and _values(WEEKDAY, weekday) == _MONDAY_TO_FRIDAY:
            return f"Every weekday {at}"
    months = _words(f"0 0 * {_plain(MONTH, month)} *", DescriptionTypeEnum.MONTH)
    return f"{time}{_days(pattern, day, weekday)}{months}"


def _time(minute: str, hour: str) -> str:
    # "Every 20 minutes, every 6 hours" would leave open which minutes.
    hours = _plain(HOUR, hour) if minute.isdecimal() or "/" not in hour else _values(HOUR, hour)
    return _words(f"{_plain(MINUTE, minute)} {hours} * * *", DescriptionTypeEnum.FULL)


def _days(pattern: CronPattern, day: str, weekday: str) -> str:
    days = [_words(f"0 0 {part} * *", DescriptionTypeEnum.DAYOFMONTH) for part in _parts(DAY, day)]
    weekdays = [_words(f"0 0 * * {part}", DescriptionTypeEnum.DAYOFWEEK) for part in _parts(WEEKDAY, weekday)]
    if days and weekdays and pattern.takes_both_days:
        return f"{_either(days)}, and{_either(weekdays).removeprefix(',')}"
    return _either(days + weekdays)


def _either(phrases: list[str]) -> str:
    """Join alternatives with "or"; the library begins each with a comma."""
    if len(phrases) < 2:
        return "".join(phrases)
    first, *others = (phrase.removeprefix(", ").removeprefix("only ") for phrase in phrases)
    return f", {first}" + "".join(f", or {other}" for other in others)


def _parts(field: CronField, string: str) -> list[str]:
    """Split a field of days: one part with all numbers, and one per day that is counted from an end."""
    if string == "*":
        return []
    counted = _counted(string)
    numbers = ",".join(term for term in string.split(",") if term not in counted)
    return ([_plain(field, numbers)] if numbers else []) + counted


def _counted(string: str) -> list[str]:
    return [term for term in string.split(",") if "L" in term or "#" in term]


def _plain(field: CronField, string: str) -> str:
    """Return a field, replaced by the list of its values if the library would misdescribe it."""
    start, slash, step = string.partition("/")
    if not slash or ("-" in string and "," not in string):
        return string
    if "," not in string and field in (MINUTE, HOUR, MONTH) and field.span % int(step) == 0:
        is_whole_round = start == "*" or int(start) - field.first < int(step)
        return string if is_whole_round else _values(field, string)
    return _values(field, string)


def _values(field: CronField, string: str) -> str:
    """Return the sorted values of a field; Sunday is 0."""
    values: set[int] = set()
    for term in string.split(","):
        span, _, step = term.partition("/")
        first, _, last = ("", "", "") if span == "*" else span.partition("-")
        begin = int(first) if first else field.first
        end = int(last) if last else begin if first and not step else field.last
        values.update(range(begin, end + 1, int(step or 1)))
    if field is WEEKDAY:
        values = {value % 7 for value in values}
    return ",".join(map(str, sorted(values)))


def _words(expression: str, part: DescriptionTypeEnum) -> str:
    # Without a locale the library uses the process's.
    options = Options(use_24hour_time_format=True, locale_code="en_US")
    words: str = ExpressionDescriptor(expression, options).get_description(part)
    return words
