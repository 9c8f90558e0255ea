"""Describe a cron pattern in words. A library describes each field; this module corrects and joins them.

The library misreads some patterns: it calls `*/45` "every 45 minutes" although cron restarts in each hour, and it joins
a list of days and a range of weekdays as if both had to match.
"""

from __future__ import annotations

from cron_descriptor import DescriptionTypeEnum, ExpressionDescriptor, Options

from ava.domain.schedules.cron import DAY, HOUR, MINUTE, MONTH, WEEKDAY, CronField, CronPattern

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
