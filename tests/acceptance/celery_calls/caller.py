"""Calls tasks one after the other, each under its own `task_id`, and prints each number once the call has returned."""

from __future__ import annotations

import sys
from itertools import count

from tests.acceptance.celery_calls.celery import survives


def main(first: int) -> None:
    for number in count(first):
        survives.apply_async((number, 1), task_id=f"kill-{number}")
        print(number, flush=True)  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main(int(sys.argv[1]))
