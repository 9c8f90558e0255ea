"""Silence is judged by whether a heartbeat changes, on the observer's own clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ava.dispatcher.duties.lost_runs import Heartbeats

_NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_a_node_is_silent_once_its_heartbeat_has_not_changed_for_long_enough() -> None:
    heartbeats = Heartbeats[str]()
    for second in range(15):
        heartbeats.observe(second, {"dead": _NOON, "alive": _NOON + timedelta(seconds=second)})
    assert heartbeats.silent(13.9, seconds=14) == {}
    assert heartbeats.silent(14, seconds=14) == {"dead": _NOON}
    assert heartbeats.silent(14, seconds=20) == {}


def test_the_time_until_a_node_is_silent_is_that_of_the_next_one_and_leaves_out_those_that_are() -> None:
    heartbeats = Heartbeats[str]()
    assert heartbeats.seconds_until_silent(0, seconds=14) == float("inf")
    for second in range(15):
        seen_at = {"dead": _NOON, "dying": _NOON + timedelta(seconds=min(second, 5)), "alive": _NOON}
        heartbeats.observe(second, seen_at | {"alive": _NOON + timedelta(seconds=second)})
    assert heartbeats.seconds_until_silent(13.5, seconds=14) == 0.5
    assert heartbeats.seconds_until_silent(14, seconds=14) == 5


def test_a_heartbeat_of_an_earlier_moment_is_a_sign_of_life() -> None:
    heartbeats = Heartbeats[str]()
    for second in range(30):
        heartbeats.observe(second, {"n": _NOON - timedelta(hours=second)})
    assert heartbeats.silent(29, seconds=3) == {}


def test_a_gap_in_the_observations_begins_anew() -> None:
    heartbeats = Heartbeats[str]()
    for second in (*range(13), *range(17, 31)):
        heartbeats.observe(second, {"n": _NOON})
    assert heartbeats.silent(30, seconds=14) == {}
    heartbeats.observe(31, {"n": _NOON})
    assert heartbeats.silent(31, seconds=14) == {"n": _NOON}


def test_nothing_is_silent_if_the_last_observation_is_old() -> None:
    heartbeats = Heartbeats[str]()
    heartbeats.observe(0, {"n": _NOON})
    assert heartbeats.silent(3, seconds=3) == {"n": _NOON}
    assert heartbeats.silent(3.1, seconds=3) == {}


def test_a_failed_read_begins_anew() -> None:
    heartbeats = Heartbeats[str]()
    heartbeats.observe(0, {"n": _NOON})
    heartbeats.forget(0.5)
    heartbeats.observe(1, {"n": _NOON})
    assert heartbeats.silent(2, seconds=2) == {}


def test_a_node_that_is_gone_is_not_silent() -> None:
    heartbeats = Heartbeats[str]()
    heartbeats.observe(0, {"n": _NOON})
    heartbeats.observe(1, {})
    assert heartbeats.silent(1, seconds=1) == {}


def test_the_age_of_a_heartbeat_counts_as_silence_unless_there_was_a_gap() -> None:
    heartbeats = Heartbeats[str](age_seconds=6)
    for second in range(10):
        heartbeats.observe(second, {"n": _NOON} if second >= 8 else {})
    assert heartbeats.silent(9, seconds=7) == {"n": _NOON}
    heartbeats.forget(10)
    heartbeats.observe(10, {"n": _NOON})
    heartbeats.observe(13, {"n": _NOON})
    assert heartbeats.silent(13, seconds=4) == {}
