"""The pages of the dashboard, as its frame lists them, and where the picture of each is."""

from __future__ import annotations

import re
from pathlib import Path

from harness.system import ROOT

PICTURES = ROOT / "docs" / "images"
_FRAME = ROOT / "ava" / "api" / "static" / "dashboard" / "frame" / "pages.js"


def pages() -> dict[str, str]:
    """Returns the address of each page by the name of its picture; `{id}` stands for the id of a record."""
    source = _FRAME.read_text()
    names = re.findall(r'\bpage\(\s*"(\w*)"', source)
    records = re.findall(r'\bpage\(\s*"(\w+)",\s*"\w+",\s*\(\) => import\("[^"]+"\),\s*\w', source)
    assert "jobs" in names, f"{_FRAME} lists no pages"
    return {
        **{name or "overview": f"#/{name}" for name in names},
        **{name.removesuffix("s"): f"#/{name}/{{id}}" for name in records},
        # A part of the page of a job.
        "tree": "#/jobs/{id}/tree",
    }


def picture(page: str) -> Path:
    """Returns the file of a page's picture."""
    return PICTURES / f"{page}.png"
