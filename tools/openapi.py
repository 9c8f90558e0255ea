"""`python -m tools.openapi`: the OpenAPI description of the API, without a server."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ava import settings
from ava.api import openapi
from ava.api.app import make_app

ROOT = Path(__file__).parent.parent
_NOWHERE = {
    "DATABASE_URL": "postgresql://ava@127.0.0.1:1/none",
    "BROKER_URL": "redis://127.0.0.1:1/0",
    "AVA_INTERNAL_SECRET": "of-no-installation",
}


def description() -> dict[str, Any]:
    """Return the description."""
    return openapi.describe(make_app(settings.load(_NOWHERE)))


def write(path: Path, text: str) -> int:
    """Write a file that derives from the description, or compare it with `--check`. Return the exit code."""
    if sys.argv[1:] != ["--check"]:
        path.write_text(text)
    elif text != path.read_text():
        print(f"{path.relative_to(ROOT)} differs from the API; `make records` writes it")
        return 1
    return 0


if __name__ == "__main__":
    print(json.dumps(description()))
