"""Handlers that leave their process in a state that no other job may find."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

from ava import Env, worker


@worker("t_spoil")
def spoil(input, env: Env):
    """Spoil the process in one of several ways, then go on for some seconds and succeed."""
    how = input["how"]
    if how == "descriptors":
        os.closerange(3, 4096)
    if how == "reused descriptors":
        os.closerange(3, 4096)
        os.pipe(), [os.open(os.devnull, os.O_RDWR) for _ in range(60)]
    if how == "environment":
        os.environ = dict(os.environ, T_SPOILED="1")  # noqa: B003 - the mistake that is tested
    if how == "logging":
        unfit: Any = None
        logging.root.manager = unfit
    env.log.info("spoiled")
    time.sleep(input.get("seconds", 0))
    return {"pid": os.getpid()}


@worker("t_spoil_and_wait", timeout_seconds=2, cancel_grace_seconds=5)
def spoil_and_wait(input):
    """Close all descriptors and exceed the time-out."""
    os.closerange(3, 4096)
    time.sleep(60)
