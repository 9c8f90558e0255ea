"""The schedules that handler modules declare, and what they make of the schedules that exist."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ava.domain.worker import DeclaredSchedule

if TYPE_CHECKING:
    # Every node imports this module, and needs neither patterns nor time zones.
    from ava.domain.schedules.schedule_record import Schedule

#: `created_by` of a schedule that a handler module declares.
DECLARER = "usr_handlers"


@dataclass(frozen=True)
class Declaration:
    """A schedule that a handler module declares for one of its workers."""

    #: The handler module, as `AVA_HANDLERS` names it.
    module: str
    worker_id: str
    schedule: DeclaredSchedule

    @property
    def key(self) -> tuple[str, str]:
        """Returns what identifies it through all versions of its module: the tenant and the worker."""
        return self.schedule.tenant_id, self.worker_id


@dataclass(frozen=True)
class NodeDeclarations:
    """What the handler modules of one node declare."""

    #: Every handler module, also those that declare no schedule.
    modules: Sequence[str]
    declarations: Sequence[Declaration] = ()

    def to_json(self) -> str:
        """Returns it as JSON, as a node's row holds it."""
        schedules = [
            {"module": each.module, "worker_id": each.worker_id, **vars(each.schedule)} for each in self.declarations
        ]
        return json.dumps({"modules": sorted(self.modules), "schedules": schedules})

    @classmethod
    def from_json(cls, text: str) -> NodeDeclarations:
        """Returns what `to_json` wrote."""
        value: dict[str, Any] = json.loads(text)
        return cls(
            value["modules"],
            [
                Declaration(
                    each["module"],
                    each["worker_id"],
                    DeclaredSchedule(each["cron"], each["timezone"], each["tenant_id"]),
                )
                for each in value["schedules"]
            ],
        )


#: A node without handler modules has no say.
NO_DECLARATIONS = NodeDeclarations(())


@dataclass(frozen=True)
class ModuleSchedule:
    """A schedule that exists because a handler module declares it."""

    module: str
    schedule: Schedule

    @property
    def key(self) -> tuple[str, str]:
        """Returns the key of its declaration."""
        return self.schedule.tenant_id, self.schedule.worker_id

    def is_as_declared(self, declaration: Declaration) -> bool:
        """Returns True if its declaration changes nothing."""
        wanted = declaration.schedule
        return (self.module, self.schedule.cron, self.schedule.timezone) == (
            declaration.module,
            wanted.cron,
            wanted.timezone,
        )


@dataclass(frozen=True, kw_only=True)
class DeclarationPlan:
    """What is to be done so that the schedules are those that are declared."""

    creates: Sequence[Declaration]
    changes: Sequence[tuple[ModuleSchedule, Declaration]]
    removes: Sequence[ModuleSchedule]


def plan_declarations(nodes: Iterable[NodeDeclarations], existing: Sequence[ModuleSchedule]) -> DeclarationPlan:
    """Returns what is to be done. `nodes`: those that live, the newest first.

    Of the nodes that have a handler module, the newest decides about its schedules. A schedule whose module no live
    node has stays as it is, because its nodes may come back.
    """
    wanted: dict[tuple[str, str], Declaration] = {}
    decided: set[str] = set()
    for node in nodes:
        new = set(node.modules) - decided
        for declaration in node.declarations:
            if declaration.module in new:
                wanted.setdefault(declaration.key, declaration)
        decided |= new
    known = {each.key: each for each in existing}
    return DeclarationPlan(
        creates=[each for key, each in wanted.items() if key not in known],
        changes=[
            (each, wanted[key]) for key, each in known.items() if key in wanted and not each.is_as_declared(wanted[key])
        ],
        removes=[each for key, each in known.items() if key not in wanted and each.module in decided],
    )
