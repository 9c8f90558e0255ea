"""A transactional outbox: jobs are triggered exactly when the application's own transaction commits.

`Outbox` writes rows into a table of the application's database; it requires SQLAlchemy. `Relay` sends them to the API.
"""

from ava.client.outbox.relay import Relay
from ava.client.outbox.rows import OutboxRow, OutboxTable, new_row

__all__ = ["OutboxRow", "OutboxTable", "Relay", "new_row"]
