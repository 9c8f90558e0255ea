"""What a process takes ahead, of what the broker may hold: our messages, and nothing else."""

from __future__ import annotations

import json

import pytest

from ava.node.celery_internals.pool_child import _read

OURS = ["job_01h455vb4pex5vsknk084sn02q", 1, "wkr_echo"]


def test_one_of_ours_is_read() -> None:
    assert _read(json.dumps([OURS, {}, {}])) == tuple(OURS)
    assert _read(json.dumps([OURS, {}, {}]).encode()) == tuple(OURS)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="empty"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param("[" * 100_000, id="deep"),
        "null",
        "{}",
        "[]",
        "[[]]",
        json.dumps([[*OURS, 1]]),
        json.dumps([[1, 1, "wkr_echo"]]),
        json.dumps([[OURS[0], "1", OURS[2]]]),
        json.dumps([[OURS[0], True, OURS[2]]]),
        json.dumps([[OURS[0], 1.5, OURS[2]]]),
        json.dumps([[OURS[0], 0, OURS[2]]]),
        json.dumps([[OURS[0], 2**31, OURS[2]]]),
        json.dumps([[OURS[0], 1, ["wkr_echo"]]]),
    ],
)
def test_anything_else_is_left_to_celery(body: str | bytes) -> None:
    assert _read(body) is None
