"""Decode gzip responses in pieces of bounded size, so that a small response cannot exhaust memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WBITS = 16 + zlib.MAX_WBITS
#: Maximum gzip members of one response; servers send one. An empty member takes 20 bytes and costs as much as a large
#: one.
_MAX_MEMBERS = 1_000


class Decoder:
    """Decodes one response. gzip is the only requested encoding; any other passes unchanged."""

    def __init__(self, content_encoding: str) -> None:
        self._gzipped = content_encoding.strip().lower() in ("gzip", "x-gzip")
        self._member = zlib.decompressobj(_GZIP_WBITS)
        self._between_members = b""
        self._any_data = False
        self._members = 1

    def decode(self, data: bytes, max_bytes: int) -> Iterator[bytes]:
        """Yield the decoded `data` in pieces of at most `max_bytes`. Raises `zlib.error` for invalid gzip."""
        if not self._gzipped:
            yield data
            return
        self._any_data = True
        while data := self._to_member(data):
            piece = self._member.decompress(data, max_bytes)
            if piece:
                yield piece
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def finish(self) -> None:
        """Raise `zlib.error` if the response ended in the middle of its gzip stream."""
        if self._any_data and not self._member.eof:
            raise zlib.error("the gzip stream ends too early")

    def _to_member(self, data: bytes) -> bytes:
        """Begin the next gzip member if one has ended. Other bytes after a member are dropped as padding."""
        if not self._member.eof:
            return data
        following, self._between_members = self._between_members + data, b""
        if len(following) < len(_GZIP_MAGIC):
            self._between_members = following
            return b""
        if not following.startswith(_GZIP_MAGIC):
            return b""
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise zlib.error(f"the gzip stream has more than {_MAX_MEMBERS} members")
        self._member = zlib.decompressobj(_GZIP_WBITS)
        return following
