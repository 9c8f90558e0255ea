"""Use cases of runs that were claimed over HTTP: log lines, progress, heartbeats and outcomes."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ava.domain import ids
from ava.domain.access import tokens
from ava.domain.access.caller import Caller, Role
from ava.domain.access.tokens import Token, TokenKind
from ava.domain.error_group import error_id
from ava.domain.jobs import retry
from ava.domain.jobs.job import Job, LogLevel, LogLine, Status
from ava.domain.jobs.run_log import ClaimedRun, RunHeartbeats
from ava.domain.jobs.run_outcome import Ending, RunOutcome
from ava.domain.limits.table import RUN_LINES, RUN_LOG_BYTES
from ava.domain.strings import one_line, storable
from ava.errors import PayloadTooLarge, RequestError, RunKeyEnded, RunLost, RunNotFound, required
from ava.services.api_keys import cache_name
from ava.services.cache import Cache
from ava.store.engine import clock
from ava.store.engine.database import Connection, Database
from ava.store.fleet import pull_workers, worker_settings
from ava.store.jobs.transitions import claim, end, log_lines, pull
from ava.store.jobs.transitions.ended_runs import EndedRun, closing_line
from ava.store.jobs.transitions.log_lines import SEQ_OF_OTHERS, SEQ_PER_RUN
from ava.store.jobs.transitions.pull import LeasedRun, PulledRun

_REMEMBER_SECONDS = 60.0
_MAX_REMEMBERED = 20_000
#: The position of the closing line in its run, after all lines of the worker; the opening line has 0.
_CLOSING_SEQ = SEQ_OF_OTHERS - 1
assert RUN_LINES.value < _CLOSING_SEQ


@dataclass(frozen=True, kw_only=True, slots=True)
class SentLine:
    #: Its number in the run, from 0. Lines with a stored number are ignored.
    seq: int
    level: LogLevel
    msg: str
    #: None: now.
    ts: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SentOutcome:
    #: The output of a successful run, as serialized JSON.
    output_json: str | None = None
    #: `Kind: reason` of a failed run, and whether it forbids further attempts.
    error: str | None = None
    gives_up: bool = False
    #: Seconds until a deferred job starts again, and the reason.
    retry_later_seconds: float | None = None
    reason: str = ""

    @property
    def digest(self) -> bytes:
        """Return a hash that is equal for repeated requests."""
        parts = [self.output_json, self.error, self.gives_up, self.retry_later_seconds, self.reason]
        return hashlib.sha256(json.dumps(parts).encode()).digest()


class PulledRuns:
    """Use cases of claimed runs. A run's token is the only authorisation."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`clock` returns monotonic seconds, `draw` a number from 0 to 1 for the jitter of retry delays."""
        self._database = database
        self._clock = clock
        self._draw = draw
        self._callers: Cache[bytes, Caller] = Cache(_MAX_REMEMBERED)

    def caller_of(self, token_string: str) -> Caller:
        """Return the caller of a run's token.

        Raise `RunNotFound`, `RunKeyEnded` if the claiming key was revoked or has expired.
        """
        if (found := self.known_caller_of([token_string]) or self.find_caller_of([token_string])) is None:
            with self._database.connect() as connection:
                raise _refusal(connection, parse_token(token_string))
        return found

    def known_caller_of(self, token_strings: Sequence[str]) -> Caller | None:
        now = self._clock()
        found = (self._callers.get(cache_name(token), now) for token in _parsed(token_strings))
        return next(filter(None, found), None)

    def find_caller_of(self, token_strings: Sequence[str]) -> Caller | None:
        """Return the caller of the first valid token; None if none is valid."""
        named = {token.lookup: token for token in _parsed(token_strings)}
        if not named:
            return None
        with self._database.connect() as connection:
            owner = pull.owner_of(connection, list(named.values()))
        if owner is None or not owner.key_is_valid:
            return None
        key_id = None if owner.key_uuid is None else ids.encode("key", owner.key_uuid)
        found = Caller(tenant_id=owner.tenant_id, user_id=owner.lookup, role=Role.WORKER, key_id=key_id)
        self._callers.put(cache_name(named[owner.lookup]), found, until=self._clock() + _REMEMBER_SECONDS)
        return found

    def claimed(self, runs: Sequence[PulledRun]) -> list[ClaimedRun]:
        """Return runs with the configuration of their workers: the tenant's entries override the platform's."""
        pairs = {(run.job.tenant_id, run.job.worker_id) for run in runs if run.job.has_settings}
        found: dict[tuple[str, str], dict[str, str]] = {}
        if pairs:
            with self._database.connect() as connection:
                for tenant_id, worker_id in pairs:
                    own, platform = worker_settings.read(connection, tenant_id=tenant_id, worker_id=worker_id)
                    config = dict(platform.config) if platform is not None else {}
                    found[tenant_id, worker_id] = config | (dict(own.config) if own is not None else {})
        return [
            ClaimedRun(
                run=run.token.encoded,
                job=run.light_job,
                input_json=run.job.input_json,
                config=found.get((run.job.tenant_id, run.job.worker_id), {}),
                timeout_at=run.timeout_at,
                has_journal=run.job.has_journal,
            )
            for run in runs
        ]

    def append(self, token_string: str, lines: Sequence[SentLine]) -> bool:
        """Store log lines, and for repeated numbers only the first. Return True if the run must stop.

        Raise `RunLost`, `RunNotFound`, `RunKeyEnded`, `PayloadTooLarge` if the log has too many bytes.
        """
        by_seq = {line.seq: line for line in reversed(lines)}
        stored = [(line, storable(line.msg)) for line in lines if by_seq[line.seq] is line]
        token, size = parse_token(token_string), sum(len(msg.encode()) for _, msg in stored)
        with self._database.transaction() as connection:
            run = self.hear(connection, token, log_bytes=size)
            if run.log_bytes > RUN_LOG_BYTES.value:
                sentence = f"The log of this run has reached its limit of {RUN_LOG_BYTES.value:,} bytes."
                raise PayloadTooLarge(RUN_LOG_BYTES.message(sentence))
            now = clock.now(connection)
            made = [
                LogLine(
                    seq=run.run.run_no * SEQ_PER_RUN + 1 + line.seq,
                    ts=now if line.ts is None else min(line.ts, now),
                    level=line.level,
                    msg=msg,
                )
                for line, msg in stored
            ]
            self._append(connection, run, made, None)
        return run.is_to_stop

    def report(self, token_string: str, *, fraction: float, message: str) -> bool:
        """Store a run's progress. Return True if the run must stop. Raise like `append`."""
        progress_json = json.dumps({"fraction": fraction, "message": one_line(message)})
        with self._database.transaction() as connection:
            run = self.hear(connection, parse_token(token_string))
            self._append(connection, run, [], progress_json)
        return run.is_to_stop

    def _append(
        self, connection: Connection, run: LeasedRun, lines: Sequence[LogLine], progress_json: str | None
    ) -> None:
        if not log_lines.append(
            connection, run=run.run, claim_id=run.claim_id, lines=lines, progress_json=progress_json, are_apart=True
        ):
            raise RunLost

    def hear(self, connection: Connection, token: Token, *, log_bytes: int = 0) -> LeasedRun:
        """Renew a run's lease. Raise `RunLost`, `RunNotFound`, `RunKeyEnded`."""
        run = pull.renew(connection, token, log_bytes=log_bytes)
        if run is None:
            raise _refusal(connection, token)
        return run

    def record_api_heartbeat(self) -> None:
        with self._database.connect(of_process=True) as connection:
            pull_workers.record_api_heartbeat(connection)

    def renew(self, token_strings: Sequence[str]) -> RunHeartbeats:
        """Renew the runs' leases. Return the tokens of runs that must stop, and of lost runs."""
        named = {token.encoded: token for token in _parsed(token_strings)}
        with self._database.connect() as connection:
            owned = pull.renew_all(connection, list(named.values())) if named else {}
        stop = [token_string for token_string, token in named.items() if owned.get(token.lookup)]
        alive = {token_string for token_string, token in named.items() if token.lookup in owned}
        lost = [token_string for token_string in dict.fromkeys(token_strings) if token_string not in alive]
        return RunHeartbeats(stop=stop, lost=lost)

    def end(self, token_string: str, sent: SentOutcome) -> Status:
        """End a run. Return the job's new status, also for a repeated request.

        Raise `RunLost` if it ended differently or has lost its job, `RunNotFound`, `RunKeyEnded`.
        """

        def write(connection: Connection, run: LeasedRun, job: Job) -> Status | None:
            return end.end(connection, ended_run(connection, run, job, self._decide(run, sent)))

        return self.end_once(parse_token(token_string), sent.digest, write)

    def end_once(
        self, token: Token, digest: bytes, write: Callable[[Connection, LeasedRun, Job], Status | None]
    ) -> Status:
        """End a run with `write`, unless a request with the same digest has ended it. Return the job's new status.

        `write` returns the status, or None if the run has lost its job. Raise like `end`.
        """
        with self._database.transaction() as connection:
            run = pull.lock(connection, token)
            if run is None:
                raise _refusal(connection, token)
            if run.has_ended:
                if run.end_digest != digest or run.end_status is None:
                    raise RunLost
                return Status(run.end_status)
            # Lock the job after the run's row: all transactions that end a pulled run use this order.
            job = claim.lock(connection, run.run)
            status = required(None if job is None else write(connection, run, job), RunLost)
            pull.mark_ended(connection, token, tenant_id=run.run.tenant_id, digest=digest, status=status)
        return status

    def _decide(self, run: LeasedRun, given: SentOutcome) -> RunOutcome:
        if given.retry_later_seconds is not None:
            return RunOutcome(
                run=run.run,
                ending=Ending.DEFERRED,
                elapsed_ms=run.elapsed_ms,
                delay_seconds=given.retry_later_seconds,
                reason=one_line(given.reason),
            )
        if given.error is None:
            return RunOutcome(
                run=run.run, ending=Ending.COMPLETED, elapsed_ms=run.elapsed_ms, output_json=given.output_json
            )
        if not given.gives_up and retry.may_retry(attempt=run.attempt, max_attempts=run.max_attempts):
            delay = (run.retry or retry.DEFAULT).delay_seconds(attempt=run.attempt, draw=self._draw())
            return RunOutcome(run=run.run, ending=Ending.RETRIED, elapsed_ms=run.elapsed_ms, delay_seconds=delay)
        error = one_line(given.error)
        group = error_id(tenant_id=run.run.tenant_id, worker_id=run.worker_id, error=error)
        return RunOutcome(
            run=run.run, ending=Ending.FAILED, elapsed_ms=run.elapsed_ms, error=error, error_id=str(group)
        )


def _refusal(connection: Connection, token: Token) -> RequestError:
    """Return why a run's token is invalid."""
    if (owner := pull.owner_of(connection, [token])) is None:
        return RunNotFound()
    return RunLost() if owner.key_is_valid else RunKeyEnded()


def _parsed(token_strings: Sequence[str]) -> list[Token]:
    return [token for token_string in token_strings if (token := tokens.parse(token_string, TokenKind.RUN)) is not None]


def ended_run(connection: Connection, run: LeasedRun, job: Job, outcome: RunOutcome) -> EndedRun:
    """Return a run that ends now, with its closing line."""
    closing = closing_line(run.run.run_no * SEQ_PER_RUN + _CLOSING_SEQ, clock.now(connection), outcome)
    return EndedRun.of(job, outcome, claim_id=run.claim_id, closing=closing)


def parse_token(token_string: str) -> Token:
    """Return the parsed token of a run. Raise `RunNotFound`."""
    return required(tokens.parse(token_string, TokenKind.RUN), RunNotFound)
