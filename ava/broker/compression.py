"""Refuse compressed messages, because kombu decompresses a message before any check.

A message of one MB may decompress to one GB. This service never compresses, so consumers refuse all such messages.
"""

from __future__ import annotations

from kombu import compression

_refused = dict[str, object]()


def refuse() -> None:
    """Make kombu in this process unable to decompress messages."""
    _refused.update(compression._decoders)
    compression._decoders.clear()


def allow() -> None:
    """Undo `refuse`: a process that runs handlers consumes no messages, and a handler may use kombu itself."""
    compression._decoders.update(_refused)
