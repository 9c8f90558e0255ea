"""billiard's shared memory, which holds a counter for each process of the pool."""

from __future__ import annotations

import multiprocessing
import tempfile

from billiard.heap import BufferWrapper


def reserve() -> None:
    """Make the first block of it: a page, enough for 500 processes.

    billiard would make a folder for the block's file. It removes the file at once, but the folder when the process
    ends, so a node that is killed would leave it. What a handler makes with `multiprocessing` still has such a folder.
    """
    config = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    if config.get("tempdir") is None:
        config["tempdir"] = tempfile.gettempdir()
        try:
            BufferWrapper(1)
        finally:
            del config["tempdir"]
