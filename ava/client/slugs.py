"""Worker ids for functions with a dotted path, such as tasks of Celery or Django."""

from __future__ import annotations

import hashlib
import re

MAX_LENGTH = 59
#: Characters of the hash at the end of a truncated slug.
_HASH_LENGTH = 8


def slug_of(path: str) -> str:
    """Return the slug of a dotted path: `shop.tasks.send` is `shop_tasks_send`.

    Upper case becomes lower case, and every other character `_`. A path that is too long is truncated, and ends with
    eight characters of its hash.
    """
    slug = re.sub(r"[^a-z0-9_]", "_", path.lower())
    if not slug[:1].isalpha():
        slug = f"t_{slug.lstrip('_')}"
    if len(slug) <= MAX_LENGTH:
        return slug
    digest = hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LENGTH]
    return f"{slug[: MAX_LENGTH - _HASH_LENGTH - 1]}_{digest}"
