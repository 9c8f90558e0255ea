"""What a handler saw, told by lines in a file, which are there however it ends."""

from __future__ import annotations

import os
import time
from typing import Any


def tell(payload: dict[str, Any], word: str) -> None:
    """Append a line to the file that the job's input names: the word, the process and the time."""
    line = f"{word} {os.getpid()} {time.time()}\n".encode()
    descriptor = os.open(payload["file"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line)
    os.close(descriptor)
