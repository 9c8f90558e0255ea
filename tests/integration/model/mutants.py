"""`python -m tests.integration.model.mutants`: defects that the model must find, each in a statement or in a function.

`defects` says how each kind takes effect.
"""

from __future__ import annotations

import argparse
import sys
import time

from ava.store.engine.database import Database
from tests.integration.model.__main__ import model_server
from tests.integration.model.defects import FunctionMutant, Mutant
from tests.integration.model.recorder import Recorder, open_database
from tests.integration.model.runner import Runner

_CLAIMS = ("claim", "claim_together", "end_and_claim")
_ENDS = ("end", "end_together", "end_and_claim", "end_and_check", "requeue", "end_stopped")
#: Those that write only what nobody has asked to stop.
_FINAL_ENDS = ("end", "end_together", "end_and_claim", "end_and_check")
_NEXT_VALUES = "ava.domain.jobs.run_outcome:next_values"

MUTANTS: tuple[Mutant | FunctionMutant, ...] = (
    Mutant(
        name="a claim takes any run number",
        statements=("claim", "end_and_claim"),
        old="j.run_no = %(next_run_no)s - 1 AND",
        new="true AND",
    ),
    Mutant(
        name="a claim of several runs takes any run numbers",
        statements=("claim_together",),
        old="j.run_no = r.run_no - 1 AND",
        new="true AND",
    ),
    Mutant(
        name="a claim takes a job that runs",
        statements=("claim",),
        old="AND j.status IS NOT DISTINCT FROM 'queued' AND j.waits_for IS NULL AND j.worker_id",
        new="AND j.status IN ('queued', 'running') AND j.waits_for IS NULL AND j.worker_id",
    ),
    Mutant(
        name="a claim starts what waits",
        statements=("claim_together",),
        old="AND j.waits_for IS NULL AND j.worker_id",
        new="AND j.worker_id",
    ),
    Mutant(name="a paused worker's job is claimed", statements=_CLAIMS, old="= 'paused', false)", new="= '', false)"),
    Mutant(
        name="an end ignores the claim's id",
        statements=_ENDS,
        old="AND j.claim_id IS NOT DISTINCT FROM r.claim_id",
        new="",
    ),
    Mutant(
        name="an end ignores the run's number",
        statements=_ENDS,
        old="j.id = r.id AND j.run_no = r.run_no AND j.status",
        new="j.id = r.id AND j.status",
    ),
    Mutant(
        name="a second end changes a final job",
        statements=_ENDS,
        old="AND j.status IS NOT DISTINCT FROM 'running' AND j.claim_id",
        new="AND j.status IN ('running', 'failed') AND j.claim_id",
    ),
    Mutant(name="an end overwrites a cancel", statements=_FINAL_ENDS, old="AND j.stop_status IS NULL", new=""),
    FunctionMutant(
        name="a deferral keeps the attempt",
        function=_NEXT_VALUES,
        old="(is_queued and not is_retried)",
        new="(is_queued and not is_retried and outcome.delay_seconds is None)",
    ),
    FunctionMutant(
        name="a loss uses an attempt up",
        function=_NEXT_VALUES,
        old="(is_queued and not is_retried)",
        new="(is_queued and not is_retried and outcome.losses is None)",
    ),
    Mutant(name="a rescue loses the cancel", statements=("requeue",), old="AND j.stop_status IS NULL", new=""),
    Mutant(
        name="a rescue ignores the run's number",
        statements=("lock_run",),
        old="AND j.run_no = %(run_no)s AND j.status",
        new="AND j.status",
    ),
    Mutant(
        name="a rescue ignores the node",
        statements=("lock_run",),
        old="j.node_id = %(node_id)s::uuid)",
        new="j.node_id = %(node_id)s::uuid OR true)",
    ),
    FunctionMutant(
        name="losses are not counted",
        function="ava.domain.jobs.run_outcome:of_lost_run",
        old="losses=running.losses + 1",
        new="losses=running.losses",
    ),
    Mutant(
        name="a lost run starts again without a charge of its rate",
        statements=("requeue",),
        old="CASE WHEN j.rate_key IS NOT NULL THEN 'permit' END",
        new="NULL",
    ),
    Mutant(
        name="a deferred rate lets admitted jobs start",
        statements=("defer_rate",),
        old="AND rate_key = own.rate_key",
        new="AND false",
    ),
    Mutant(
        name="a rate is not charged",
        statements=("write_rates",),
        old="SELECT * FROM unnest(%(keys)s::text[], %(timestamps)s::timestamptz[])",
        new="SELECT key, next_at - interval '2 hours' FROM unnest(%(keys)s::text[], %(timestamps)s::timestamptz[])",
    ),
    Mutant(
        name="a recall keeps the number",
        statements=("recall_runs", "recall_all", "recall_moved"),
        old="run_no = j.run_no + 1",
        new="run_no = j.run_no",
    ),
    Mutant(
        name="parking keeps the number of a published job",
        statements=("park_unclaimed", "park"),
        old="run_no = j.run_no + (j.published_at IS NOT NULL)::int",
        new="run_no = j.run_no",
    ),
    Mutant(
        name="an unclaimed run keeps its number",
        statements=("recall_runs",),
        old="run_no = j.run_no + 1",
        new="run_no = j.run_no",
    ),
    Mutant(
        name="the permit of a final job is not free",
        statements=("key_states",),
        old="(a.status = 'running' OR",
        new="(a.status <> 'queued' OR",
    ),
    Mutant(
        name="admitted jobs take no permit",
        statements=("key_states",),
        old="(a.status = 'running' OR a.status = 'queued' AND a.waits_for IS NULL)",
        new="(a.status = 'running')",
    ),
    FunctionMutant(
        name="a dated job is published by the API",
        function="ava.store.jobs.transitions.make:_waits_for",
        old="return WaitsFor.SCHEDULE",
        new="return None",
    ),
    Mutant(
        name="a due job starts without a permit",
        statements=("make_due", "return_parked"),
        old="WHEN j.limit_key IS NOT NULL THEN 'permit' END",
        new="END",
    ),
    Mutant(
        name="dedupe replaces the job of another worker",
        statements=("lock_replaced",),
        old="tenant_id = %(tenant_id)s AND worker_id = k.worker_id AND dedupe_key = k.key",
        new="tenant_id = %(tenant_id)s AND dedupe_key = k.key",
    ),
    Mutant(
        name="dedupe returns a final job",
        statements=("deduped",),
        old="AND status IN ('queued', 'running') LIMIT 1",
        new="ORDER BY id LIMIT 1",
    ),
    Mutant(
        name="a debounced job is deferred beyond its latest start",
        statements=("defer",),
        old="least(s.start_at, d.latest_at) AS start_at",
        new="s.start_at AS start_at",
    ),
    Mutant(
        name="a job that has expired is claimed",
        statements=("claim",),
        old="(j.expires_at IS NULL OR j.first_run_no IS NOT NULL OR j.expires_at > clock_timestamp())",
        new="true",
    ),
    FunctionMutant(
        name="a job that was given back unbegun counts as started",
        function=_NEXT_VALUES,
        old="None if never_began else job.first_run_no",
        new="job.first_run_no",
    ),
    Mutant(
        name="a job that has started expires", statements=("expire",), old="AND first_run_no IS NULL AND", new="AND"
    ),
    Mutant(
        name="a cancel reaches another tenant's job",
        statements=("cancel", "lock_below"),
        old="j.tenant_id = r.tenant_id AND j.id = r.id",
        new="j.id = r.id",
    ),
    FunctionMutant(
        name="a claim that was given back uses an attempt up",
        function=_NEXT_VALUES,
        old="(is_queued and not is_retried)",
        new="(is_queued and not is_retried and outcome.has_begun)",
    ),
    Mutant(
        name="the next job of a schedule starts beside one that was hidden by a cancel",
        statements=("read_due",),
        old="last.id = coalesce(earlier.after_id, newest.id)",
        new="last.id = newest.id",
    ),
    Mutant(
        name="a job that begins to wait does not wake itself",
        statements=("begin_wait",),
        old="SELECT tenant_id, 'job', id FROM waiting WHERE",
        new="SELECT tenant_id, 'job', id FROM waiting WHERE false AND",
    ),
    Mutant(
        name="a wait for all jobs ends with the first",
        statements=("decide",),
        old="WHEN w.condition = 'any' THEN",
        new="WHEN w.condition IN ('any', 'ended') THEN",
    ),
    Mutant(
        name="an event wakes no job", statements=("mark",), old="FROM marked AS m", new="FROM marked AS m WHERE false"
    ),
    Mutant(
        name="an event is dropped although a job waits for its type",
        statements=("drop_unawaited",),
        old="WHERE k.tenant_id = e.tenant_id AND k.value",
        new="WHERE false AND k.value",
    ),
    Mutant(
        name="an event finds no wait by its exact value",
        statements=("waits",),
        old="k.match_key <= r.last_key",
        new="k.match_key < r.last_key",
    ),
    Mutant(
        name="an event is not compared with the waits after those of the first transaction",
        statements=("advance_events",),
        old="SET after_key = %(after_key)s::uuid",
        new="SET after_key = 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid",
    ),
    Mutant(
        name="a wait that the handler has given up ends another one",
        statements=("begin_wait",),
        old="AND k.name <> ALL(%(retained_names)s::text[])",
        new="AND false AND k.name <> ALL(%(retained_names)s::text[])",
    ),
    Mutant(
        name="a job that is to be cancelled makes children",
        statements=("enter_tree",),
        old="AND j.cancel_requested_at IS NULL",
        new="",
    ),
    Mutant(
        name="a marked job is cancelled while a job below it runs",
        statements=("cancel_marked",),
        old="AND c.is_detached IS NOT TRUE AND c.completed_at IS NULL",
        new="AND false",
    ),
    Mutant(
        name="retention deletes the lines of a job alone",
        statements=("delete", "delete_oldest"),
        old="WHERE j.tenant_id = old.tenant_id AND j.id = old.id AND (SELECT",
        new="WHERE false AND (SELECT",
    ),
    Mutant(
        name="an edge of a handler's wait is not written",
        statements=("begin_wait",),
        old="WITH ORDINALITY AS a (id, n) ON CONFLICT",
        new="WITH ORDINALITY AS a (id, n) WHERE a.n > 1 ON CONFLICT",
    ),
    Mutant(
        name="an edge of an entry is not written",
        statements=("declare",),
        old="AS e (tenant_id, id, after_id, n) ON CONFLICT",
        new="AS e (tenant_id, id, after_id, n) WHERE e.n > 0 ON CONFLICT",
    ),
    Mutant(
        name="a dropped edge wakes no job", statements=("drop",), old="FROM dropped", new="FROM dropped WHERE false"
    ),
    Mutant(
        name="a run that has lost its job writes into the journal",
        statements=("write",),
        old="AND j.claim_id IS NOT DISTINCT FROM r.claim_id FOR NO KEY UPDATE OF j",
        new="FOR NO KEY UPDATE OF j",
    ),
    Mutant(
        name="a new attempt forgets the steps of the one before",
        statements=("carry",),
        old="(k.kind = 'wait' OR k.state = 'timed_out'",
        new="(k.kind IN ('wait', 'step') OR k.state = 'timed_out'",
    ),
    Mutant(
        name="a new attempt keeps the failed children of the one before",
        statements=("carry",),
        old="AND c.status NOT IN ('failed', 'cancelled')",
        new="",
    ),
    Mutant(
        name="a lease has another claim",
        statements=("claim",),
        old="SELECT j.tenant_id, j.id, j.run_no, j.claim_id, t.lookup",
        new="SELECT j.tenant_id, j.id, j.run_no, gen_random_uuid(), t.lookup",
    ),
    Mutant(
        name="a lease is renewed after its run has lost the job",
        statements=("renew_all",),
        old="AND j.run_no = l.run_no AND j.claim_id = l.claim_id AND j.status IS NOT DISTINCT FROM 'running'",
        new="",
    ),
    Mutant(
        name="the end of a pulled run is not known again",
        statements=("mark_ended",),
        old="end_digest = %(digest)s",
        new="end_digest = nullif(%(digest)s, %(digest)s)",
    ),
    Mutant(
        name="a lost pulled run keeps its lease",
        statements=("mark_lost",),
        old="SET ended_at = clock_timestamp()",
        new="SET ended_at = NULL",
    ),
    Mutant(
        name="retention deletes the leases of runs that go on",
        statements=("delete_old",),
        old="WHERE ended_at < now() - interval '24 hours'",
        new="WHERE coalesce(ended_at, '-infinity') < now() - interval '24 hours'",
    ),
)


def main() -> int:
    """Run histories against each defect until one fails. Returns 1 if one does not."""
    parser = argparse.ArgumentParser(description="Run histories against defects that they must find.")
    parser.add_argument("names", nargs="*", help="parts of the names of defects; default: all of them")
    parser.add_argument("--histories", type=int, default=30, help="the histories against each (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the first history's (%(default)s)")
    options = parser.parse_args()
    wanted = [each for each in MUTANTS if not options.names or any(name in each.name for name in options.names)]
    missed = 0
    with model_server() as databases:
        for mutant in wanted:
            began = time.monotonic()
            with databases.fresh() as url, mutant.applied():
                recorder = Recorder(mutant.change)
                database = open_database(url, recorder)
                try:
                    outcome = _find(database, recorder, seed=options.seed, histories=options.histories)
                finally:
                    database.close()
            missed += outcome is None
            sys.stdout.write(f"{outcome or 'NOT CAUGHT'}  {mutant.name}  ({time.monotonic() - began:.0f} s)\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(wanted) - missed} of {len(wanted)} caught\n")
    return 1 if missed else 0


def _find(database: Database, recorder: Recorder, *, seed: int, histories: int) -> str | None:
    """Returns after how many histories and steps a defect is found; None if it is not."""
    runner = Runner(database=database, recorder=recorder, shorten_seconds=0.0)
    for number in range(histories):
        failure = runner.run(seed + number)
        if failure is not None:
            what = failure.message.partition("\n")[0][:70]
            return f"history {number + 1:2}, step {failure.found_after:3}: {what:70}"
    return None


if __name__ == "__main__":
    sys.exit(main())
