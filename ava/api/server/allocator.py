"""The C library's memory allocator, which by itself keeps the memory of large bodies for good."""

from __future__ import annotations

import ctypes
from contextlib import suppress

#: `M_MMAP_THRESHOLD` of glibc's malloc.h.
_MMAP_THRESHOLD = -3
#: Bytes of a block that is memory of its own, and is returned to the system when it is freed.
_LARGE_BYTES = 2**20


def return_large_blocks() -> None:
    """Have this process and its children return a large block to the system when it is freed.

    glibc takes blocks from its heaps that are not larger than any it has freed, up to 32 MiB (mallopt(3),
    "M_MMAP_THRESHOLD"). Pieces of later requests then stay between them, and the heaps grow with every hundred large
    bodies. A C library without this setting is left as it is.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
