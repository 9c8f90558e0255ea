"""Compressed messages, which kombu decompresses before anything of them is checked.

A message of a megabyte may decompress to a gigabyte. Ours are not compressed, so a process that consumes refuses all.
"""

from __future__ import annotations

from kombu import compression

_refused = dict[str, object]()


def refuse() -> None:
    """Make kombu in this process unable to decompress, so that a compressed message cannot be read."""
    _refused.update(compression._decoders)
    compression._decoders.clear()


def allow() -> None:
    """Undo `refuse`: a process that runs handlers consumes nothing, and a handler may use kombu itself."""
    compression._decoders.update(_refused)
