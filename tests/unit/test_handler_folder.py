"""Handler modules in the working folder are found, and replace no module of Python or of a library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_SCRIPT = """
import os, sys
from ava.local import handler_folder
handler_folder.search(os.getcwd(), ["mine", "workers.package"])
import mine, colorsys, beside, workers.package
assert mine.FROM == beside.FROM == workers.package.FROM == "the folder"
assert not hasattr(colorsys, "FROM")
assert sys.path[-1] == os.getcwd() and sys.path.index(os.getcwd()) == len(sys.path) - 1
print("found")
"""


def test_named_modules_come_from_the_folder_and_all_others_from_there_last(tmp_path: Path) -> None:
    for name in ("mine", "colorsys", "beside", "workers/package", "workers/__init__"):
        file = tmp_path / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text("FROM = 'the folder'")
    # -I keeps Python from adding the folder itself, as the `ava` command does.
    root = Path(__file__).parents[2]
    script = f"import sys; sys.path.append({str(root)!r})\n{_SCRIPT}"
    found = subprocess.run(
        [sys.executable, "-I", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert found.stdout == "found\n", found.stderr
