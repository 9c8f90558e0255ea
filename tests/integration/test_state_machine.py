"""Random histories of jobs against PostgreSQL: no order of transitions leads to a state that the model does not allow.

`tests.integration.model` is the model. `make model` runs more of its histories.
"""

from __future__ import annotations

import os
from contextlib import suppress

import pytest

from ava.domain.jobs.retry import Retry, may_retry
from ava.store.statements import all_statements
from tests.integration.model.coverage import DECIDING, NOT_DRIVEN, statements_that_decide, undriven, written_tables
from tests.integration.model.defects import FunctionMutant, Mutant
from tests.integration.model.expected import ModelError
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


def test_the_tables_that_a_statement_writes_are_found() -> None:
    statement = "WITH a AS (UPDATE jobs AS j SET x = 1), b AS (DELETE FROM job_tags) INSERT INTO job_logs SELECT 1"
    assert written_tables(statement) == {"jobs", "job_tags", "job_logs"}
    assert written_tables("SELECT 1 FROM jobs FOR UPDATE SKIP LOCKED") == set()
    assert written_tables("INSERT INTO a VALUES (1) ON CONFLICT DO UPDATE SET b = 1") == {"a"}


def test_every_statement_that_the_model_leaves_out_exists() -> None:
    assert set(NOT_DRIVEN) - all_statements().keys() == set()


def test_every_defect_that_the_model_must_find_changes_each_of_its_statements_or_its_function() -> None:
    for mutant in MUTANTS:
        with mutant.applied():
            assert mutant.changed, mutant.name


def test_a_defect_that_leaves_one_of_its_statements_as_it_is_is_refused() -> None:
    defect = Mutant(name="none", statements=("claim", "release"), old="j.run_no = %(next_run_no)s - 1 AND", new="")
    with pytest.raises(ValueError, match=r"\['release'\]"), defect.applied():
        pass


def test_a_defect_of_a_function_takes_effect_wherever_the_function_was_imported_and_ends_with_the_run() -> None:
    defect = FunctionMutant(
        name="the last attempt is repeated",
        function="ava.domain.jobs.retry:may_retry",
        old="attempt < max_attempts",
        new="attempt <= max_attempts",
    )
    assert defect.changed == ["ava.domain.jobs.retry:may_retry"]

    def repeats() -> bool:
        return may_retry(attempt=1, max_attempts=1)

    with defect.applied():
        assert repeats()
    assert not repeats()
    with suppress(ModelError), defect.applied():
        raise ModelError
    assert not repeats()


def test_a_defect_of_a_method_takes_effect_in_instances_that_exist() -> None:
    retry = Retry(delays_seconds=[5, 60])
    defect = FunctionMutant(
        name="all delays are the first one",
        function="ava.domain.jobs.retry:Retry.unspread_seconds",
        old="self.delays_seconds[min(attempt,  len(self.delays_seconds)) - 1]",
        new="self.delays_seconds[0]",
    )
    with defect.applied():
        assert retry.unspread_seconds(2) == 5.0
    assert retry.unspread_seconds(2) == 60.0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("attempt < most", "attempt <= most"),
        ("attempt < max_attempts", "attempt  <  max_attempts  # as before"),
        ("max_attempts: int", "max_attempts: int = 0"),
    ],
    ids=["nothing", "white space", "a default"],
)
def test_a_defect_that_changes_no_body_is_refused(old: str, new: str) -> None:
    defect = FunctionMutant(name="none", function="ava.domain.jobs.retry:may_retry", old=old, new=new)
    assert defect.changed == []
    with pytest.raises(ValueError, match="may_retry"), defect.applied():
        pass
