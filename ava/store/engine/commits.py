"""Commits that do not wait for the disk, of what may be lost in a crash of the server because it is done again."""

from __future__ import annotations

#: A condition that is always true: the statement's transaction does not wait for the disk, and neither do others for
#: its locks. A crash of the server may undo it, but never alone: all that was committed after it is undone too, and
#: what others commit by default is on the disk with all before it (PostgreSQL manual, "Asynchronous Commit"). It is for
#: marks of the dispatcher, which it sets again, and on which a run depends only by a claim, which waits for the disk.
IS_UNFLUSHED = "(SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL"
