"""The head of a request on its way to gunicorn's parser.

The parser searches all that it has for the end of the head, again for each piece that arrives, so a head that arrives
in many pieces costs it the square of its length. Here each piece is searched once, and the parser gets the rest of the
head in one piece. A head that exceeds its limits is refused before it is complete.
"""

from __future__ import annotations

from gunicorn.http.errors import LimitRequestHeaders

from ava.domain.limits import table as limits
from ava.domain.limits.limit import Limit

_LINE_END = b"\r\n"
_END = 2 * _LINE_END
#: Max lines of a head: the request line, the fields, and the empty line.
_MAX_LINES = limits.HEADER_FIELDS.value + 2
#: The parser's messages for a head with too many fields, and with a field that is too long.
_TOO_MANY = "limit request headers fields"
_TOO_LONG = f"{_TOO_MANY} size"


class RequestHead:
    """The pieces of one head, buffered until the parser can use them."""

    def __init__(self) -> None:
        self._buffered: list[bytes] = []
        #: The last bytes received; the head's end may begin in them.
        self._last = b""
        self._lines = 0
        self._line_bytes = 0

    def add(self, piece: bytes) -> bytes:
        """Return the bytes that the parser gets now; empty if it can only wait for more.

        Raises `LimitRequestHeaders` if a field is too long, or if there are too many.
        """
        # Pass the first line to the parser unbuffered, because the parser checks that line itself.
        is_first_line = self._lines == 0
        seen = self._last + piece
        self._last = seen[-len(_END) + 1 :]
        self._buffered.append(piece)
        if ended := piece.count(b"\n"):
            self._refuse_long(self._line_bytes + piece.find(b"\n"))
            self._lines += ended
            self._line_bytes = len(piece) - piece.rfind(b"\n") - 1
            # The parser refuses a line that ends with a bare LF.
            if _END in seen or seen.count(b"\n") != seen.count(b"\r\n"):
                return self.take()
        else:
            self._line_bytes += len(piece)
        self._refuse_long(self._line_bytes)
        if self._lines > _MAX_LINES:
            raise LimitRequestHeaders(_TOO_MANY)
        return self.take() if is_first_line else b""

    def _refuse_long(self, line_bytes: int) -> None:
        # The parser checks the request line, which may be longer than a field.
        if self._lines and line_bytes > limits.HEADER_FIELD_BYTES.value + len(_LINE_END):
            raise LimitRequestHeaders(_TOO_LONG)

    def take(self) -> bytes:
        """Return the buffered bytes and clear the buffer."""
        buffered, self._buffered = b"".join(self._buffered), []
        return buffered


def exceeded_limit(error: LimitRequestHeaders) -> Limit:
    """Return the limit that a refused head exceeds, whether the parser or `RequestHead` refused it."""
    return limits.HEADER_FIELD_BYTES if str(error) == _TOO_LONG else limits.HEADER_FIELDS
