"""Use cases of approvals: list, show, decide."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from ava.domain import ids
from ava.domain.access.actor import ActorKind, AuditRecord
from ava.domain.access.caller import Caller, Role
from ava.domain.approval import Approval, ApprovalDecision, ApprovalFilter, ApprovalStatus, SentDecision
from ava.domain.counts import PageBounds
from ava.domain.input_schema import InputSchema
from ava.errors import ApprovalConflict, ApprovalNotFound, DecisionForbidden, InvalidFields, PayloadsHidden
from ava.store.access import api_keys
from ava.store.engine.database import Connection, Database
from ava.store.jobs import approvals
from ava.store.jobs import approvals as reads
from ava.store.jobs.approvals import Decider
from ava.store.reports import audit


class Approvals:
    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self, caller: Caller, approval_filter: ApprovalFilter, *, bounds: PageBounds
    ) -> tuple[Sequence[Approval], int]:
        """Return a page of the tenant's approvals, and the number of matches."""
        with self._database.connect() as connection:
            decider = _decider(connection, caller) if approval_filter.is_mine else None
            return reads.page(
                connection, tenant_id=caller.tenant_id, wanted=approval_filter, decider=decider, bounds=bounds
            )

    def show(self, caller: Caller, approval_id: str) -> Approval:
        """Return an approval. Raise `ApprovalNotFound`."""
        with self._database.connect() as connection:
            found = approvals.show(connection, tenant_id=caller.tenant_id, approval_id=approval_id)
        if found is None:
            raise ApprovalNotFound
        return found

    def decide(self, caller: Caller, approval_id: str, sent: SentDecision, record: AuditRecord) -> Approval:
        """Record a decision with its audit entry, in one transaction. Return the approval.

        Raise `ApprovalNotFound`, `DecisionForbidden`, `ApprovalConflict`, `InvalidFields`.
        """
        with self._database.transaction() as connection:
            locked = approvals.lock(connection, tenant_id=caller.tenant_id, approval_id=approval_id)
            if locked is None:
                raise ApprovalNotFound
            found, now = locked
            person = _person(connection, caller)
            _check_decider(caller, person, found)
            decision = ApprovalDecision(
                by=caller.actor, approved=sent.approved, comment=sent.comment, data_json=sent.data_json, at=now
            )
            if _is_repeated(found, sent, decision):
                return found
            _check_state(found, sent, now, person)
            _check_data(found, sent)
            changed = found.with_decision(decision, person)
            if not approvals.change(connection, [changed]):
                raise ApprovalConflict
            audit.insert(connection, {str(ids.new_uuid_at(record.at)): _recorded(record, found, changed)})
            return changed


def _decider(connection: Connection, caller: Caller) -> Decider:
    roles = [role.header for role in Role if role and role <= caller.role] if caller.sees_payloads else []
    return Decider(id=str(caller.actor.id), person=_person(connection, caller), roles=roles)


def _person(connection: Connection, caller: Caller) -> str:
    """Return the person behind a caller. Raise `DecisionForbidden` if it is unknown."""
    behind = api_keys.behind(connection, tenant_id=caller.tenant_id, actors=[caller.actor])
    if (person := behind.get(str(caller.actor.id))) is None:
        raise DecisionForbidden("No person is known behind this API key, so it decides nothing.")
    return person


def _check_decider(caller: Caller, person: str, approval: Approval) -> None:
    if not caller.sees_payloads:
        raise PayloadsHidden
    if approval.users is not None:
        may_decide = caller.actor.kind is ActorKind.USER and caller.actor.id in approval.users
    else:
        may_decide = any(caller.role >= role for name in approval.roles if (role := Role.parse(name)) is not None)
    if not may_decide or caller.role is Role.WORKER:
        raise DecisionForbidden
    if approval.not_by and person in approval.requesters:
        raise DecisionForbidden("The person behind this caller caused the job, so another person must decide.")


def _is_repeated(approval: Approval, sent: SentDecision, decision: ApprovalDecision) -> bool:
    """Return True if the same actor has sent the same decision before."""
    return sent.payload_hash == approval.payload_hash and any(
        (each.by.id, each.approved, each.comment, each.data_json)
        == (decision.by.id, decision.approved, decision.comment, _compact(decision.data_json))
        for each in approval.decisions
    )


def _compact(data_json: str | None) -> str | None:
    return None if data_json in (None, "null") else json.dumps(json.loads(data_json or ""), separators=(",", ":"))


def _check_state(approval: Approval, sent: SentDecision, now: datetime, person: str) -> None:
    if approval.status is not ApprovalStatus.PENDING:
        raise ApprovalConflict(f"The approval is {approval.status} already.")
    if approval.expires_at <= now:
        raise ApprovalConflict("The time for the decision has passed.")
    if sent.payload_hash != approval.payload_hash:
        raise ApprovalConflict("The approval has another payload_hash; show its content again.")
    if person in approval.deciders:
        raise ApprovalConflict("This person has decided already.")


def _check_data(approval: Approval, sent: SentDecision) -> None:
    """Check the data of an approval against the schema. A denial needs none."""
    if approval.schema_json is None:
        if sent.data_json is not None:
            raise InvalidFields(
                "data: The approval has no schema, so it takes no data.", {"data": ["It must be null."]}
            )
        return
    if sent.data_json is None and not sent.approved:
        return
    faults = InputSchema(approval.schema_json).faults(sent.data_json or "null")
    if faults:
        shown = {
            f"data{path.removeprefix('input')}": [each.replace("worker's schema", "schema") for each in messages]
            for path, messages in faults.items()
        }
        path, messages = next(iter(shown.items()))
        raise InvalidFields(f"{path}: {messages[0]}", shown)


def _recorded(record: AuditRecord, before: Approval, after: Approval) -> AuditRecord:
    changes = {"status": [before.status, after.status], "payload_hash": [None, after.payload_hash]}
    return replace(record, changes_json=json.dumps(changes))
