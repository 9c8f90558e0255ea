"""The worker's id of a function that is known by its dotted path, such as a task of Celery or of Django."""

from __future__ import annotations

import hashlib
import re

#: The most characters of a slug.
MAX_LENGTH = 59
#: Characters of the hash at the end of a slug that was cut.
_HASH_LENGTH = 8


def slug_of(path: str) -> str:
    """Returns the slug of a dotted path: `shop.tasks.send` is `shop_tasks_send`.

    Upper case becomes lower case, and every other character `_`. A path that is too long is cut, and ends with eight
    characters of its hash.
    """
    slug = re.sub(r"[^a-z0-9_]", "_", path.lower())
    if not slug[:1].isalpha():
        slug = f"t_{slug.lstrip('_')}"
    if len(slug) <= MAX_LENGTH:
        return slug
    digest = hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LENGTH]
    return f"{slug[: MAX_LENGTH - _HASH_LENGTH - 1]}_{digest}"
