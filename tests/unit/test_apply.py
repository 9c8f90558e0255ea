"""`ava apply`: what a file may say, and what would have to change."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ava.cli.apply import file
from ava.cli.apply.plan import Change, Record, plan
from ava.errors import CallFailed

SCHEDULE = {"worker_id": "wkr_a", "cron": "0 3 * * *", "timezone": "Europe/Berlin"}


def _read(tmp_path: Path, content: str, name: str = "ava.yaml") -> file.Wanted:
    path = tmp_path / name
    path.write_text(content)
    return file.read(path)


def _plan(wanted: Any, found: Any, **options: bool) -> list[Change]:
    return plan(wanted, found, **{"prunes": False, "sends_secrets": False, **options})


def test_a_file_is_yaml_or_json(tmp_path: Path) -> None:
    content = """
    schedules:
      nightly:
        worker_id: wkr_a
        cron: "0 3 * * *"
        timezone: Europe/Berlin
        starts_at: 2030-01-01T00:00:00Z
    webhooks:
    """
    found = _read(tmp_path, content)
    assert found == {"schedules": {"nightly": {**SCHEDULE, "starts_at": "2030-01-01T00:00:00Z"}}, "webhooks": {}}
    assert _read(tmp_path, '{"limits": {"ten_a": {"weight": 2}}}', "ava.json") == {"limits": {"ten_a": {"weight": 2}}}
    assert _read(tmp_path, "") == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "must be a mapping"),
        ("schedule: {}", "'schedule' is unknown. Did you mean schedules?"),
        ("schedules: []", "schedules must be a mapping"),
        ("schedules: {nightly: {cron: '* * * * *'}}", "schedules.nightly: worker_id is missing"),
        ("workers: {wkr_a: {timeout: 3}}", "workers.wkr_a: 'timeout' is unknown"),
        (
            "workers: {wkr_a: {secrets: {TOKEN: plain}}}",
            "workers.wkr_a.secrets.TOKEN: the file must not contain secrets",
        ),
        ("webhooks: {'https://a.example': {events: [], secret: plain}}", "the file must not contain secrets"),
        ("hooks: {a: {provider: none, paused: 'yes'}}", "hooks.a.paused: it must be true or false"),
        ("hooks: {a: {provider: none, enabled: true}}", "hooks.a: 'enabled' is unknown"),
        ("workers: {1: {}}", "the name 1 must be a string"),
        ("workers: {a: {}, a: {}}", "'a' appears twice"),
        ("workers: &all {a: {config: *all}}", "aliases are not supported"),
        ("workers: !!python/object/apply:os.system [ls]", "it is not valid YAML"),
        ("workers: {", "it is not valid YAML"),
        ("workers: " + "[" * 3000, "it is not valid YAML"),
        ("workers: {wkr_a: {secrets: }}", "workers.wkr_a.secrets: it must be a mapping"),
        ("workers: {wkr_a: {secrets: []}}", "workers.wkr_a.secrets: it must be a mapping"),
        ("workers: {wkr_a: {secrets: {5: {env: A}}}}", "workers.wkr_a.secrets: the name 5 must be a string"),
        ("workers: {wkr_a: {config: !!set {a, b}}}", "it is not valid YAML: could not determine a constructor"),
        (
            "workers: {wkr_a: {config: {a: !!binary aGVsbG8=}}}",
            "it is not valid YAML: could not determine a constructor",
        ),
        ("workers: {wkr_a: {max_running: .nan}}", "workers.wkr_a.max_running: nan is not a number"),
        (
            "workers: {wkr_a: {retry: {delays_seconds: [1, .inf]}}}",
            "workers.wkr_a.retry.delays_seconds.1: inf is not a number",
        ),
    ],
)
def test_a_wrong_value_is_named_by_its_path(tmp_path: Path, content: str, reason: str) -> None:
    with pytest.raises(CallFailed) as refused:
        _read(tmp_path, content)
    assert reason in str(refused.value)
    assert "plain" not in str(refused.value)


def test_a_name_that_stands_twice_in_json_is_refused_as_in_yaml(tmp_path: Path) -> None:
    with pytest.raises(CallFailed, match="'weight' appears twice"):
        _read(tmp_path, '{"limits": {"ten_a": {"weight": 2, "weight": 3}}}', "ava.json")
    with pytest.raises(CallFailed, match=r"limits.ten_a.weight: nan is not a number"):
        _read(tmp_path, '{"limits": {"ten_a": {"weight": NaN}}}', "ava.json")


def test_only_decimal_numbers_are_read_as_numbers(tmp_path: Path) -> None:
    values = {"time": "12:30:00", "clock": "1:30.5", "octal": "010", "date": "2030-01-01"}
    numbers = {"zero": 0, "one": 1, "less": -5, "hex": 31, "grouped": 1000, "half": 0.5, "point": 0.25, "large": 1.5e9}
    given = "".join(f"      {name}: {value}\n" for name, value in values.items())
    given += "      zero: 0\n      one: 1\n      less: -5\n      hex: 0x1F\n      grouped: 1_000\n"
    given += "      half: 0.5\n      point: .25\n      large: 1.5e+9\n"
    found = _read(tmp_path, f"workers:\n  wkr_a:\n    config:\n{given}")
    assert found["workers"]["wkr_a"]["config"] == values | numbers


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "ava.yaml").write_bytes(content)
    with pytest.raises(CallFailed, match="cannot be read"):
        file.read(tmp_path / "ava.yaml")


def test_only_what_differs_is_changed() -> None:
    starts = datetime(2030, 1, 1, tzinfo=UTC)
    known = {"schedules": {"nightly": [Record(id="sch_1", values={**SCHEDULE, "starts_at": starts, "priority": 5})]}}
    entry = {**SCHEDULE, "starts_at": "2030-01-01T01:00:00+01:00"}
    assert _plan({"schedules": {"nightly": entry}}, known) == []
    (change,) = _plan({"schedules": {"nightly": {**entry, "cron": "0 4 * * *", "priority": 1}}}, known)
    assert (change.verb, change.id, change.body) == ("change", "sch_1", {"cron": "0 4 * * *", "priority": 1})
    assert change.differences == {"cron": ("0 3 * * *", "0 4 * * *"), "priority": (5, 1)}


def test_what_the_file_does_not_name_is_deleted_with_prune_alone_and_last() -> None:
    ours, declared = Record(id="sch_1", values={}), Record(id="sch_2", values={}, is_ours=False)
    found = {"schedules": {"old": [ours], "of a handler": [declared]}}
    wanted = {"schedules": {"new": SCHEDULE}}
    assert [each.verb for each in _plan(wanted, found)] == ["create"]
    changes = _plan(wanted, found, prunes=True)
    assert [(each.verb, each.name) for each in changes] == [("create", "new"), ("delete", "old")]


def test_a_secret_is_sent_once_and_never_shown() -> None:
    worker = Record(id="wkr_a", values={"secrets": ["A"], "config": {"X": "1", "Y": "2"}})
    entry = {"secrets": {"A": {"env": "VALUE_OF_A"}, "B": {"env": "VALUE_OF_B"}}, "config": {"X": "1"}}
    (change,) = _plan({"workers": {"wkr_a": entry}}, {"workers": {"wkr_a": [worker]}})
    assert change.body == {"secrets": {"B": {"env": "VALUE_OF_B"}}}
    assert change.differences == {"secrets": ("(not set)", "(sent: B)")}
    (change,) = _plan({"workers": {"wkr_a": entry}}, {"workers": {"wkr_a": [worker]}}, sends_secrets=True)
    assert change.body["secrets"].keys() == {"A", "B"}
    assert change.differences == {"secrets": ("(set)", "(sent: A, B)")}


def test_retries_are_compared_with_their_defaults() -> None:
    known = {
        "workers": {
            "wkr_a": [Record(id="wkr_a", values={"retry": {"max": 2, "delays_seconds": [5, 60], "jitter": 0.2}})]
        }
    }
    assert _plan({"workers": {"wkr_a": {"retry": {"max": 2, "delays_seconds": [5.0, 60]}}}}, known) == []
    for retry in (
        {"max": 2, "delays_seconds": [5]},
        {"max": 2},
        {"max": 2, "delays_seconds": [5, 60], "jitter": 0},
        {"maximum": 2},
        None,
    ):
        (change,) = _plan({"workers": {"wkr_a": {"retry": retry}}}, known)
        assert change.body == {"retry": retry}


def test_limits_that_the_file_leaves_out_stay() -> None:
    known = Record(id="ten_a", values={"max_running": 5, "weight": None, "retention_days": 3.0})
    (change,) = _plan({"limits": {"ten_a": {"weight": 2}}}, {"limits": {"ten_a": [known]}})
    assert change.body == {"max_running": 5, "weight": 2, "retention_days": 3.0}


@pytest.mark.parametrize(
    ("wanted", "found", "reason"),
    [
        ({"schedules": {"a": SCHEDULE}}, {"schedules": {"a": [Record(id="1", values={})] * 2}}, "2 have this name"),
        (
            {"hooks": {"a": {"provider": "github"}}},
            {"hooks": {"a": [Record(id="1", values={"provider": "slack"})]}},
            "cannot be changed",
        ),
    ],
)
def test_what_cannot_be_changed_is_refused_before_anything_is(wanted: Any, found: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        _plan(wanted, found)
