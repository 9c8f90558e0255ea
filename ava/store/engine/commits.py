"""Asynchronous commits, for writes that may be lost when the server crashes because they are repeated."""

from __future__ import annotations

#: A condition that is always true: the transaction does not wait for the disk, and others do not wait for its locks. A
#: server crash may undo it with all later asynchronous commits; a default commit also flushes all earlier ones
#: (PostgreSQL manual, "Asynchronous Commit"). Used for marks of the dispatcher, which sets them again. A run depends on
#: such a mark only through its claim, which commits by default.
IS_UNFLUSHED = "(SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL"
