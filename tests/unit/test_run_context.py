"""What a handler sets in its context ends with its run."""

from __future__ import annotations

import contextvars
import decimal
import signal

from ava.handler import Env
from tests.unit.test_run import block_sigterm, run_of

_TENANT: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="none")


def _handler(_input: object, _env: Env) -> list[str]:
    seen = [_TENANT.get(), str(decimal.Decimal(1) / decimal.Decimal(3))]
    _TENANT.set("ten_a")
    decimal.getcontext().prec = 3
    return seen


def test_context_variables_and_the_decimal_context_end_with_their_run() -> None:
    outputs = []
    for _ in range(2):
        run = run_of(_handler)
        run.call(None, block_sigterm)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        outputs.append(run.output)
    assert outputs == [["none", "0." + "3" * 28]] * 2
