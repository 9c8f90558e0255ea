"""Random histories of jobs against PostgreSQL: no order of transitions leads to a state that the model does not allow.

`tests.integration.model` is the model. `make model` runs more of its histories.
"""

from __future__ import annotations

import os

import pytest

from ava.store.statements import all_statements
from tests.integration.model.coverage import DECIDING, NOT_DRIVEN, statements_that_decide, undriven
from tests.integration.model.mutants import MUTANTS
from tests.integration.model.recorder import Recorder, open_database
from tests.integration.model.runner import Runner

#: As many as drive every statement from this seed; `make model` runs others.
_HISTORIES = int(os.environ.get("AVA_TEST_HISTORIES", "13"))
#: What no history has driven by chance another one drives; what the model does not know none does.
_MAX_HISTORIES = 12 * _HISTORIES
_SEED = 13


@pytest.mark.needs_session("each statement is sent whole, so that it is known by its text")
def test_every_history_of_jobs_is_legal_and_every_statement_that_moves_a_job_is_driven(database_url: str) -> None:
    recorder = Recorder()
    database = open_database(database_url, recorder)
    runner = Runner(database=database, recorder=recorder)
    try:
        while runner.histories < _HISTORIES or (undriven(recorder) and runner.histories < _MAX_HISTORIES):
            failure = runner.run(_SEED + runner.histories)
            assert failure is None, str(failure)
    finally:
        database.close()
    assert undriven(recorder) == set(), "the model has no step that drives these statements with an effect"


def test_no_statement_that_writes_jobs_is_left_out_of_the_model() -> None:
    decide = statements_that_decide()
    assert sum("jobs" in tables for tables in decide.values()) > 15
    assert [name for name in NOT_DRIVEN if "jobs" in decide[name]] == []


def test_a_statement_writes_each_table_that_decides() -> None:
    assert set().union(*statements_that_decide().values()) == set(DECIDING)


def test_every_statement_that_the_model_leaves_out_exists() -> None:
    assert set(NOT_DRIVEN) - all_statements().keys() == set()


def test_every_defect_that_the_model_must_find_changes_each_of_its_statements_or_its_function() -> None:
    for mutant in MUTANTS:
        with mutant.applied():
            assert mutant.changed, mutant.name
