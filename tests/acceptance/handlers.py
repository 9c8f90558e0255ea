"""Handlers of the acceptance tests: each does something that a handler may do to the process that runs it."""

# Printing is what is tested, and these functions try many kinds of misuse.
# ruff: noqa: T201, C901, SIM115

from __future__ import annotations

import gc
import logging
import logging.config
import os
import pdb
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from pathlib import Path

from ava import Env, JobCancelled, worker
from tests.acceptance import spoiling_handlers, stopped_handlers  # noqa: F401 - importing declares them as well

_here = threading.local()


@worker("t_background")
def background(input):
    """Leave processes in the background, and ask late for the exit code of an own one."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = len(children.read_text().split())
    own = subprocess.Popen(["sh", "-c", "exit 7"])
    for _ in range(input["count"]):
        subprocess.run(["sh", "-c", "true &"], check=True)
    deadline = time.monotonic() + 30
    while len(children.read_text().split()) <= input["count"] and time.monotonic() < deadline:
        time.sleep(0.05)
    return {"before": before, "exit_code": own.wait()}


# Ends ----------------------------------------------------------------------------------------------------------------


@worker("t_echo")
def echo(input):
    return input


@worker("t_nothing")
async def nothing(input, env: Env):
    env.log.info("in process %d", os.getpid())
    return {"pid": os.getpid(), "attempt": env.attempt}


@worker("t_work")
def work(input):
    """Work for some seconds in small steps."""
    end = time.monotonic() + input["seconds"]
    while time.monotonic() < end:
        time.sleep(0.005)
    return {"pid": os.getpid()}


@worker("t_brief")
def brief(input, env: Env):
    """Sleep for the seconds that the input names, a few milliseconds in most tests, or until a file exists."""
    time.sleep(input.get("seconds", 0))
    while "until" in input and not os.path.exists(input["until"]):
        time.sleep(0.02)
    env.log.info("done")
    return {"done": True}


@worker("t_fails", max_retries=2)
def fails(input, env: Env):
    if env.attempt < input.get("succeeds_at", 99):
        raise ValueError(f"attempt {env.attempt} went wrong")
    return {"attempt": env.attempt}


class Unpicklable(Exception):
    def __init__(self, one, other):
        super().__init__(f"{one} and {other}")
        self.lock = threading.Lock()


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


@worker("t_bad_end")
def bad_end(input, env: Env):
    """End in a way that no handler should."""
    how = input["how"]
    if how == "unpicklable":
        raise Unpicklable("a lock", "nothing")
    if how == "unspeakable":
        env.log.info("%s", Unspeakable())
        raise Unspeakable
    if how == "exit":
        sys.exit(3)
    if how == "hard_exit":
        os._exit(3)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "breakpoint":
        breakpoint()
    if how == "set_trace":
        pdb.set_trace()
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "recursion":
        return bad_end(input, env)
    if how == "fork":
        return {"child": os.fork()}
    if how == "raise_cancelled":
        raise JobCancelled
    return {"rows": [1, {"body": b"x"}]} if how == "bytes" else {"how": how}


# Log -----------------------------------------------------------------------------------------------------------------


@worker("t_talk")
def talk(input, env: Env):
    """Log in every way there is, then work for a while."""
    env.log.info("by env.log, %d", 1)
    logging.getLogger("some.package").warning("by logging")
    warnings.warn("by warnings", UserWarning, stacklevel=1)
    print("by print")
    print("to stderr", file=sys.stderr)
    logging.getLogger("some.package").debug("not this")
    try:
        raise KeyError("k")
    except KeyError:
        env.log.exception("with a traceback")
    print("no end of line", end="")
    env.progress(0.5, "half")
    time.sleep(input.get("seconds", 0))


@worker("t_vandal")
def vandal(input, env: Env):
    """Change everything in the process that a handler can change."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, lambda *_: None)
    signal.signal(signal.SIGALRM, _raise)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.0005)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    os.chdir("/")
    os.umask(0o777)
    os.environ["T_VANDAL"] = "was here"
    os.environ.pop("PATH", None)
    sys.stdout = open(os.devnull, "w")
    sys.excepthook = sys.unraisablehook = threading.excepthook = None
    logging.disable(logging.CRITICAL)
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": True, "root": {"level": "CRITICAL"}})
    env.log.setLevel(logging.CRITICAL)
    env.log.handlers.append(logging.NullHandler())
    warnings.simplefilter("error")
    subprocess.Popen(["sleep", "300"], start_new_session=True)
    while True:
        time.sleep(0.001)


def _raise(*_):
    raise RuntimeError("an alarm of the handler's own")


@worker("t_look_around")
def look_around(input, env: Env):
    """Return the state of the process."""
    umask = os.umask(0)
    os.umask(umask)
    print("printed")
    env.log.info("logged")
    warnings.warn("warned", UserWarning, stacklevel=1)
    return {
        "pid": os.getpid(),
        "folder": os.getcwd(),
        "umask": umask,
        "vandal": os.environ.get("T_VANDAL"),
        "path": "PATH" in os.environ,
        "blocked": sorted(int(it) for it in signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "timer": signal.getitimer(signal.ITIMER_REAL)[0],
        "sigterm": "on_sigterm" in str(signal.getsignal(signal.SIGTERM)),
        "sigusr2": str(signal.getsignal(signal.SIGUSR2)),
    }


class _Held:
    """What a handler's frame holds; `_held` counts those that still exist."""


_held: weakref.WeakSet[_Held] = weakref.WeakSet()


@worker("t_hold")
def hold(input):
    """Raise while a frame holds something, or return how much of it is left; without the garbage collector."""
    gc.disable()
    if input["fails"]:
        held = _Held()
        _held.add(held)
        raise ValueError("too early to free it")
    return {"left": len(_held)}


@worker("t_thread")
def leave_thread(input, env: Env):
    """Leave a thread running that prints and logs forever."""

    def chatter():
        while not getattr(_here, "over", False):
            print("from the thread that was left")
            env.log.info("from the thread that was left")
            time.sleep(input.get("pause", 0.01))

    threading.Thread(target=chatter, daemon=True).start()
    time.sleep(input.get("seconds", 0.05))
    return {"pid": os.getpid()}


@worker("t_only_there", queue="there")
def only_there(input):
    return {"pid": os.getpid()}


# Traces --------------------------------------------------------------------------------------------------------------


@worker("t_traced", max_retries=1)
async def traced(input, env: Env):
    """Make a span of its own. The first attempt fails; the second returns the traceparent that it would send."""
    from opentelemetry import trace

    with trace.get_tracer("of-the-handler").start_as_current_span("own"):
        if env.attempt == 1:
            raise ValueError("not yet")
    return {"traceparent": env.traceparent}
