"""A node takes messages exactly as the publisher writes them, and keeps only what it has checked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kombu import Message

from ava.domain.jobs.job import RunKey
from ava.domain.jobs.messages import MAX_RUNS, SIGNATURE, TASK, is_signed, read_arguments, sign
from ava.domain.jobs.messages import Message as Says
from ava.node.celery_internals import inbound_messages
from ava.node.celery_internals.inbound_messages import MessageRefused

TENANT, JOB_ID = "ten_a", "job_01h455vb4pex5vsknk084sn02q"
OURS = (TENANT, JOB_ID, 1, "wkr_echo")
GROUP = (*OURS, [["ten_b", "job_01h455vb4pex5vsknk084sn02r", 2]])
KEY, OLD_KEY = b"k" * 32, b"o" * 32


def _message(
    arguments: Any = OURS,
    *,
    embedded: Any = None,
    body: Any = None,
    content_type: str = "application/json",
    **headers: Any,
) -> Message:
    body = json.dumps([arguments, {}, embedded or {}]).encode() if body is None else body
    all_headers = {"task": TASK, "id": f"{JOB_ID}.1", **headers}
    return Message(
        body, content_type=content_type, content_encoding="utf-8", headers=all_headers, properties={"reply_to": "x"}
    )


def test_only_what_was_checked_is_left_in_a_message() -> None:
    message = _message(eta="2999-01-01", timelimit=[1, 1], shadow="other", callbacks=["x"], lang="py")
    inbound_messages.admit(message)
    assert message.headers.keys() == {"task", "id", "root_id", "ignore_result", "argsrepr", "kwargsrepr"}
    assert message.properties == {}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (_message(task="other"), "foreign"),
        (_message(task=["ava.run_job"]), "foreign"),
        (_message(id=f"{JOB_ID}.2"), "foreign"),
        (_message(id=None), "foreign"),
        (_message(embedded={"callbacks": [{"task": "x"}]}), "foreign"),
        (_message(embedded=[1]), "foreign"),
        (_message(content_type="text/plain"), "foreign"),
        (_message(content_type="application/x-python-serialize"), "foreign"),
        (_message(body=b" " * 5000), "foreign"),
        (_message(body=b"{"), "unreadable"),
        (_message(body=b"[" * 2000), "unreadable"),
        (_message(body=b"\xff"), "unreadable"),
        (_message(body=b"[]"), "unreadable"),
        (_message(body=b"5"), "unreadable"),
        (_message((TENANT, "job_x", 1, "wkr_echo")), "foreign"),
        (_message(body=json.dumps([OURS, {"a": 1}, {}]).encode()), "foreign"),
    ],
)
def test_any_other_message_is_refused(message: Message, reason: str) -> None:
    with pytest.raises(MessageRefused, match=reason):
        inbound_messages.admit(message)


@pytest.mark.parametrize(
    "arguments",
    [
        None, "abc", {}, [], [*OURS, 1], OURS[1:], [*OURS[:2], "1", OURS[3]], [*OURS[:2], True, OURS[3]],
        [*OURS[:2], 1.5, OURS[3]], [*OURS[:2], 0, OURS[3]], [*OURS[:2], 2**31, OURS[3]],
        [*OURS[:3], [OURS[3]]], [*OURS[:3], "wkr_"], [*OURS[:3], "wkr_a\n"],
        [*OURS[:3], "wkr_" + "a" * 60], [TENANT, JOB_ID + "\n", *OURS[2:]], [TENANT, JOB_ID.upper(), *OURS[2:]],
        [None, *OURS[1:]], ["a", *OURS[1:]], ["ten_", *OURS[1:]], ["ten_A", *OURS[1:]], ["ten_a\n", *OURS[1:]],
        ["ten_" + "a" * 61, *OURS[1:]], [*OURS, None], [*OURS, [JOB_ID]], [*OURS, [[JOB_ID, 1]]],
        [*OURS, [[*OURS[:3], 2]]], [*OURS, [[TENANT, JOB_ID, 0]]], [*OURS, [["a", JOB_ID, 1]]],
        [*OURS, [OURS[:3]] * 16], [*GROUP, []],
    ],
)  # fmt: skip
def test_arguments_that_are_not_ours_are_none(arguments: Any) -> None:
    assert read_arguments(arguments) is None


def test_a_message_may_stand_for_several_runs_of_one_worker() -> None:
    grouped = read_arguments(json.loads(json.dumps(GROUP)))
    assert grouped == ("wkr_echo", (OURS[:3], ("ten_b", "job_01h455vb4pex5vsknk084sn02r", 2)))
    assert json.loads(json.dumps(grouped.arguments)) == list(GROUP)
    message = _message(GROUP)
    inbound_messages.admit(message)
    assert message.job_message == grouped == Says.of(json.loads(json.dumps(GROUP)))
    assert message.headers["argsrepr"] == f"('ten_a', {JOB_ID!r}, 1, 'wkr_echo', and 1 more)"


def test_a_signature_covers_each_run_of_a_group() -> None:
    grouped = Says("wkr_echo", (RunKey(*OURS[:3]), RunKey("ten_b", "job_01h455vb4pex5vsknk084sn02r", 2)))
    inbound_messages.admit(_message(GROUP, **{SIGNATURE: sign(KEY, *grouped.signed_parts)}), [KEY])
    for signature in (sign(KEY, *OURS), sign(KEY, *grouped._replace(runs=grouped.runs[:1] * 2).signed_parts)):
        with pytest.raises(MessageRefused, match="unsigned"):
            inbound_messages.admit(_message(GROUP, **{SIGNATURE: signature}), [KEY])


def test_the_largest_message_is_taken() -> None:
    run = RunKey("ten_" + "a" * 60, "job_7zzzzzzzzzzzzzzzzzzzzzzzzz", 2**31 - 1)
    grouped = Says("wkr_" + "a" * 59, (run,) * MAX_RUNS)
    inbound_messages.admit(_message(grouped.arguments, id=grouped.task_id))


def test_with_a_key_a_message_must_be_signed_by_one_of_the_keys() -> None:
    for key in (KEY, OLD_KEY):
        inbound_messages.admit(_message(**{SIGNATURE: sign(key, *OURS)}), (KEY, OLD_KEY))
    for signature in (None, "", "é", 5, sign(b"x" * 32, *OURS), sign(KEY, TENANT, JOB_ID, 2, "wkr_echo")):
        with pytest.raises(MessageRefused, match="unsigned"):
            inbound_messages.admit(_message(**{SIGNATURE: signature}), (KEY, OLD_KEY))


@pytest.mark.parametrize(
    "said", [(TENANT, "job_a", 1, "wkr_b"), (TENANT, JOB_ID, 11, "wkr_echo"), ("ten_b", *OURS[1:]), (*OURS, "")]
)
def test_a_signature_covers_each_part(said: tuple[Any, ...]) -> None:
    assert is_signed([KEY], sign(KEY, *OURS), *OURS)
    assert not is_signed([KEY], sign(KEY, *OURS), *said)
