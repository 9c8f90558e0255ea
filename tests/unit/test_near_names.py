"""A mistyped name is answered with the known one that it is like, at a bounded cost."""

from __future__ import annotations

import itertools

from ava.domain.strings import did_you_mean


def test_the_most_similar_name_is_asked_for_and_none_that_is_not_similar() -> None:
    known = ["wkr_hello", "wkr_csv_summary", "wkr_help"]
    assert did_you_mean("wkr_helo", known) == " Did you mean wkr_hello?"
    assert did_you_mean("hello", known) == " Did you mean wkr_hello?"
    assert did_you_mean("nothing", known) == ""


def test_neither_a_long_name_nor_a_list_without_an_end_costs_much() -> None:
    assert did_you_mean("x" * 1_000_000, ["x" * 999_999]) == ""
    assert did_you_mean("wkr_helo", itertools.repeat("wkr_hello" * 100)) == ""
