"""What the declarations of live nodes make of the schedules that exist."""

from __future__ import annotations

from datetime import UTC, datetime

from ava.domain.declarations import DECLARER, Declaration, ModuleSchedule, NodeDeclarations, plan_declarations
from ava.domain.schedules.schedule_record import Schedule
from ava.domain.worker import DeclaredSchedule

TIMESTAMP = datetime(2026, 1, 1, tzinfo=UTC)


def node(*modules: str, **crons: str) -> NodeDeclarations:
    """A node with handler modules; `crons` are the patterns of the workers that its first module declares."""
    declared = [
        Declaration(modules[0], f"wkr_{slug}", DeclaredSchedule(cron, "UTC", "ten_ops")) for slug, cron in crons.items()
    ]
    return NodeDeclarations(modules, declared)


def exists(module: str, slug: str, cron: str) -> ModuleSchedule:
    schedule = Schedule(
        id=f"sch_{slug}",
        tenant_id="ten_ops",
        worker_id=f"wkr_{slug}",
        cron=cron,
        timezone="UTC",
        decided_until=TIMESTAMP,
        next_run_at=None,
        last_run_at=None,
        last_job_id=None,
        created_by=DECLARER,
        created_at=TIMESTAMP,
        updated_at=TIMESTAMP,
    )
    return ModuleSchedule(module, schedule)


def planned(nodes: list[NodeDeclarations], *existing: ModuleSchedule) -> tuple[list[str], list[str], list[str]]:
    """Returns the workers whose schedule is created, those whose is changed, with the pattern, and those removed."""
    plan = plan_declarations(nodes, existing)
    return (
        [f"{each.worker_id} {each.schedule.cron}" for each in plan.creates],
        [f"{wanted.worker_id} {wanted.schedule.cron}" for _, wanted in plan.changes],
        [each.schedule.worker_id for each in plan.removes],
    )


def test_a_declaration_creates_changes_and_its_absence_removes() -> None:
    daily, hourly = node("tasks", nightly="0 3 * * *"), node("tasks", nightly="0 * * * *")
    assert planned([daily]) == (["wkr_nightly 0 3 * * *"], [], [])
    assert planned([daily], exists("tasks", "nightly", "0 3 * * *")) == ([], [], [])
    assert planned([hourly], exists("tasks", "nightly", "0 3 * * *")) == ([], ["wkr_nightly 0 * * * *"], [])
    assert planned([node("tasks")], exists("tasks", "nightly", "0 3 * * *")) == ([], [], ["wkr_nightly"])


def test_of_nodes_with_one_module_the_newest_decides() -> None:
    newer, older = node("tasks", nightly="0 4 * * *"), node("tasks", nightly="0 3 * * *", weekly="0 0 * * 0")
    assert planned([newer, older]) == (["wkr_nightly 0 4 * * *"], [], [])
    existing = exists("tasks", "nightly", "0 4 * * *"), exists("tasks", "weekly", "0 0 * * 0")
    assert planned([newer, older], *existing) == ([], [], ["wkr_weekly"])
    # The newer one is gone: the older one is the newest that lives.
    assert planned([older], existing[0])[:2] == (["wkr_weekly 0 0 * * 0"], ["wkr_nightly 0 3 * * *"])


def test_a_schedule_stays_while_no_live_node_has_its_module() -> None:
    assert planned([], exists("tasks", "nightly", "0 3 * * *")) == ([], [], [])
    assert planned([node("other")], exists("tasks", "nightly", "0 3 * * *")) == ([], [], [])


def test_nodes_with_other_modules_do_not_remove_each_other_s_schedules() -> None:
    nodes = [node("reports", weekly="0 0 * * 0"), node("tasks", nightly="0 3 * * *")]
    assert planned(nodes, exists("tasks", "nightly", "0 3 * * *")) == (["wkr_weekly 0 0 * * 0"], [], [])


def test_a_worker_that_moves_to_another_module_keeps_its_schedule() -> None:
    moved = node("jobs", "tasks", nightly="0 3 * * *")
    assert planned([moved], exists("tasks", "nightly", "0 3 * * *")) == ([], ["wkr_nightly 0 3 * * *"], [])


def test_declarations_survive_their_json() -> None:
    declared = node("tasks", "more", nightly="0 3 * * *")
    again = NodeDeclarations.from_json(declared.to_json())
    assert (sorted(again.modules), again.declarations) == (["more", "tasks"], declared.declarations)
