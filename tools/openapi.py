"""`python -m tools.openapi`: the OpenAPI description of the API, without a server."""

from __future__ import annotations

import json
from typing import Any

from ava import settings
from ava.api import openapi
from ava.api.app import make_app

_NOWHERE = {
    "DATABASE_URL": "postgresql://ava@127.0.0.1:1/none",
    "BROKER_URL": "redis://127.0.0.1:1/0",
    "AVA_INTERNAL_SECRET": "of-no-installation",
}


def description() -> dict[str, Any]:
    """Return the description."""
    return openapi.describe(make_app(settings.load(_NOWHERE)))


if __name__ == "__main__":
    print(json.dumps(description()))
