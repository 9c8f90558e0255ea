"""The text of an actor: what a column stores, of which an ordinary identity is only the id."""

from __future__ import annotations

import pytest

from ava.domain.access import actor
from ava.domain.access.actor import SYSTEM, Actor, ActorKind, Via
from ava.domain.jobs.new_job import origin_text

USER = Actor(id="usr_a", kind=ActorKind.USER, via=Via.HEADERS)
KEY = Actor(id="key_1", kind=ActorKind.KEY, via=Via.KEY)
LABELLED = Actor(id="key_1", kind=ActorKind.KEY, via=Via.KEY, label="usr_a")


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("usr_a", USER),
        ("usr_a oidc", Actor(id="usr_a", kind=ActorKind.USER, via=Via.OIDC)),
        ("key_1", KEY),
        ("key_1 key usr_a", LABELLED),
        ("job_1", Actor(id="job_1", kind=ActorKind.JOB, via=Via.HANDLER)),
        ("system", SYSTEM),
        ("usr_handlers system", Actor(id="usr_handlers", kind=ActorKind.SYSTEM, via=None)),
    ],
)
def test_the_text_of_an_actor_is_read_as_the_same_actor(text: str, stored: Actor) -> None:
    assert (stored.text, Actor.parse(text)) == (text, stored)
    columns = None if stored.via is None else stored.via.value
    assert Actor.of_columns(stored.id, columns, stored.label) == stored
    # In SQL, `split_part(text, ' ', 1)` is the identity.
    assert stored.id in (None, text.partition(" ")[0])


def test_a_job_stores_only_what_its_trigger_does_not_say() -> None:
    assert origin_text("usr_a", [USER]) is None
    assert origin_text("key_1", [KEY]) is None
    assert origin_text("usr_a", []) is None
    # The user that a key names is not who it is.
    assert origin_text("usr_a", [LABELLED]) == "key_1 key usr_a"
    assert origin_text("sub_1", [USER, KEY, USER]) == "usr_a,key_1"
    assert actor.split("usr_a,key_1 key usr_a") == (USER, LABELLED)
