"""`@worker` refuses a wrong declaration and names what is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ava
import ava.handler
from ava.domain.worker import DeclaredSchedule
from ava.errors import HandlerError, WorkerConflict
from ava.handler import option_checks, registry
from ava.handler.registry import worker

pytestmark = pytest.mark.usefixtures("restored_registry")


def handle(_input: dict[str, Any]) -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("max_retry", r"Did you mean max_retries\?"),
        ("retries", r"Write max_retries=…\."),
        ("timeout", r"Write timeout_seconds=…\."),
        ("bind", r"Write a second parameter, env\."),
        ("concurrency", r"Write max_running=…\."),
        ("on_crons", r"Write schedule=…, timezone=…"),
        ("priority", r"Write task\.trigger\(input, priority=…"),
        ("x" * 40, "$"),
    ],
)
def test_an_unknown_option_is_refused_with_the_option_to_use(option: str, hint: str) -> None:
    unknown: Any = {option: 3}
    with pytest.raises(TypeError, match=rf"@worker has no option '{option}'\. ?{hint}"):
        worker("odd", **unknown)(handle)


def test_each_option_of_another_library_has_a_form_with_options_of_worker() -> None:
    for option, form in option_checks._OTHER_NAMES.items():
        assert option not in worker.__kwdefaults__
        names = re.findall(r"(\w+)=", form.partition("(")[0])
        assert set(names) <= worker.__kwdefaults__.keys(), form


def _takes(code: str) -> str | None:
    names: dict[str, Any] = {"Env": ava.Env, "ava": ava}
    exec(f"def taking({code}): ...", names)
    worker("taking")(names["taking"])
    return registry.handlers()["wkr_taking"].doubt


@pytest.mark.parametrize(
    "code",
    ["x", "input", "input, env", "payload, env=None", "input, context: Env", "input, e: 'ava.Env | None'", "*args"],
)
def test_parameters_that_mean_input_and_env_raise_no_doubt(code: str) -> None:
    assert _takes(code) is None


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "x, y",
            "taking(x, y) gets as x the whole input, and as y the env of the run; name the parameters input and env",
        ),
        ("rows, limit=10", "taking(rows, limit) gets as rows the whole input, and as limit the env"),
        ("self, input", "taking(self, input) gets as self the whole input"),
        ("env, input", "taking(env, input) gets as env the whole input, and as input the env"),
        ("env", "taking(env) gets as env the whole input; name"),
    ],
)
def test_parameters_that_are_not_input_and_env_raise_a_doubt(code: str, said: str) -> None:
    found = _takes(code)
    assert found is not None
    assert found.startswith(f"Worker wkr_taking: {said}")


@pytest.mark.parametrize("slug", ["", "Upper", "9th", "a-b", "a b", "é", "a" * 60, "a\n"])
def test_a_slug_has_only_small_letters_digits_and_underscores(slug: str) -> None:
    with pytest.raises(HandlerError, match="the slug must match"):
        worker(slug)(handle)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"timeout_seconds": 0}, "timeout_seconds must be above 0, at most 3600"),
        ({"timeout_seconds": 3601}, "timeout_seconds must be above 0, at most 3600"),
        ({"timeout_seconds": float("nan")}, "timeout_seconds must be above 0, at most 3600"),
        ({"max_retries": -1}, "max_retries must be from 0 to 25"),
        ({"max_retries": 26}, "max_retries must be from 0 to 25"),
        ({"max_retries": 1.5}, "max_retries must be from 0 to 25"),
        ({"cancel_grace_seconds": -1}, "cancel_grace_seconds must be from 0 to 600"),
        ({"cancel_grace_seconds": 601}, "cancel_grace_seconds must be from 0 to 600"),
        ({"queue": ""}, "queue must match"),
        ({"queue": "a b"}, "queue must match"),
        ({"queue": "x" * 101}, "queue must match"),
        ({"queue": "ava.webhooks"}, r"queue must not begin with ava\."),
        ({"on_worker_lost": "shrug"}, "on_worker_lost must be requeue or fail"),
        *(({"retention_days": days}, "retention_days must be from 0.001 to 36500") for days in (0, True, "7", 36_501)),
    ],
)
def test_a_wrong_option_is_named(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(HandlerError, match=f"Worker 'odd': {reason}"):
        worker("odd", **wrong)(handle)
    assert registry.find("wkr_odd") is None


NIGHTLY = {"schedule": "0 3 * * *", "timezone": "Europe/Berlin", "schedule_tenant": "ten_ops"}


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"schedule": "0 25 * * *"}, "schedule: hour: '25' is not valid"),
        ({"schedule": "@daily"}, "schedule: cron: macros such as '@daily'"),
        ({"schedule": "0 0 30 2 *"}, "schedule: day of month: no date ever matches"),
        ({"schedule": ""}, "schedule: cron: the pattern has 0 fields"),
        ({"schedule": 3}, "schedule: cron: the pattern has 0 fields"),
        ({"timezone": None}, "timezone: '' is not a time zone"),
        ({"timezone": "Europe/Bonn"}, "timezone: 'Europe/Bonn' is not a time zone"),
        ({"schedule_tenant": None}, "schedule_tenant must name the tenant"),
        ({"schedule_tenant": "ops"}, "schedule_tenant must name the tenant"),
        ({"tenants": ["ten_other"]}, "schedule_tenant ten_ops is not among the tenants"),
        ({"schedule": None}, "timezone and schedule_tenant need a schedule"),
        (
            {"input_schema": {"required": ["a"]}},
            "a declared schedule sends an empty input, which input_schema does not",
        ),
    ],
)
def test_a_wrong_schedule_is_named(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(HandlerError, match=f"Worker 'odd': {reason}"):
        worker("odd", **(NIGHTLY | wrong))(handle)
    assert registry.find("wkr_odd") is None


def test_a_schedule_is_part_of_a_declaration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nightly_handlers.py").write_text(
        "from ava import worker\n"
        "@worker('nightly', schedule='0 3 * * *', timezone='Europe/Berlin', schedule_tenant='ten_ops')\n"
        "def nightly(input): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry.load(["nightly_handlers"])
    declared = DeclaredSchedule("0 3 * * *", "Europe/Berlin", "ten_ops")
    assert registry.handlers()["wkr_nightly"].spec.schedule == declared
    assert registry.module_of("wkr_nightly") == "nightly_handlers"


def test_a_handler_module_without_a_schedule_loads_no_time_zones() -> None:
    source = "import sys, ava; ava.worker('plain')(lambda input: None); assert 'cronsim' not in sys.modules"
    subprocess.run([sys.executable, "-c", source], check=True)


def test_all_wrong_options_are_named_at_once() -> None:
    with pytest.raises(HandlerError, match=r"timeout_seconds .*; max_retries .*; queue "):
        worker("odd", timeout_seconds=-1, max_retries=99, queue="!")(handle)


@pytest.mark.parametrize(
    "function",
    [lambda: None, lambda input, env, more: None, lambda *, input: None, lambda input, *, env: None, print.__self__],
)
def test_a_handler_takes_input_or_input_and_env(function: Callable[..., Any]) -> None:
    with pytest.raises(HandlerError, match="the handler must"):
        worker("odd")(function)


@pytest.mark.parametrize(
    ("function", "takes_env"),
    [
        (lambda input: None, False),
        (lambda input, env: None, True),
        (lambda input, env=None: None, True),
        (lambda *anything: None, True),
        (lambda input, *, flag=1: None, False),
    ],
)
def test_a_function_that_can_be_called_so_is_a_handler(function: Callable[..., Any], takes_env: bool) -> None:
    worker("fine")(function)
    assert registry.handlers()["wkr_fine"].takes_env is takes_env


def test_two_handlers_cannot_claim_one_slug_and_one_may_be_loaded_twice() -> None:
    worker("mine")(handle)
    worker("mine")(handle)
    with pytest.raises(
        WorkerConflict, match=r"Two handlers claim wkr_mine: .*handle.* and .*give one of the handlers another"
    ):
        worker("mine")(lambda input: None)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("\nimport nothing_of_that_name", "line 2: ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("def fail():\n    1 / 0\n\nfail()", "line 2: ZeroDivisionError: division by zero"),
        ("this is no Python", "line 1: SyntaxError: invalid syntax"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named_with_the_line_at_fault(
    source: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_handlers.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(HandlerError) as raised:
        registry.load(["broken_handlers"])
    beginning = "AVA_HANDLERS: the module 'broken_handlers' cannot be imported: "
    assert str(raised.value) == f"{beginning}{tmp_path / 'broken_handlers.py'}, {reason}"


def test_a_module_that_does_not_exist_is_named() -> None:
    with pytest.raises(HandlerError, match=r"imported: ModuleNotFoundError: No module named 'nowhere_at_all'$"):
        registry.load(["nowhere_at_all"])


def test_the_workers_of_a_module_are_those_of_its_package_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(input: object) -> None: ...

    monkeypatch.setattr(elsewhere, "__module__", "shop.orders")
    worker("order")(elsewhere)
    assert registry.declared_by("shop") == registry.declared_by("shop.orders") == ["wkr_order"]
    assert registry.declared_by("sho") == []


@pytest.mark.parametrize("name", ava.__all__)
def test_ava_exports_what_ava_handler_exports(name: str) -> None:
    assert getattr(ava, name) is getattr(ava.handler, name)


def test_without_a_slug_the_functions_name_is_the_slug() -> None:
    @worker
    def plain(input: object) -> None:
        """Does it plainly."""

    @worker()
    def empty(input: object) -> None: ...

    @worker(max_retries=3)
    def with_options(input: object) -> None: ...

    found = registry.handlers()
    assert [found[f"wkr_{name}"] for name in ("plain", "empty", "with_options")] == [
        plain.handler,
        empty.handler,
        with_options.handler,
    ]
    assert (found["wkr_plain"].spec.name, found["wkr_plain"].spec.description) == ("plain", "Does it plainly.")
    assert found["wkr_with_options"].spec.max_retries == 3


def test_a_functions_name_that_is_no_slug_is_refused() -> None:
    with pytest.raises(HandlerError, match="Worker '<lambda>': the slug must match"):
        worker(lambda input: None)


@pytest.mark.parametrize("name", ["expires_in_seconds", "deadline_seconds"])
@pytest.mark.parametrize("seconds", [0, -1, 2.5, True, "60", 31_622_401])
def test_seconds_that_are_no_whole_number_within_a_year_are_refused(name: str, seconds: Any) -> None:
    with pytest.raises(HandlerError, match=f"{name} must be whole seconds from 1 to 31622400"):
        worker("late", **{name: seconds})(handle)
    worker("late", **{name: 31_622_400})(handle)
    assert getattr(registry.handlers()["wkr_late"].spec, name) == 31_622_400
