"""The making of declared graphs: new jobs of one bulk get their places and wait for each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ava.domain.jobs.graphs import Entry
from ava.domain.jobs.new_job import After, NewJob, Place
from ava.domain.jobs.waits import WaitCondition
from ava.store.engine.database import Connection
from ava.store.jobs.moves import edges


def arrange(connection: Connection, new: Sequence[NewJob]) -> list[NewJob]:
    """Returns the jobs of a bulk with ids, the places of those that belong together, and what they wait for.

    The first of those that have a name or come after others gives the graph its id.
    """
    uuids = edges.reserve(connection, len(new))
    tree_uuid = next((uuid for each, uuid in zip(new, uuids, strict=True) if each.spec.entry is not None), None)
    if tree_uuid is None:
        return [*new]
    named = {entry.name: uuid for each, uuid in zip(new, uuids, strict=True) if (entry := each.spec.entry) is not None}
    awaited = {name for each in new if each.spec.entry is not None for name in each.spec.entry.after}
    return [
        each
        if each.spec.entry is None
        else replace(
            each,
            uuid=uuid,
            place=Place(
                tree_uuid=tree_uuid,
                name=each.spec.entry.name,
                is_awaited=each.spec.entry.name in awaited,
            ),
            after=_after(each.spec.entry, named),
        )
        for each, uuid in zip(new, uuids, strict=True)
    ]


def _after(entry: Entry, named: dict[str | None, str]) -> After | None:
    if not entry.after:
        return None
    uuids = tuple(named[name] for name in entry.after)
    return After(uuids=uuids, condition=WaitCondition(entry.when), has_template=entry.has_references)
