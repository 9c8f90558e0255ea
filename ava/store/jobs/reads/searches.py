"""Search jobs without a suitable index: check the jobs of an index range one by one, newest first, up to a limit.

An index of error messages would need trigrams (`pg_trgm`), an extension that a role may not be allowed to create, and
its rows are unordered: one page for a string in a million errors would read all of them. So the search follows the
order of the list. A page ends when it is full or at the maximum of checked jobs; its cursor continues the search.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ava.domain import ids
from ava.domain.jobs.job import Status
from ava.domain.jobs.job_filter import JobFilter, JobSort
from ava.domain.limits.table import SEARCHED_INPUT_BYTES, SEARCHED_JOBS
from ava.domain.secrets import redaction
from ava.store.engine.database import Connection
from ava.store.engine.record_rows import parameters_of
from ava.store.engine.statement import Statement
from ava.store.errors.groups import error_uuid
from ava.store.jobs import rows
from ava.store.jobs.reads.filters import BY_STATUS, BY_WORKER, filter_parameters, ranges
from ava.store.jobs.transitions.rules import IS_WAITING


@dataclass(frozen=True, kw_only=True)
class Found:
    #: Newest first.
    job_ids: Sequence[str]
    #: The id of the last checked job if there may be more behind it.
    scanned_until: str | None


@dataclass(frozen=True, kw_only=True)
class Sorted:
    job_ids: Sequence[str]
    #: Matching jobs among the checked ones.
    matching: int


_LIMIT = "%(searched)s"
_BY_STATUS_SEEN = f"SELECT found.id FROM {ranges(BY_STATUS, limit=_LIMIT)}\nORDER BY found.id DESC LIMIT {_LIMIT}"
_BY_WORKER_SEEN = f"SELECT found.id FROM {ranges(BY_WORKER, limit=_LIMIT)}\nORDER BY found.id DESC LIMIT {_LIMIT}"
# Reads the jobs of the rarest tag and compares their other tags. Counting stops early, because it only has to tell a
# rare tag from a common one.
_BY_TAG_SEEN = f"""
SELECT t.job_id AS id FROM (
    SELECT tag.key, tag.value FROM json_each_text(%(tags)s::json) AS tag
    ORDER BY (SELECT count(*) FROM (
        SELECT FROM job_tags AS t
        WHERE t.tenant_id = %(tenant_id)s AND t.key = tag.key AND t.value = tag.value LIMIT 1000
    ) AS counted) LIMIT 1
) AS rarest CROSS JOIN LATERAL (
    SELECT t.job_id FROM job_tags AS t
    WHERE t.tenant_id = %(tenant_id)s AND t.key = rarest.key AND t.value = rarest.value
        AND t.job_id >= %(floor)s::uuid AND t.job_id < %(ceiling)s::uuid
    ORDER BY t.job_id DESC LIMIT {_LIMIT}
) AS t
"""
_BY_TREE_SEEN, _BY_PARENT_SEEN = (
    f"""
SELECT j.id FROM jobs AS j
WHERE j.tenant_id = %(tenant_id)s AND j.{column} = %({column})s::uuid
    AND j.id >= %(floor)s::uuid AND j.id < %(ceiling)s::uuid
ORDER BY j.id DESC LIMIT {_LIMIT}
"""
    for column in ("tree_id", "parent_id")
)
# A range of `jobs_waiting`, as row comparisons, because with equalities the planner may walk the primary key.
_BY_REASON_SEEN = f"""
SELECT j.id FROM jobs AS j
WHERE {IS_WAITING}
    AND (j.waits_for, j.tenant_id, j.id) >= (%(waits_for)s, %(tenant_id)s, %(floor)s::uuid)
    AND (j.waits_for, j.tenant_id, j.id) < (%(waits_for)s, %(tenant_id)s, %(ceiling)s::uuid)
ORDER BY j.waits_for DESC, j.tenant_id DESC, j.id DESC LIMIT {_LIMIT}
"""
_ID_BITS = "('x' || translate(j.id::text, '-', ''))::bit(128)"
# The bits of a part of an id may also match between digits, so the digit positions are compared for the few ids that
# `position` leaves.
_MATCHES = f"""j.tenant_id = %(tenant_id)s
        AND j.status = ANY(%(statuses)s::text[]) AND j.trigger = ANY(%(triggers)s::text[])
        AND (%(worker_id)s::text IS NULL OR j.worker_id = %(worker_id)s)
        AND (%(waits_for)s::text IS NULL OR j.waits_for = %(waits_for)s)
        AND (%(priority)s::int IS NULL OR j.priority = %(priority)s)
        AND (%(parent_id)s::uuid IS NULL OR j.parent_id = %(parent_id)s::uuid)
        AND (%(tree_id)s::uuid IS NULL OR j.tree_id = %(tree_id)s::uuid)
        AND (%(root)s::bool IS NULL OR (j.tree_id IS NULL OR j.tree_id = j.id) = %(root)s::bool)
        AND (%(triggered_by)s::text IS NULL OR j.triggered_by = %(triggered_by)s)
        AND (%(error_id)s::uuid IS NULL OR j.error_id = %(error_id)s::uuid)
        AND (%(error)s::text IS NULL OR strpos(lower(j.error), lower(%(error)s)) > 0)
        AND (%(completed_after)s::timestamptz IS NULL OR j.completed_at >= %(completed_after)s::timestamptz)
        AND (%(completed_before)s::timestamptz IS NULL OR j.completed_at < %(completed_before)s::timestamptz)
        AND (%(id_part)s::bit varying IS NULL
             OR position(%(id_part)s::bit varying IN {_ID_BITS}) > 0 AND EXISTS (
                SELECT FROM unnest(%(id_masks)s::bit(128)[], %(id_bits)s::bit(128)[]) AS part (mask, bits)
                WHERE {_ID_BITS} & part.mask = part.bits))
        AND (%(tags)s::json IS NULL OR NOT EXISTS (
            SELECT FROM json_each_text(%(tags)s::json) AS tag WHERE NOT EXISTS (
                SELECT FROM job_tags AS t WHERE t.tenant_id = %(tenant_id)s AND t.key = tag.key
                    AND t.value = tag.value AND t.job_id = j.id)))
        AND (%(input)s::json IS NULL OR NOT EXISTS (
            SELECT FROM json_to_recordset(%(input)s::json) AS wanted (path text[], text text)
            WHERE ava_input_text(j.input, wanted.path) IS DISTINCT FROM wanted.text
                -- The value beside the name of a credential, such as Authorization, and its parts match nothing.
                OR 'value' = ANY(wanted.path) AND EXISTS (
                    SELECT FROM unnest(array_positions(wanted.path, 'value')) AS wildcard (n)
                    CROSS JOIN unnest(%(naming)s::text[]) AS naming (key) WHERE regexp_replace(
                        lower(ava_input_text(j.input, wanted.path[:wildcard.n - 1] || naming.key)), '[^a-z0-9]', '', 'g'
                    ) ~ %(credentials)s)))"""


def _searched(listed: str) -> str:
    # Inputs differ in size by a factor of a million, so their total size is limited too. Large sizes are stored.
    return f"""listed AS MATERIALIZED ({listed}), seen AS MATERIALIZED (
    SELECT listed.id FROM listed WHERE %(input)s::json IS NULL
    UNION ALL
    SELECT weighed.id FROM (
        SELECT listed.id, size.input, sum(size.input) OVER (ORDER BY listed.id DESC) AS bytes
        FROM listed CROSS JOIN LATERAL (
            SELECT coalesce(j.input_bytes, octet_length(j.input::text)) AS input FROM jobs AS j
            WHERE j.tenant_id = %(tenant_id)s AND j.id = listed.id OFFSET 0
        ) AS size WHERE %(input)s::json IS NOT NULL
    ) AS weighed WHERE weighed.bytes - weighed.input < %(searched_bytes)s
)"""


def _find(listed: str) -> Statement:
    # OFFSET 0 keeps the planner from joining the whole table, and from reading on once there are enough jobs.
    return Statement(f"""
WITH {_searched(listed)}
SELECT ARRAY(
    SELECT seen.id::text FROM (SELECT id FROM seen ORDER BY id DESC OFFSET 0) AS seen CROSS JOIN LATERAL (
        SELECT FROM jobs AS j WHERE j.id = seen.id AND {_MATCHES} OFFSET 0
    ) AS matching
    ORDER BY seen.id DESC LIMIT %(limit)s
), (SELECT count(*) FROM listed) = %(searched)s OR (SELECT count(*) FROM seen) < (SELECT count(*) FROM listed),
(SELECT seen.id::text FROM seen ORDER BY seen.id LIMIT 1)
""")


def _find_sorted(listed: str) -> Statement:
    # Jobs without a value, such as the duration of an unstarted job, are last.
    return Statement(f"""
WITH {_searched(listed)}, matching AS MATERIALIZED (
    SELECT seen.id, %(sign)s * CASE %(key)s
        WHEN 'duration' THEN extract(epoch FROM coalesce(job.completed_at, now()) - job.started_at)
            + coalesce(({rows.earlier_runs("job")})[1], 0) / 1000.0
        WHEN 'waited' THEN extract(epoch FROM
            coalesce(job.first_started_at, job.started_at) - coalesce(job.scheduled_at, job.created_at))
        ELSE job.priority END AS key
    FROM seen CROSS JOIN LATERAL (SELECT j.* FROM jobs AS j WHERE j.id = seen.id AND {_MATCHES} OFFSET 0) AS job
)
SELECT ARRAY(
    SELECT matching.id::text FROM matching ORDER BY matching.key, matching.id DESC LIMIT %(limit)s OFFSET %(offset)s
), (SELECT count(*) FROM matching)
""")


_FIND = _find(_BY_STATUS_SEEN)
_FIND_OF_WORKER = _find(_BY_WORKER_SEEN)
_FIND_OF_REASON = _find(_BY_REASON_SEEN)
_FIND_OF_TAG = _find(_BY_TAG_SEEN)
_FIND_OF_TREE = _find(_BY_TREE_SEEN)
_FIND_OF_PARENT = _find(_BY_PARENT_SEEN)
_FIND_SORTED = _find_sorted(_BY_STATUS_SEEN)
_FIND_SORTED_OF_WORKER = _find_sorted(_BY_WORKER_SEEN)
_FIND_SORTED_OF_REASON = _find_sorted(_BY_REASON_SEEN)
_FIND_SORTED_OF_TAG = _find_sorted(_BY_TAG_SEEN)
_FIND_SORTED_OF_TREE = _find_sorted(_BY_TREE_SEEN)
_FIND_SORTED_OF_PARENT = _find_sorted(_BY_PARENT_SEEN)
#: A regular expression for the end of a credential's name, reduced to letters and digits.
_CREDENTIALS = f"({'|'.join(redaction.NAMES)})$"


def find(
    connection: Connection,
    *,
    tenant_id: str,
    job_filter: JobFilter,
    limit: int,
    before_id: str | None = None,
    among: Iterable[Status] = Status,
) -> Found:
    """Return at most `limit` jobs of a tenant that match any filter, newest first, older than the job `before_id`.

    Reads at most `SEARCHED_JOBS` jobs and `SEARCHED_INPUT_BYTES` of their inputs.
    """
    parameters = _parameters(tenant_id, job_filter, before_id, among) | {"limit": limit}
    statement = _FIND if job_filter.worker_id is None else _FIND_OF_WORKER
    if job_filter.waits_for is not None:
        statement = _FIND_OF_REASON
    if job_filter.tags:
        statement = _FIND_OF_TAG
    if job_filter.tree_id is not None:
        statement = _FIND_OF_TREE
    if job_filter.parent_id is not None:
        statement = _FIND_OF_PARENT
    uuids, is_cut, last = connection.exec_driver_sql(statement, parameters).one()
    return Found(
        job_ids=[ids.encode("job", uuid) for uuid in uuids],
        scanned_until=ids.encode("job", last) if is_cut and len(uuids) < limit else None,
    )


def find_sorted(
    connection: Connection, *, tenant_id: str, job_filter: JobFilter, sort: JobSort, limit: int, offset: int
) -> Sorted:
    """Return at most `limit` jobs of a tenant that match any filter, sorted, after `offset` jobs.

    Reads only the newest `SEARCHED_JOBS` jobs, as `find` does, because no index has this order.
    """
    key = sort.value.removeprefix("-")
    parameters = _parameters(tenant_id, job_filter, None, Status)
    parameters |= {"key": key, "sign": 1 if sort.value == key else -1, "limit": limit, "offset": offset}
    statement = _FIND_SORTED if job_filter.worker_id is None else _FIND_SORTED_OF_WORKER
    if job_filter.waits_for is not None:
        statement = _FIND_SORTED_OF_REASON
    if job_filter.tags:
        statement = _FIND_SORTED_OF_TAG
    if job_filter.tree_id is not None:
        statement = _FIND_SORTED_OF_TREE
    if job_filter.parent_id is not None:
        statement = _FIND_SORTED_OF_PARENT
    uuids, matching = connection.exec_driver_sql(statement, parameters).one()
    return Sorted(job_ids=[ids.encode("job", uuid) for uuid in uuids], matching=matching)


def _parameters(
    tenant_id: str, job_filter: JobFilter, before_id: str | None, among: Iterable[Status]
) -> dict[str, object]:
    part = job_filter.id_part if job_filter.id_part is not None and not job_filter.id_part.is_first else None
    wanted = [{"path": path.split("."), "text": value} for path, value in job_filter.input or ()]
    return {
        **parameters_of(JobFilter, job_filter),
        **filter_parameters(tenant_id, job_filter, before_id, among=among),
        "parent_id": None if job_filter.parent_id is None else rows.job_uuid(job_filter.parent_id),
        "tree_id": None if job_filter.tree_id is None else rows.job_uuid(job_filter.tree_id),
        "error_id": None if job_filter.error_id is None else error_uuid(job_filter.error_id),
        "id_part": None if part is None else part.digit_bits,
        "id_masks": [f"{mask.int:0128b}" for _, mask in part.positions] if part else [],
        "id_bits": [f"{bits.int:0128b}" for bits, _ in part.positions] if part else [],
        "tags": json.dumps(dict(job_filter.tags)) if job_filter.tags else None,
        "input": json.dumps(wanted) if wanted else None,
        "naming": list(redaction.NAMING),
        "credentials": _CREDENTIALS,
        "searched": SEARCHED_JOBS.value,
        "searched_bytes": SEARCHED_INPUT_BYTES.value,
    }
