"""The rule of schedules: patterns, zones, firing times and the words for them."""

from __future__ import annotations

import time
import zoneinfo
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from itertools import islice, takewhile
from pathlib import Path

import pytest
import tzdata
from hypothesis import given
from hypothesis import strategies as st

from ava.domain.schedules import schedule
from ava.domain.schedules.cron import CronError
from ava.domain.schedules.schedule import FiringTime
from harness.system import ROOT

BERLIN = "Europe/Berlin"
NIGHT_OF_THE_GAP = datetime(2026, 3, 28, 20, tzinfo=UTC)


def _slots(cron: str, timezone: str, after: datetime, hours: float = 12) -> list[tuple[str, str, str | None]]:
    walk = schedule.firing_times_after(cron, timezone, after)
    found = takewhile(lambda each: each.at <= after + timedelta(hours=hours), walk)
    return [(f"{each.local_time:%H:%M}", f"{each.at:%H:%M}", each.note) for each in found]


def test_an_interval_fires_at_its_multiples_since_the_epoch() -> None:
    after = datetime(2026, 1, 1, 0, 0, 58, 500, tzinfo=UTC)
    found = [each.at.second for each in islice(schedule.multiples_after(7, after), 3)]
    multiples = [at for at in range(int(after.timestamp()), int(after.timestamp()) + 30) if at % 7 == 0][:3]
    assert found == [datetime.fromtimestamp(at, UTC).second for at in multiples]
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert next(schedule.multiples_after(10, at)).at == at + timedelta(seconds=10)


# Slots -----------------------------------------------------------------------------------------------------------


def test_the_second_slot_of_an_overlap_has_fold_1() -> None:
    walk = islice(schedule.firing_times_after("30 * * * *", BERLIN, datetime(2026, 10, 25, 0, 0, tzinfo=UTC)), 2)
    assert [(each.local_time, each.local_time.fold) for each in walk] == [
        (datetime(2026, 10, 25, 2, 30), 0),
        (datetime(2026, 10, 25, 2, 30), 1),
    ]


def test_a_day_that_a_zone_skipped_comes_once_for_all_its_slots() -> None:
    # Samoa had no 30 December 2011.
    assert _slots("0 8,12 * * *", "Pacific/Apia", datetime(2011, 12, 29, 23, tzinfo=UTC)) == [("08:00", "10:00", "gap")]


def test_slots_come_strictly_after_the_instant() -> None:
    nine = datetime(2026, 6, 1, 9, tzinfo=UTC)
    first = next(schedule.firing_times_after("0 9 * * *", "UTC", nine))
    assert first == FiringTime(datetime(2026, 6, 2, 9), datetime(2026, 6, 2, 9, tzinfo=UTC), None)
    assert next(schedule.firing_times_after("0 9 * * *", "UTC", nine - timedelta(microseconds=1))).at == nine
    assert next(schedule.firing_times_after("0 9 * * *", "UTC", nine + timedelta(microseconds=1))).at > nine


def test_day_of_month_or_day_of_week_is_enough_unless_one_begins_with_a_star() -> None:
    def days(cron: str) -> list[int]:
        walk = schedule.firing_times_after(cron, "UTC", datetime(2026, 6, 1, tzinfo=UTC))
        return [each.at.day for each in takewhile(lambda each: each.at.month == 6, walk)]

    assert days("0 5 13 * FRI") == [5, 12, 13, 19, 26]
    assert days("0 5 */2 * FRI") == [5, 19]


@pytest.mark.parametrize("cron", ["0 0 * 2 MON#5", "0 0 29 2 *", "0 0 */28 2 MON", "0 0 31 12 *"])
def test_a_rare_pattern_is_found_within_moments(cron: str) -> None:
    began = time.process_time()
    found = list(islice(schedule.firing_times_after(cron, "America/New_York", datetime(2072, 3, 1, tzinfo=UTC)), 3))
    assert len(found) == 3
    # It takes 10 ms; without a bound it would be minutes.
    assert time.process_time() - began < 2


def test_a_walk_ends_with_the_calendar() -> None:
    assert (
        list(schedule.firing_times_after("0 0 1 1 *", BERLIN, datetime(9899, 6, 1, tzinfo=UTC)))[-1].local_time.year
        == 9900
    )
    assert list(schedule.firing_times_after("* * * * *", BERLIN, datetime.max.replace(tzinfo=UTC))) == []
    assert next(schedule.firing_times_after("* * * * *", BERLIN, datetime.min.replace(tzinfo=UTC))).at.year == 1900


# Patterns --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "field", "named"),
    [
        ("60 * * * *", "minute", "'60'"),
        ("* 24 * * *", "hour", "0 to 23"),
        ("* * 0 * *", "day of month", "1 to 31"),
        ("* * * 13 *", "month", "JAN to DEC"),
        ("* * * * 8", "day of week", "0 to 7"),
        ("*/0 * * * *", "minute", "from 1 to 60"),
        ("*/61 * * * *", "minute", "from 1 to 60"),
        ("* 5-1 * * *", "hour", "runs backwards"),
        ("* * * * FRI-MON", "day of week", "runs backwards"),
        ("1,,2 * * * *", "minute", "''"),
        ("5L * * * *", "minute", "not valid"),
        ("* * L/2 * *", "day of month", "not valid"),
        ("* * ? * *", "day of month", "'?'"),
        ("* * * * 1#6", "day of week", "#1 to #5"),
        ("* * 15W * *", "day of month", "not valid"),
        ("* * * * L", "day of week", "5L"),
        ("1000000000000 * * * *", "minute", "not valid"),
        ("0 0 30 2 *", "day of month", "no date ever matches"),
        ("0 0 31 2 *", "day of month", "no date ever matches"),
        ("0 0 31 4,6,9,11 *", "day of month", "no date ever matches"),
        ("0 0 */31 * MON#5", "day of month", "no date ever matches"),
        ("", "cron", "0 fields"),
        ("* * * *", "cron", "4 fields"),
        ("* * * * * *", "cron", "without seconds"),
        ("0 0 12 * * ? 2030", "cron", "7 fields"),
        ("@daily", "cron", "write '0 0 * * *'"),
        ("@reboot", "cron", "write the five fields"),
        ("* * * * *\0", "cron", "printable ASCII"),
        ("\u0663 * * * *", "cron", "printable ASCII"),
        ("*\u00a0* * * *", "cron", "printable ASCII"),
        ("*\n* * * *", "cron", "printable ASCII"),
        ("\ud800 * * * *", "cron", "printable ASCII"),
        (",".join("1" for _ in range(100_000)) + " * * * *", "cron", "at most 500"),
    ],
)
def test_a_wrong_pattern_is_refused_by_the_name_of_its_field(cron: str, field: str, named: str) -> None:
    with pytest.raises(CronError) as caught:
        schedule.check_cron(cron)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")
    assert named in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "cron",
    [
        "0 0 29 2 *",
        "0 0 31 2 MON",
        "0 0 L 2 *",
        "0 0 LW * *",
        "0 0 * * 5L",
        "0 0 * * friL",
        "0 0 * * FRI#3,1#1",
        "0 0 1 jan-MAR,dec mon-SUN",
        "\t5/15  0-23/2 1,15 * 7 ",
        ",".join(str(minute) for minute in range(60)) + " * * * *",
    ],
)
def test_a_pattern_of_crontab_is_accepted(cron: str) -> None:
    schedule.check_cron(cron)


@given(st.one_of(st.text(), st.text("0123456789*/-,#LW SUNMOJAFEB@?\t", max_size=60)))
def test_any_string_is_a_pattern_or_raises_cron_error(string: str) -> None:
    try:
        schedule.check_cron(string)
    except CronError:
        return
    assert next(schedule.firing_times_after(string, BERLIN, NIGHT_OF_THE_GAP)).at > NIGHT_OF_THE_GAP
    assert schedule.describe(string, BERLIN).endswith(", Berlin time")


def test_names_of_days_and_numbers_are_the_same_days() -> None:
    assert _slots("0 0 * * FRI-SUN", "UTC", NIGHT_OF_THE_GAP, 400) == _slots(
        "0 0 * * 0,5,6", "UTC", NIGHT_OF_THE_GAP, 400
    )
    assert _slots("7 5-5/2 * * *", "UTC", NIGHT_OF_THE_GAP, 24) == [("05:07", "05:07", None)]


# Zones -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["UTC", BERLIN, "Asia/Calcutta", "Europe/Kiev", "US/Eastern", "Etc/GMT+5"])
def test_a_zone_and_an_alias_are_accepted(name: str) -> None:
    schedule.check_timezone(name)
    assert next(schedule.firing_times_after("0 0 * * *", name, NIGHT_OF_THE_GAP)).local_time.hour == 0


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("europe/berlin", "did you mean Europe/Berlin?"),
        ("Europe/Bonn", "such as Europe/Berlin"),
        ("", "such as"),
        ("Factory", "such as"),
        ("../../../../etc/passwd", "such as"),
        ("/etc/localtime", "such as"),
        ("Europe/Berlin\0", "such as"),
        ("\ud800", "such as"),
        ("Europe/" * 100_000, "such as"),
    ],
)
def test_an_unknown_zone_is_refused_with_a_cure(name: str, cure: str) -> None:
    with pytest.raises(ValueError, match="is not a time zone") as caught:
        schedule.check_timezone(name)
    assert cure in str(caught.value)
    assert len(str(caught.value)) < 200
    with pytest.raises(ValueError, match="is not a time zone"):
        schedule.firing_times_after("* * * * *", name, NIGHT_OF_THE_GAP)


def test_zones_are_those_of_the_package_and_not_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "Asia").mkdir()
    with resources.files(tzdata).joinpath("zoneinfo", "UTC").open("rb") as utc:
        (tmp_path / "Asia" / "Tokyo").write_bytes(utc.read())
    zoneinfo.reset_tzpath(to=[str(tmp_path)])
    try:
        schedule.zone.cache_clear()
        assert zoneinfo.ZoneInfo.no_cache("Asia/Tokyo").utcoffset(datetime(2026, 1, 1)) == timedelta(0)
        assert next(schedule.firing_times_after("0 0 * * *", "Asia/Tokyo", NIGHT_OF_THE_GAP)).at.hour == 15
    finally:
        zoneinfo.reset_tzpath()


def test_each_zone_of_the_package_can_be_used() -> None:
    for name in schedule.timezone_names():
        each = next(schedule.firing_times_after("0 0 * * *", name, datetime(2026, 6, 1, tzinfo=UTC)))
        assert (each.local_time.hour, each.note) == (0, None)
    assert len(schedule.timezone_names()) > 500
    assert schedule.timezone_data_version()[:2] == "20"


# Words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("30 9 * * 1-5", "Every weekday at 09:30"),
        ("30 9 * * MON,TUE,WED,THU,FRI", "Every weekday at 09:30"),
        ("0 3 * * *", "Every day at 03:00"),
        ("0 9 * * 7", "Every Sunday at 09:00"),
        ("*/15 * * * *", "Every 15 minutes"),
        ("0 * * * *", "Every hour"),
        # Cron begins anew in each hour, so these are no equal distances.
        ("*/45 * * * *", "At 0 and 45 minutes past the hour"),
        ("0 */7 * * *", "At 00:00, 07:00, 14:00 and 21:00"),
        ("0 0 13 * 5", "At 00:00, on day 13 of the month, or on Friday"),
        ("0 0 1-7 * 5-7", "At 00:00, between day 1 and 7 of the month, or Friday through Sunday"),
        ("0 0 */28 * MON", "At 00:00, on day 1 and 29 of the month, and only on Monday"),
        ("0 0 L * *", "At 00:00, on the last day of the month"),
        ("0 0 15,L * *", "At 00:00, on day 15 of the month, or on the last day of the month"),
        ("0 0 * * 5L", "At 00:00, on the last Friday of the month"),
        ("0 0 * * 1#2", "At 00:00, on the second Monday of the month"),
        ("0 0 1 1,7 *", "At 00:00, on day 1 of the month, only in January and July"),
    ],
)
def test_a_pattern_is_described_as_cron_means_it(cron: str, words: str) -> None:
    assert schedule.describe(cron, BERLIN) == f"{words}, Berlin time"


def test_a_description_names_the_zone() -> None:
    zones = ["UTC", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "EST5EDT"]
    assert [schedule.describe("0 * * * *", zone).removeprefix("Every hour, ") for zone in zones] == [
        "UTC",
        "Buenos Aires time",
        "Etc/GMT+5 time",
        "EST5EDT time",
    ]


# The documentation ------------------------------------------------------------------------------------------------

_TABLE_PATTERNS = ("30 2 * * *", "*/15 2 * * *", "0 1-4 * * *", "30 * * * *")


def table_of(day: date) -> list[str]:
    """Returns the rows of the table in the documentation: a night in Berlin, hour by real hour."""
    rows = []
    begin = datetime(day.year, day.month, day.day, tzinfo=schedule.zone(BERLIN)).astimezone(UTC)
    for hour in range(1, 5):
        start = begin + timedelta(hours=hour)
        local = start.astimezone(schedule.zone(BERLIN))
        cells = [_cell(cron, start) for cron in _TABLE_PATTERNS]
        rows.append(f"| {local:%H:%M %Z} | {start:%H:%M} | {' | '.join(cells)} |")
    return rows


def _cell(cron: str, start: datetime) -> str:
    walk = schedule.firing_times_after(cron, BERLIN, start - timedelta(microseconds=1))
    found = takewhile(lambda each: each.at < start + timedelta(hours=1), walk)
    return ", ".join(f"{each.local_time:%H:%M}" + (f" *{each.note}*" if each.note else "") for each in found) or "–"


@pytest.mark.parametrize("day", [date(2026, 3, 29), date(2026, 10, 25)])
def test_the_tables_of_the_documentation_are_what_the_rule_gives(day: date) -> None:
    page = (ROOT / "docs" / "reference" / "schedules.md").read_text()
    assert "\n".join(table_of(day)) in page
