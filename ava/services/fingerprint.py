"""The fingerprint of a request: two requests with one idempotency key are the same if their fingerprints are equal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict

from ava.domain.job import JobSpec

__all__ = ["fingerprint"]


def fingerprint(specs: Sequence[JobSpec]) -> bytes:
    """Returns a digest of what is asked for; the order of an input's names makes no difference."""
    digest = hashlib.sha256()
    for spec in specs:
        asked = [
            spec.worker_id,
            json.loads(spec.input_json),
            spec.trigger,
            spec.priority,
            None if spec.scheduled_at is None else spec.scheduled_at.isoformat(),
            spec.retry_of,
        ]
        if spec.tags_json != "{}":
            asked.append(json.loads(spec.tags_json))
        asked += [asdict(key) for key in (spec.dedupe, spec.debounce) if key is not None]
        digest.update(json.dumps(asked, sort_keys=True).encode())
    return digest.digest()
