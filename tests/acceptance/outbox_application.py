"""An application with an outbox that is killed now and then: `python -m tests.acceptance.outbox_application URL 1000`.

Each try places an order and triggers its job in one transaction, which is committed, rolled back, or ended by SIGKILL
before or after its commit. A child makes the tries; when it dies, the next child goes on.
"""

from __future__ import annotations

import os
import signal
import sys

from sqlalchemy import Column, Integer, MetaData, Table, create_engine, insert

from ava.client.outbox.sqlalchemy import Outbox

metadata = MetaData()
orders = Table("orders", metadata, Column("id", Integer, primary_key=True))
outbox = Outbox(metadata)


def main(url: str, tries: int) -> None:
    engine = create_engine(url)
    metadata.create_all(engine)
    engine.dispose()
    begun = 0
    while begun < tries:
        reader, writer = os.pipe()
        if os.fork() == 0:
            _try_all(url, writer, begun, tries)
        os.close(writer)
        with os.fdopen(reader, "rb") as words:
            begun += len(words.read())
        os.wait()


def _try_all(url: str, writer: int, first: int, tries: int) -> None:
    """Make the tries from the first on, until one of them kills this process."""
    engine = create_engine(url)
    for number in range(first, tries):
        os.write(writer, b".")
        with engine.connect() as connection, connection.begin() as transaction:
            connection.execute(insert(orders).values(id=number))
            outbox.trigger(connection, "wkr_order", {"order": number})
            if number % 20 == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            if number % 5 == 2:
                transaction.rollback()
        if number % 20 == 13:
            os.kill(os.getpid(), signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
