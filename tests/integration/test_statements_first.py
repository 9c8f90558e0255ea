"""Statements of requests that go first; a process of its own, because it runs gevent."""

from __future__ import annotations

import subprocess
import sys

from ava.settings import Settings

PROGRAM = """
import sys
from gevent import monkey
monkey.patch_all()
import gevent, psycopg2
from ava.store.engine import timeouts

goes_first = False
timeouts.install_for_greenlets(lambda: goes_first)
with psycopg2.connect(sys.argv[1]) as connection, connection.cursor() as cursor:
    def turns_of_others(seconds):
        turns = 0
        def count():
            nonlocal turns
            while True:
                turns += 1
                gevent.sleep(0.001)
        other = gevent.spawn(count)
        cursor.execute("SELECT pg_sleep(%s)", [seconds])
        other.kill()
        return turns

    print(turns_of_others(0.05) > 1)
    goes_first = True
    # A busy machine may take longer than that for one of them.
    print(min(turns_of_others(0.001) for _ in range(50)), turns_of_others(0.1) > 1)
connection.close()
"""


def test_a_statement_that_goes_first_keeps_the_loop_for_a_moment(database_settings: Settings) -> None:
    command = [sys.executable, "-c", PROGRAM, database_settings.database_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.splitlines(), done.stderr) == (["True", "0 True"], "")
