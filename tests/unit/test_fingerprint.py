"""Fingerprints: failures of one kind and place have the same, and without a place those of one message."""

from __future__ import annotations

import random
import time
import uuid

import pytest

from ava.domain.error_group import error_id, kind_and_template, ungrouped_id
from chaos.failures import MESSAGES, values


def test_ten_thousand_failures_of_twelve_kinds_have_twelve_fingerprints() -> None:
    rng = random.Random(5)
    found: dict[str, set[uuid.UUID]] = {message: set() for message in MESSAGES}
    for n in range(10_000):
        message = MESSAGES[n % 12]
        error = message.format(**values(rng))
        found[message].add(error_id(tenant_id="ten_a", worker_id="wkr_a", error=error))
    assert {message: len(ids) for message, ids in found.items()} == dict.fromkeys(MESSAGES, 1)
    assert len(set.union(*found.values())) == 12


@pytest.mark.parametrize(
    "other",
    [
        {"tenant_id": "ten_b"},
        {"worker_id": "wkr_b"},
        {"error": "KeyError: no such channel"},
        {"place": "handlers:send:8"},
        {"place": "handlers:other:7"},
        {"place": ""},
    ],
)
def test_tenant_worker_kind_and_place_tell_groups_apart(other: dict[str, object]) -> None:
    one: dict[str, object] = {
        "tenant_id": "ten_a",
        "worker_id": "wkr_a",
        "error": "ValueError: no such channel",
        "place": "handlers:send:7",
    }
    assert error_id(**one) == error_id(**(one | {"error": "ValueError: no such user"}))  # type: ignore[arg-type]
    assert error_id(**one) != error_id(**(one | other))  # type: ignore[arg-type]
    assert ungrouped_id(tenant_id="ten_a", worker_id="wkr_a") != error_id(**one)  # type: ignore[arg-type]


def test_where_a_handler_was_when_its_time_was_over_does_not_count() -> None:
    caller = {"tenant_id": "ten_a", "worker_id": "wkr_a"}
    there = error_id(**caller, error="Timeout: exceeded 120 s", place="handlers:a:1")
    assert there == error_id(**caller, error="Timeout: exceeded 60 s", place="handlers:b:2")


def test_the_message_of_a_group_is_readable() -> None:
    assert kind_and_template("ValueError: no channel #security-ops in account 42") == (
        "ValueError",
        "no channel #security-ops in account *",
    )
    assert kind_and_template("Boom") == ("Boom", "")


@pytest.mark.parametrize(
    "message", ["a" * 10**6, "1:" * 10**6, "@" * 10**6, "a@" * 10**6, "*," * 10**6, "\ud800" * 100, "0.1" * 10**6]
)
def test_no_message_is_slow_or_fails(message: str) -> None:
    began = time.process_time()
    error_id(tenant_id="ten_a", worker_id="wkr_a", error=f"E: {message}")
    assert time.process_time() - began < 0.2
