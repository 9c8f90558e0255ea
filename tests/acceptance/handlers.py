"""Handlers of the acceptance tests: each does one thing that a handler may do to the process that runs it.

They tell what they saw by lines in files, which are there however they end: `tell(input, "word")`.
"""

# Printing is what is tested, and these functions are lists of misdeeds.
# ruff: noqa: T201, C901, SIM115

from __future__ import annotations

import asyncio
import ctypes
import logging
import logging.config
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from typing import Any

from ava import Env, JobCancelled, worker

_STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(120)"
)
_here = threading.local()


def tell(payload: dict[str, Any], word: str) -> None:
    """Append a line to the file that the job's input names: the word, the process and the time."""
    line = f"{word} {os.getpid()} {time.time()}\n".encode()
    descriptor = os.open(payload["file"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line)
    os.close(descriptor)


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
    """Work for some seconds, in small steps."""
    end = time.monotonic() + input["seconds"]
    while time.monotonic() < end:
        time.sleep(0.005)
    return {"pid": os.getpid()}


@worker("t_brief")
def brief(input, env: Env):
    """Work for some thousandths of a second."""
    time.sleep(input["seconds"])
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
    """End as no handler should."""
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
    if how == "crash":
        ctypes.string_at(0)
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "recursion":
        return bad_end(input, env)
    if how == "fork":
        return {"child": os.fork()}
    if how == "shout":
        for number in range(100):
            print(f"{number} " + "x" * 100_000)
    if how == "one_line":
        sys.stdout.write("y" * 10_000_000)
    if how == "close":
        sys.stdout.close()
        sys.stderr.close()
        os.close(0), os.close(1), os.close(2)
        print("still heard")
    if how == "raise_cancelled":
        raise JobCancelled
    return _BAD_OUTPUTS[how]() if how in _BAD_OUTPUTS else {"how": how}


def _endless():
    output: list[Any] = []
    output.append(output)
    return output


_BAD_OUTPUTS = {
    "bytes": lambda: {"rows": [1, {"body": b"x"}]},
    "nan": lambda: {"mean": float("nan")},
    "endless": _endless,
    "large": lambda: "z" * 1_100_000,
    "key": lambda: {(1, 2): 3},
    "set": lambda: {1, 2},
    "surrogate": lambda: {"text": "\ud800 and \0"},
    "deep": lambda: __import__("functools").reduce(lambda inner, _: [inner], range(5000), []),
}


# Log -----------------------------------------------------------------------------------------------------------------


@worker("t_talk")
def talk(input, env: Env):
    """Log by every road, then work for a while."""
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
    """Change whatever there is to change around a handler."""
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
    """Say what is found around."""
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


@worker("t_thread")
def leave_thread(input, env: Env):
    """Leave a thread behind that prints and logs for ever."""

    def chatter():
        while not getattr(_here, "over", False):
            print("from the thread that was left")
            env.log.info("from the thread that was left")
            time.sleep(0.01)

    threading.Thread(target=chatter, daemon=True).start()
    time.sleep(input.get("seconds", 0.05))
    return {"pid": os.getpid()}


# Being stopped -------------------------------------------------------------------------------------------------------


@worker("t_wait", cancel_grace_seconds=5, max_retries=1)
def wait(input, env: Env):
    """Wait, and tell of what comes."""
    tell(input, "begin")
    try:
        while True:
            time.sleep(10)
    except BaseException as interruption:
        tell(input, type(interruption).__name__)
        if input.get("then") == "return":
            return {"kept": True, "cancelled": env.cancelled}
        if input.get("then") == "raise":
            raise ValueError("not what was asked") from None
        raise
    finally:
        env.log.info("cleaning up")
        tell(input, "finally")


@worker("t_wait_async", cancel_grace_seconds=5)
async def wait_async(input, env: Env):
    tell(input, "begin")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        tell(input, "CancelledError")
        if input.get("then") == "return":
            return {"kept": True, "cancelled": env.cancelled}
        raise
    finally:
        await asyncio.sleep(0.01)
        env.log.info("cleaning up")
        tell(input, "finally")


@worker("t_broad", cancel_grace_seconds=5)
def broad(input):
    """Eat every `Exception`, as many do."""
    tell(input, "begin")
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            tell(input, "eaten")


@worker("t_look", cancel_grace_seconds=5)
def look(input, env: Env):
    """Listen to nothing but `env.cancelled`."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tell(input, "begin")
    while not env.cancelled:
        time.sleep(0.01)
    tell(input, "finally")
    return {"saw": "env.cancelled"}


@worker("t_own_signal", cancel_grace_seconds=5)
def own_signal(input, env: Env):
    """Install a SIGTERM handler of its own."""
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda signum, _: heard.append(signum))
    tell(input, "begin")
    while not heard:
        time.sleep(0.01)
    time.sleep(0.5)
    tell(input, "finally")
    return {"heard": heard, "cancelled": env.cancelled}


@worker("t_own_signal_async", cancel_grace_seconds=5)
async def own_signal_async(input):
    """Install one in the event loop."""
    heard = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, heard.set)
    tell(input, "begin")
    await heard.wait()
    tell(input, "finally")
    return {"heard": True}


@worker("t_swallow", cancel_grace_seconds=5)
def swallow(input):
    """Be where Python lets nothing be raised when the first SIGTERM comes."""

    class Held:
        def __del__(self):
            tell(input, "begin")
            time.sleep(1)

    held = Held()
    del held
    while True:
        time.sleep(0.01)


_children: list[subprocess.Popen[bytes]] = []


@worker("t_stubborn", cancel_grace_seconds=1)
def stubborn(input):
    """Ignore SIGTERM, and have children that do: one in our group, one in its own session, one orphaned besides."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for command in (
        [sys.executable, "-c", _STUBBORN],
        ["setsid", sys.executable, "-c", _STUBBORN],
        ["sh", "-c", 'setsid "$0" -c "$1" &', sys.executable, _STUBBORN],
    ):
        _children.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        _children[-1].stdout.readline()
    tell(input, "begin")
    while True:
        try:
            time.sleep(60)
        except BaseException:
            continue


@worker("t_starts", cancel_grace_seconds=5)
def starts(input):
    """Start a subprocess and wait for it."""
    child = subprocess.Popen(["sleep", "120"])
    tell(input, f"child={child.pid}")
    tell(input, "begin")
    try:
        child.wait()
    finally:
        tell(input, "finally")


@worker("t_times_out", timeout_seconds=0.5, cancel_grace_seconds=0.5)
def times_out(input):
    """Outlive its time, in one of several ways."""
    how = input["how"]
    tell(input, "begin")
    try:
        if how == "python":
            while True:
                pass
        if how == "system_call":
            os.read(os.pipe()[0], 1)
        if how == "regex":
            re.match(r"(a+)+$", "a" * 60 + "b")
        if how == "gil":
            ctypes.PyDLL(None).sleep(60)
        if how == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                time.sleep(0.1)
        time.sleep(60)
    except BaseException as interruption:
        tell(input, type(interruption).__name__)
        if how == "return":
            return {"in": "time"}
        raise
    finally:
        tell(input, "finally")


@worker("t_times_out_async", timeout_seconds=0.5, cancel_grace_seconds=0.5)
async def times_out_async(input):
    tell(input, "begin")
    try:
        await asyncio.sleep(60)
    finally:
        tell(input, "finally")


@worker("t_retries_time", timeout_seconds=0.3, max_retries=1)
def retries_time(input, env: Env):
    if env.attempt == 1:
        time.sleep(60)
    return {"attempt": env.attempt}


@worker("t_step", cancel_grace_seconds=5, on_worker_lost="requeue")
def step(input):
    """Run for some seconds, and tell of the begin and the end; told once only if it ran once."""
    tell(input, "begin")
    try:
        time.sleep(input["seconds"])
    except BaseException as interruption:
        tell(input, type(interruption).__name__)
        raise
    tell(input, "end")
    return {"pid": os.getpid()}


@worker("t_only_there", queue="there")
def only_there(input):
    return {"here": os.environ.get("T_NODE")}
