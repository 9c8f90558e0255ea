"""The servers that the tests use."""

import psycopg2
from kombu import Connection

from ava.settings import Settings


def _count(url: str) -> int:
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM jobs")
            return cursor.fetchone()[0]
    finally:
        connection.close()


def test_each_test_has_a_migrated_database_and_an_empty_broker(settings: Settings):
    assert _count(settings.database_url) == 0
    with Connection(settings.broker_url) as connection:
        queue = connection.SimpleQueue("probe")
        queue.put("hello")
        message = queue.get(timeout=5)
        assert message.payload == "hello"
        message.ack()
        queue.close()
