"""Handlers that trigger each other as tasks, in processes and in slots."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import ava
from ava import Env, worker


@dataclass
class Order:
    number: int
    due: datetime


@dataclass
class Parcel:
    label: str
    due: datetime


@worker("k_pack")
def pack(input: Order) -> Parcel:
    """Return a typed output; order 13 fails."""
    if input.number == 13:
        raise ValueError("no such order")
    return Parcel(label=f"parcel {input.number}", due=input.due)


@worker("k_ship")
def ship(input: Order, env: Env) -> list[Parcel]:
    """Wait for children that tasks have triggered, and enter again."""
    first = pack.trigger(input).wait()
    many = pack.trigger_many([Order(n, input.due) for n in range(3)], key="more")
    last = many[-1].wait(timeout=60, key="last")
    assert isinstance(first, Parcel)
    return [first, last, *(Parcel(each["label"], first.due) for each in env.wait(*many))]


async def _ship(input: Order, env: Env) -> list[Parcel]:
    first, second = await asyncio.gather(pack.atrigger(input, key="a"), pack.trigger(input, key="b"))
    parcels = await env.gather(first.wait(), second.wait())
    many = await pack.atrigger_many([Order(7, input.due)])
    return [*parcels, await many[0].wait()]


ship_async = worker("k_ship_async")(_ship)
ship_in_slot = worker("k_ship_in_slot", concurrent=True)(_ship)


@worker("k_threads")
def threads(input: Order, env: Env) -> list[str]:
    """Trigger in threads, which creates no job. Return the errors."""
    return [*_errors(lambda: pack.trigger(input)), *_duplicate(input)]


@worker("k_threads_in_slot", concurrent=True)
async def threads_in_slot(input: Order, env: Env) -> list[str]:
    """Trigger in threads, with the context of the run and without it."""
    errors = _errors(lambda: pack.trigger(input))
    try:
        await asyncio.to_thread(pack.trigger, input)
    except ava.WaitInTask as error:
        errors.append(f"{type(error).__name__}: {error}")
    return errors


def _errors(trigger: Any) -> list[str]:
    found: list[str] = []

    def call() -> None:
        try:
            trigger()
        except BaseException as error:
            found.append(f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(call).result()
    return found


def _duplicate(input: Order) -> list[str]:
    pack.trigger(input, key="twice")
    try:
        pack.trigger(input, key="twice")
    except ava.DuplicateName as error:
        return [f"DuplicateName: {error}"]
    return []
