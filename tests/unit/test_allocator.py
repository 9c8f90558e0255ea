"""Large blocks are memory of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Prints True if a block lies in the heap after a larger one was freed.
_PROGRAM = """
import sys
from ava.api.server.api_processes import return_large_blocks

if sys.argv[1] == "set":
    return_large_blocks()
larger = bytes(8 * 2**20)
del larger
block = bytes(4 * 2**20)
heap = next(line for line in open("/proc/self/maps") if line.endswith("[heap]\\n"))
first, end = (int(place, 16) for place in heap.split()[0].split("-"))
print(first <= id(block) < end)
"""


@pytest.mark.parametrize(("setting", "is_in_heap"), [("unset", True), ("set", False)])
def test_a_large_block_is_not_taken_from_the_heap(setting: str, is_in_heap: bool) -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM, setting], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == (str(is_in_heap), "")
