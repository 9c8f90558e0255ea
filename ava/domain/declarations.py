"""Schedules that handler modules declare, and the plan to create, change and delete the existing ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ava.domain.access.actor import Actor, ActorKind
from ava.domain.worker import DeclaredSchedule

if TYPE_CHECKING:
    # Every node imports this module without needing cron patterns or time zones.
    from ava.domain.schedules.schedule_record import Schedule

#: `created_by` of declared schedules: no user, whatever a caller names itself.
DECLARER = Actor(id="usr_handlers", kind=ActorKind.SYSTEM, via=None)


@dataclass(frozen=True)
class Declaration:
    #: The handler module, as in `AVA_HANDLERS`.
    module: str
    worker_id: str
    schedule: DeclaredSchedule

    @property
    def key(self) -> tuple[str, str]:
        """Return the tenant and the worker, which identify it across versions of its module."""
        return self.schedule.tenant_id, self.worker_id


@dataclass(frozen=True)
class NodeDeclarations:
    #: All handler modules, including modules without schedules.
    modules: Sequence[str]
    declarations: Sequence[Declaration] = ()

    def to_json(self) -> str:
        schedules = [
            {"module": each.module, "worker_id": each.worker_id, **vars(each.schedule)} for each in self.declarations
        ]
        return json.dumps({"modules": sorted(self.modules), "schedules": schedules})

    @classmethod
    def from_json(cls, json_string: str) -> NodeDeclarations:
        value: dict[str, Any] = json.loads(json_string)
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


#: A node without handler modules decides nothing.
NO_DECLARATIONS = NodeDeclarations(())


@dataclass(frozen=True)
class ModuleSchedule:
    module: str
    schedule: Schedule

    @property
    def key(self) -> tuple[str, str]:
        return self.schedule.tenant_id, self.schedule.worker_id

    def is_as_declared(self, declaration: Declaration) -> bool:
        wanted = declaration.schedule
        return (self.module, self.schedule.cron, self.schedule.timezone) == (
            declaration.module,
            wanted.cron,
            wanted.timezone,
        )


@dataclass(frozen=True, kw_only=True)
class DeclarationPlan:
    """The operations that make the schedules equal to their declarations."""

    creates: Sequence[Declaration]
    changes: Sequence[tuple[ModuleSchedule, Declaration]]
    removes: Sequence[ModuleSchedule]


def plan_declarations(nodes: Iterable[NodeDeclarations], existing: Sequence[ModuleSchedule]) -> DeclarationPlan:
    """Return the plan; `nodes` are the live nodes, newest first.

    For each handler module, the newest node that has it decides about its schedules. A schedule stays if no live node
    has its module, because such nodes may return.
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
