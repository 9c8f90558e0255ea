"""An application with an outbox that is killed now and then: `python -m chaos.outbox_application URL WORKER`.

Each input line is a number of orders to attempt; the response is a line once they are done. An attempt places an order
and triggers its job in one transaction, which is committed, rolled back, or ended by SIGKILL before or after its
commit. A child makes the attempts; when it dies, the next child continues.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

from sqlalchemy import Column, Integer, MetaData, Table, create_engine, insert
from sqlalchemy.exc import OperationalError

from ava.client.outbox.sqlalchemy import Outbox

metadata = MetaData()
orders = Table("orders", metadata, Column("id", Integer, primary_key=True))
outbox = Outbox(metadata)


def committed(tries: int) -> int:
    """Return how many of `tries` attempts commit: all but a fifth, and a twentieth killed before the commit."""
    return sum(number % 20 != 3 and number % 5 != 2 for number in range(tries))


def main(url: str, worker_id: str) -> None:
    """Make the attempts that the input asks for."""
    engine = create_engine(url)
    metadata.create_all(engine)
    engine.dispose()
    begun = tries = 0
    for line in sys.stdin:
        tries += int(line)
        while begun < tries:
            reader, writer = os.pipe()
            if os.fork() == 0:
                # While the database is being killed and started, the next child continues.
                with suppress(OperationalError):
                    _try_all(url, worker_id, writer, range(begun, tries))
                os._exit(1)
            os.close(writer)
            with os.fdopen(reader, "rb") as words:
                begun += len(words.read())
            os.wait()
        print(begun, flush=True)


def _try_all(url: str, worker_id: str, writer: int, numbers: range) -> None:
    """Make attempts until one of them kills this process."""
    engine = create_engine(url)
    for number in numbers:
        os.write(writer, b".")
        with engine.connect() as connection, connection.begin() as transaction:
            connection.execute(insert(orders).values(id=number))
            outbox.trigger(connection, worker_id, {"order": number, "seconds": 0.01})
            if number % 20 == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            if number % 5 == 2:
                transaction.rollback()
        if number % 20 == 13:
            os.kill(os.getpid(), signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
