"""Handlers as typed tasks: the object that `@worker` returns, its types, and triggers outside of handlers.

mypy checks this module (`setup.cfg`).
"""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle
import subprocess
import sys
from collections.abc import Awaitable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, assert_type, cast

import pytest

import ava
from ava import AsyncHandle, Env, Handle, worker
from ava import client as ava_client
from ava.client import Client
from ava.client.errors import ApiUnavailable
from ava.handler import registry
from ava.local.start import free_port
from tests.unit.task_handlers import Order, Parcel, Part, Receipt, pack, task_bill, task_total

pytestmark = pytest.mark.usefixtures("restored_registry", "_outside")

_VARIABLES = ("AVA_URL", "AVA_API_KEY", "AVA_INTERNAL_SECRET", "AVA_TENANT_ID", "AVA_USER_ID")


@pytest.fixture
def _outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process has no client."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    ava.configure(None)
    yield
    ava.configure(None)


def _check_types() -> None:
    handle = assert_type(pack.trigger(Order(1), priority=2, tags={"a": "b"}), Handle[Parcel])
    assert_type(handle.wait(timeout=3), Parcel)
    assert_type(pack.trigger_many([Order(1), Order(2)], key="all"), list[Handle[Parcel]])
    assert_type(pack.delay(order=1).wait(), Parcel)
    assert_type(task_bill.trigger(Order(1)).wait(), Receipt)
    assert_type(task_total.trigger({"a": 1}).wait()["cents"], int)
    assert_type(handle.id, str)
    pack.trigger({"order": 1})  # type: ignore[arg-type]
    pack.trigger(Part("x"))  # type: ignore[arg-type]
    pack.trigger(Order(1), priorty=2)  # type: ignore[call-arg]
    pack.trigger_many([Part("x")])  # type: ignore[list-item]
    handle.get()  # type: ignore[attr-defined]
    pack.apply_async(Order(1))  # type: ignore[attr-defined]


async def _check_awaited_types(env: Env) -> None:
    handle = assert_type(await pack.atrigger(Order(1), key="a"), AsyncHandle[Parcel])
    assert_type(await handle.wait(), Parcel)
    assert_type(await pack.trigger(Order(1)), AsyncHandle[Parcel])
    assert_type(await pack.atrigger_many([Order(1)]), list[AsyncHandle[Parcel]])
    assert_type(await task_bill(Order(1)), Receipt)
    assert_type(pack(Order(1), env), Parcel)
    pack(Part("x"), env)  # type: ignore[arg-type]


# What `@worker` returns ----------------------------------------------------------------------------------------------


def test_a_task_is_called_and_inspected_like_its_function() -> None:
    run: Any = None
    assert pack(Order(3), run) == Parcel(3, datetime(2026, 1, 2, tzinfo=UTC))
    assert (pack.__name__, pack.__doc__, pack.__module__) == ("pack", "Pack an order.", "tests.unit.task_handlers")
    assert list(inspect.signature(pack).parameters) == ["input", "env"]
    assert inspect.iscoroutinefunction(task_bill)
    assert asyncio.iscoroutinefunction(task_bill)
    assert not inspect.iscoroutinefunction(pack)
    assert "Parcel(input.order" in inspect.getsource(pack)
    assert asyncio.run(task_bill(Order(1))) == Receipt(order=1, lines=[])
    assert pickle.loads(pickle.dumps(pack)) is copy.deepcopy(pack) is pack
    assert pack.worker_id == "wkr_task_pack"
    assert registry.find("wkr_task_pack") in (pack.handler, None)


def test_two_workers_may_share_a_function_and_other_decorators_stack() -> None:
    def doubled(function: Any) -> Any:
        @functools.wraps(function)
        def call(input: Any) -> Any:
            return 2 * function(input)

        return call

    @worker("task_second")
    @worker("task_first")
    @doubled
    def number(input: dict[str, int]) -> int:
        return input["n"]

    assert number({"n": 2}) == doubled(number)({"n": 1}) + 0 == 4
    assert (number.worker_id, number.run({"n": 2}).output) == ("wkr_task_second", 4)
    first = registry.handlers()["wkr_task_first"]
    assert first.function is number.handler.function


def test_an_attribute_of_the_function_does_not_replace_a_method() -> None:
    def handler(input: dict[str, Any]) -> None: ...

    vars(handler).update(run="theirs", label="kept")
    task = worker("task_labelled")(handler)
    assert task.run({}).status == "completed"
    assert task.label == "kept"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("apply_async", r"write pack\.trigger\(input"),
        ("s", r"write in a handler env\.wait\(pack\.trigger"),
        ("retry", r"write raise ava\.RetryLater\(seconds, reason\)"),
        ("run_no_wait", r"write pack\.trigger"),
        ("batch_trigger", r"write pack\.trigger_many\(inputs\)"),
        ("trigger_and_wait", r"write pack\.trigger\(input\)\.wait\(\)"),
    ],
)
def test_another_librarys_name_for_a_trigger_is_refused_with_the_form_here(name: str, form: str) -> None:
    with pytest.raises(AttributeError, match=form):
        getattr(pack, name)


def test_a_handle_names_the_form_of_another_librarys_method() -> None:
    handle: Any = Handle(cast(Any, SimpleNamespace(id="job_x", worker_id="wkr_x")), str)
    for name, form in (("get", r"handle\.wait\(timeout=…\)"), ("status", r"client\.jobs\.get\(handle\.id\)")):
        with pytest.raises(AttributeError, match=form):
            getattr(handle, name)


# Outside of handlers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda: pack.trigger(Order(1)),
        lambda: pack.trigger_many([Order(1)]),
        lambda: pack.delay(order=1),
        lambda: asyncio.run(_awaited(pack.atrigger(Order(1)))),
    ],
)
def test_a_trigger_without_a_client_names_configure_and_the_variables(call: Any) -> None:
    with pytest.raises(ava.NotConfigured, match=r"ava\.configure\(client\), or set AVA_URL and AVA_API_KEY \(or"):
        call()


async def _awaited(found: Awaitable[Any]) -> Any:
    return await found


def test_a_trigger_uses_the_environment_or_the_configured_client(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    monkeypatch.setenv("AVA_URL", first)
    monkeypatch.setenv("AVA_INTERNAL_SECRET", "new,old")
    monkeypatch.setenv("AVA_TENANT_ID", "ten_x")
    monkeypatch.setenv("AVA_USER_ID", "usr_x")
    monkeypatch.setattr("ava.client.calls._pause", lambda *_: 0.0)
    with pytest.raises(ApiUnavailable, match=first):
        pack.trigger(Order(1))
    with Client(second, api_key="ava_00.x") as client:
        ava.configure(client)
        with pytest.raises(ApiUnavailable, match=second):
            pack.trigger(Order(1))
        with pytest.raises(ApiUnavailable, match=second):
            asyncio.run(_awaited(pack.atrigger_many([Order(1)])))
    assert pack.trigger_many([]) == []


def test_a_client_that_is_awaited_serves_awaited_triggers_only() -> None:
    async def run() -> None:
        async with ava_client.AsyncClient("http://127.0.0.1:1", api_key="ava_00.x", retries=0) as client:
            ava.configure(client)
            with pytest.raises(ava.NotConfigured, match=r"await task\.atrigger"):
                pack.trigger(Order(1))
            with pytest.raises(ApiUnavailable):
                await pack.atrigger(Order(1))

    asyncio.run(run())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: pack.trigger(cast(Any, "17")),
            "input must be a mapping or an instance .*not str: pack.delay\\(order=…, due=",
        ),
        (lambda: pack.trigger(cast(Any, None)), "not NoneType"),
        (
            lambda: pack.delay(*cast(Any, (17, 1999))),
            "takes one input, or its fields by name: pack.delay\\(order=…, due=…, parts",
        ),
        (lambda: task_total.delay({}, a=1), "takes one input, or its fields by name: task_total.delay\\(field=…\\)$"),
        (lambda: pack.trigger(Order(1), key="a"), "key: only for children.*idempotency_key"),
        (lambda: task_total.trigger({"a": object()}), "task_total: Object of type object is not JSON"),
    ],
)
def test_a_wrong_call_is_refused_with_the_correct_form(call: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


def test_an_output_annotation_that_cannot_be_read_is_refused_before_a_job_is_created() -> None:
    def odd(input: dict[str, Any]) -> Missing: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(TypeError, match=r"odd: the output's annotation .*'Missing'"):
        worker("task_odd")(odd).trigger({})


def test_an_import_of_handlers_imports_no_client_and_no_library_of_values() -> None:
    program = (
        "import sys; from ava import worker; worker('x')(lambda input: 1);"
        "print([name for name in ('ava.client', 'requests', 'httpx', 'msgspec') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
