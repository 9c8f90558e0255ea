"""Layouts for `bench.layouts` with inputs, or inputs and outputs, in a separate table `job_payloads`.

The statements are the current ones with only the payload moved, so that rows are otherwise identical. A statement that
knows its jobs' ids passes them as parameters of the table's key: then PostgreSQL opens only one of its 30 partitions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import ModuleType
from unittest.mock import patch

from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import Statement
from ava.store.jobs.reads import lists
from ava.store.jobs.transitions import claim, end, make, publish

#: A partition for each of the 28 days before this one, for this one (`job_payloads_first`, whose name `bench.layouts`
#: knows) and for the next one. PostgreSQL plans a page that joins the table for all of them each time, which takes 1.1
#: ms; it plans the function once, which adds 0.4 ms to a page. The function's ids are in descending order.
_PAYLOADS = """
CREATE TABLE job_payloads (
    tenant_id text NOT NULL, job_id uuid NOT NULL, input json NOT NULL, output json, PRIMARY KEY (tenant_id, job_id)
) PARTITION BY RANGE (job_id);
DO $$ DECLARE today timestamptz := date_trunc('day', now(), 'UTC'); BEGIN
    FOR n IN -28..1 LOOP
        EXECUTE format(
            'CREATE TABLE %%I PARTITION OF job_payloads FOR VALUES FROM (%%L) TO (%%L) '
            'WITH (fillfactor = {fillfactor})',
            'job_payloads_' || CASE n WHEN 0 THEN 'first' ELSE 'day_' || n + 28 END,
            ava_first_uuid(today + n * interval '24 hours'), ava_first_uuid(today + (n + 1) * interval '24 hours'));
    END LOOP;
END $$;
ALTER TABLE jobs ALTER COLUMN input DROP NOT NULL;
CREATE FUNCTION payloads_of(tenant text, ids uuid[]) RETURNS SETOF job_payloads LANGUAGE plpgsql STABLE ROWS 20 AS $$
BEGIN
    RETURN QUERY SELECT p.* FROM job_payloads AS p
    WHERE p.tenant_id = tenant AND p.job_id = ANY(ids) AND p.job_id BETWEEN ids[cardinality(ids)] AND ids[1];
END $$;
"""
#: An update of the output rewrites the row; the fillfactor leaves space next to it.
ALTERS = {
    "input outside": _PAYLOADS.replace("{fillfactor}", "100"),
    "input and output outside": _PAYLOADS.replace("{fillfactor}", "70"),
}
_ONE_JOB = "payload.tenant_id = %(next_tenant_id)s AND payload.job_id = %(next_id)s::uuid"
# The calls here pass their ids in order.
_AMONG_IDS = "payload.job_id BETWEEN (%(ids)s::uuid[])[1] AND (%(ids)s::uuid[])[cardinality(%(ids)s::uuid[])]"
_ITS_JOB = "payload.tenant_id = j.tenant_id AND payload.job_id = j.id"
_OUTPUT_OF_ONE = """, payloads AS (
    UPDATE job_payloads AS payload SET output = %(output)s::json
    WHERE payload.tenant_id = %(tenant_id)s AND payload.job_id = %(id)s::uuid AND EXISTS (SELECT FROM ended)
)"""
_OUTPUT_OF_EACH = f""", payloads AS (
    UPDATE job_payloads AS payload SET output = u.output::json
    FROM unnest(%(tenants)s::text[], %(ids)s::uuid[], %(outputs)s::text[]) AS u (tenant_id, id, output)
    JOIN ended ON ended.tenant_id = u.tenant_id AND ended.id = u.id
    WHERE payload.tenant_id = u.tenant_id AND payload.job_id = u.id AND {_AMONG_IDS}
)"""


def _changed(statement: str, *changes: tuple[str, str]) -> str:
    """Return a statement after replacing regular expressions, each of which must match."""
    for pattern, new in changes:
        statement, found = re.subn(pattern, lambda _, new=new: new, statement, flags=re.DOTALL)  # type: ignore[misc]
        assert found, f"the statement has no {pattern}"
    return statement


def _insert(present: str) -> str:
    head, source, tail = re.split(r"FROM \((SELECT .*)\) AS m\n", present, flags=re.DOTALL)
    head = _changed(head, (r"input::json, user_id", "NULL, user_id"))
    return f"""
WITH m AS MATERIALIZED ({source}), payloads AS (
    INSERT INTO job_payloads (tenant_id, job_id, input) SELECT m.tenant_id, m.id, m.input::json FROM m
){head}FROM m
{tail}"""


def _claim(present: str, which: str) -> str:
    # At a claim there is no output yet.
    read = f"(SELECT payload.input::text FROM job_payloads AS payload WHERE {which})"
    return _changed(present, (r"j\.input::text", read), (r"j\.output::text", "NULL"))


def _end(present: str, stores: str) -> str:
    return _changed(present, (r"\boutput = [^,]+,", ""), (r"\n\)\n(?=SELECT [^()]* FROM ended\n$)", f"\n){stores}\n"))


def _page(present: str, *, has_output: bool) -> str:
    parts = re.fullmatch(
        r"\nSELECT (.*) FROM \(\n(SELECT found\.id FROM .*)\n\) AS p JOIN jobs AS j ON (.*) AND j\.id = p\.id (.*)",
        present,
        flags=re.DOTALL,
    )
    assert parts, "the statement of a page has another form"
    columns, page, condition, rest = parts.groups()
    moved = f"""
SELECT {columns} FROM (SELECT array_agg(id) AS ids FROM (
{page}
) AS found) AS p, LATERAL payloads_of(%(tenant_id)s, p.ids) AS payload
JOIN jobs AS j ON {condition} AND j.id = payload.job_id {rest}"""
    moved = _changed(moved, (r"j\.input::text", "payload.input::text"))
    return _changed(moved, (r"j\.output::text", "payload.output::text")) if has_output else moved


_INPUTS: Mapping[tuple[ModuleType, str], Prepared | Statement] = {
    (make, "_INSERT"): Prepared("insert", _insert(make._INSERT.statement)),
    # A message has no input.
    (publish, "_PUBLISH"): Statement(_changed(publish._PUBLISH, (r"j\.input::text", "NULL"))),
    (claim, "_CLAIM"): Prepared("claim", _claim(claim._CLAIM.statement, _ONE_JOB)),
    (claim, "_CLAIM_TOGETHER"): Prepared(
        "claim_together", _claim(claim._CLAIM_TOGETHER.statement, f"{_ITS_JOB} AND {_AMONG_IDS}"), plan_seconds=60.0
    ),
    (lists, "_PAGE"): Statement(_page(lists._PAGE, has_output=False)),
}
_STATEMENTS = {
    "input outside": _INPUTS,
    "input and output outside": {
        **_INPUTS,
        (end, "_END"): Prepared("end", _end(end._END.statement, _OUTPUT_OF_ONE)),
        (end, "_END_TOGETHER"): Prepared(
            "end_together", _end(end._END_TOGETHER.statement, _OUTPUT_OF_EACH), plan_seconds=60.0
        ),
        (lists, "_PAGE"): Statement(_page(lists._PAGE, has_output=True)),
    },
}


@contextmanager
def statements_of(layout: str) -> Iterator[None]:
    """Let the store run the statements of a layout, by default the current ones."""
    with ExitStack() as changed:
        for (module, name), statement in _STATEMENTS.get(layout, {}).items():
            changed.enter_context(patch.object(module, name, statement))
        yield
