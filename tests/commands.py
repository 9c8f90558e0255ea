"""The operator's commands, run as people and programs run them."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from click.testing import CliRunner

from ava.cli.host import completion
from ava.cli.main import cli
from harness.system import System


def ava(system: System, *arguments: str, **options: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a pipe as its output; `options` are variables of its environment.

    It runs in this process, because its start takes a fifth of a second of processor time.
    """
    environ = {**system.environ, "AVA_URL": system.url, "AVA_TENANT_ID": "ten_test", **options}
    completion.install()
    ended = CliRunner().invoke(cli, arguments, prog_name="ava", env=environ, catch_exceptions=False)
    return subprocess.CompletedProcess(arguments, ended.exit_code, ended.stdout, ended.stderr)


def ava_process(system: System, *arguments: str, **options: str) -> subprocess.CompletedProcess[str]:
    """Run a command likewise, as a process of its own."""
    environ = {**system.environ, "AVA_URL": system.url, "AVA_TENANT_ID": "ten_test", **options}
    argv = [sys.executable, "-m", "ava.cli.main", *arguments]
    return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=False)


def on_a_terminal(system: System, *arguments: str, columns: int = 200) -> tuple[int, str]:
    """Run a command on a terminal. Returns its exit code and what the terminal got."""
    leader, follower = pty.openpty()
    environ = {**system.environ, "AVA_URL": system.url, "AVA_TENANT_ID": "ten_test", "TERM": "xterm"}
    environ["COLUMNS"] = str(columns)
    argv = [sys.executable, "-m", "ava.cli.main", *arguments]
    with subprocess.Popen(argv, env=environ, stdout=follower, stderr=follower, stdin=subprocess.DEVNULL) as process:
        os.close(follower)
        shown = b""
        try:
            while chunk := os.read(leader, 65536):
                shown += chunk
        except OSError:
            # The terminal closes with the last process that holds it.
            pass
        os.close(leader)
    return process.returncode, shown.decode()
