"""Reads the rows of a CSV from a text or from a stream of bytes, in bounded memory."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator

_SAMPLE_BYTES = 65_536
_SAMPLE_LINES = 50
_LONGEST_LINE = 1_048_576
_LONGEST_ROW = 4 * _LONGEST_LINE
_DELIMITERS = ",;\t|"
# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Other kinds of files that are mistaken for a CSV, by their first bytes.
_OTHER_FILES = (
    (b"PK\x03\x04", "an Excel workbook or a zip file; save it as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook; save it as CSV"),
    (b"\x1f\x8b", "a gzip file; unpack it"),
    (b"%PDF-", "a PDF; export the table as CSV"),
    (b"<!DOCTYPE", "a web page; give the address of the file itself"),
    (b"<html", "a web page; give the address of the file itself"),
)


class Rows:
    """The rows of a CSV as lists of cells, and what was found while reading them. Blank lines are skipped."""

    def __init__(self, stream: io.TextIOBase, *, encoding: str, delimiter: str | None) -> None:
        self._lines = _Lines(stream)
        self.encoding = encoding
        self.delimiter = delimiter or _likeliest_delimiter(self._lines.sample())
        self._reader = csv.reader(self._lines, delimiter=self.delimiter)

    @property
    def line(self) -> int:
        """Returns the number of the line on which the latest row ended."""
        return self._reader.line_num

    @property
    def characters(self) -> int:
        """Returns the number of characters read."""
        return self._lines.characters

    @property
    def undecodable(self) -> int:
        """Returns the number of characters that could not be decoded."""
        return self._lines.undecodable

    def __iter__(self) -> Iterator[list[str]]:
        try:
            for row in self._reader:
                self._lines.begin_row()
                if row:
                    yield row
        except csv.Error as error:
            raise ValueError(f"line {self.line} of the CSV: {error}; perhaps a quote is not closed") from None


def from_string(csv: str, *, delimiter: str | None) -> Rows:
    """Returns the rows of a CSV that is a text."""
    return Rows(io.StringIO(csv.removeprefix("\ufeff"), newline=None), encoding="utf-8", delimiter=delimiter)


def from_bytes(chunks: Iterator[bytes], *, encoding: str | None, delimiter: str | None) -> Rows:
    """Returns the rows of a CSV that comes in chunks. Without an encoding the likeliest is used.

    Raises ValueError if the first bytes are those of another kind of file.
    """
    data = io.BufferedReader(_Chunks(chunks), _SAMPLE_BYTES)
    sample = data.peek(_SAMPLE_BYTES)
    _refuse_other_files(sample)
    used = _marked(sample) or encoding or _likeliest_encoding(sample)
    return Rows(io.TextIOWrapper(data, used, errors="replace", newline=None), encoding=used, delimiter=delimiter)


def _refuse_other_files(sample: bytes) -> None:
    beginning = sample.lstrip()[:16].lower()
    for mark, what in _OTHER_FILES:
        if beginning.startswith(mark.lower()):
            raise ValueError(f"this is no CSV, but {what}")


def _marked(sample: bytes) -> str | None:
    return next((encoding for mark, encoding in _MARKS if sample.startswith(mark)), None)


def _likeliest_encoding(sample: bytes) -> str:
    """Returns UTF-8 if the sample is valid UTF-8; otherwise cp1252, which Windows writes in western countries."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _likeliest_delimiter(sample: list[str]) -> str:
    """Returns the delimiter that splits most of the sample's rows into the same number of cells, more than one."""

    def score(delimiter: str) -> tuple[int, int]:
        try:
            widths = Counter(len(row) for row in csv.reader(sample, delimiter=delimiter) if len(row) > 1)
        except csv.Error:
            return 0, 0
        width, rows = max(widths.items(), key=lambda item: (item[1], item[0]), default=(0, 0))
        return rows, width

    # max() returns the first of equals, so a comma wins a tie.
    return max(_DELIMITERS, key=score)


class _Chunks(io.RawIOBase):
    """A file over chunks of bytes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            piece = next(self._chunks, None)
            if piece is None:
                return 0
            self._rest = piece
        taken, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)


class _Lines(Iterator[str]):
    """The lines of a text; a line or a row that is too long for memory is refused."""

    def __init__(self, stream: io.TextIOBase) -> None:
        self._stream = stream
        self._waiting: list[str] = []
        self._row_began = 0
        self.characters = 0
        self.undecodable = 0

    def sample(self) -> list[str]:
        """Returns the first lines; iteration still begins with them."""
        lines: list[str] = []
        while len(lines) < _SAMPLE_LINES and sum(map(len, lines)) < _SAMPLE_BYTES and (line := self._read()):
            lines.append(line)
        self._waiting = lines[::-1]
        return lines

    def begin_row(self) -> None:
        """Mark the end of a row."""
        self._row_began = self.characters

    def __next__(self) -> str:
        line = self._waiting.pop() if self._waiting else self._read()
        if not line:
            raise StopIteration
        self.characters += len(line)
        if self.characters - self._row_began > _LONGEST_ROW:
            raise csv.Error("the row is longer than 4 MiB")
        return line

    def _read(self) -> str:
        line = self._stream.readline(_LONGEST_LINE)
        if len(line) == _LONGEST_LINE:
            raise ValueError("the CSV has a line longer than 1 MiB; it may be no CSV, or lack line breaks")
        self.undecodable += line.count("\ufffd")
        return line
