"""Describes a CSV of any size: its columns, their types, missing values, extremes, means and top values."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from ava import Env, worker
from ava.domain.outbound.outbound_url import MAX_URL_CHARS, parse
from ava.outbound.http import HttpResponseStream, Limits, open_stream
from workers import charsets
from workers.inputs import Input, optional_string, refuse_unknown, string, whole_number

from . import csv_rows
from .columns import Column
from .csv_rows import Rows

_TIMEOUT_SECONDS = 3_600
#: Seconds without a byte after which the server of a CSV counts as gone.
_SILENCE_SECONDS = 60
_MAX_COLUMNS = 1_000
#: Bytes of a CSV at a URL, unpacked: what a job of an hour can describe, at 7 to 120 MB/s.
_MAX_CSV_BYTES = 32 * 2**30
#: Bytes that are received for it: those of a CSV that is not packed, and 1 GiB for headers and framing. A packed one
#: may be followed by padding that unpacks to nothing.
_MAX_RECEIVED_BYTES = 33 * 2**30
_MAX_JSON_BYTES = 1_000_000
_RAGGED_EXAMPLES = 5
# Distinct values that are counted exactly, over all columns: about 10 MB of memory.
_VALUES_COUNTED = 50_000
_BATCH_ROWS = 1_000
_BATCH_CHARACTERS = 4_194_304
_SECONDS_BETWEEN_REPORTS = 0.5

#: The fraction that is read, from 0 to 1; None if the size is not known.
Fraction = Callable[[], float | None]


@worker(
    "csv_summary",
    name="CSV summary",
    description=(
        "Describes the CSV in input.csv or at input.url: columns, types, missing, min, max, mean, top values. Options: "
        "delimiter and encoding (else detected), decimal (. or ,), header (true), top (10)."
    ),
    timeout_seconds=_TIMEOUT_SECONDS,
    input_schema={
        "type": "object",
        "properties": {
            "csv": {"type": ["string", "null"], "description": "The CSV itself; or else url."},
            "url": {"type": ["string", "null"], "maxLength": MAX_URL_CHARS, "description": "Where the CSV is."},
            "delimiter": {"type": ["string", "null"], "minLength": 1, "maxLength": 1, "description": "Else detected."},
            "encoding": {"type": ["string", "null"], "description": "As in windows-1252; else detected."},
            "decimal": {"enum": [".", ",", None], "default": "."},
            "header": {"type": "boolean", "default": True, "description": "The first row has the names."},
            "top": {"type": "integer", "minimum": 0, "maximum": 100, "default": 10},
        },
        "additionalProperties": False,
    },
)
def csv_summary(input: Input, env: Env) -> dict[str, Any]:
    """Read a CSV once, row by row, and describe it."""
    refuse_unknown(input, "csv", "url", "delimiter", "encoding", "decimal", "header", "top")
    options = _options(input)
    with _opened(input, options, env) as (rows, fraction):
        table = _Table(options)
        for row in _reporting(rows, fraction, env):
            table.add(row, rows)
        table.count_batch()
        if not table.columns:
            raise ValueError("the CSV is empty; it must have at least one line")
        summary = _fitting(table, rows, options.top)
    env.log.info("Read %d rows of %d columns", summary["rows"], len(summary["columns"]))
    if summary["ragged_rows"]:
        env.log.warning("%d rows have more or fewer cells than the header", summary["ragged_rows"])
    return summary


@dataclass(frozen=True, kw_only=True)
class _Options:
    #: None if they are to be detected.
    delimiter: str | None
    encoding: str | None
    #: The decimal sign of numbers, `.` or `,`.
    decimal: str
    #: Whether the first row holds the columns' names.
    header: bool
    #: How many of a column's most frequent values are reported.
    top: int


def _options(given: Input) -> _Options:
    delimiter = given.get("delimiter")
    if delimiter is not None and not (
        isinstance(delimiter, str) and len(delimiter) == 1 and delimiter not in '\r\n"\0'
    ):
        raise ValueError('input.delimiter must be one character such as ";"')
    decimal = optional_string(given, "decimal", default=".")
    if decimal not in (".", ","):
        raise ValueError('input.decimal must be "." or ","')
    header = given.get("header", True)
    if not isinstance(header, bool):
        raise ValueError("input.header must be true (the first row holds the names) or false")
    return _Options(
        delimiter=delimiter,
        encoding=_encoding(optional_string(given, "encoding")),
        decimal=decimal,
        header=header,
        top=whole_number(given, "top", least=0, most=100, default=10),
    )


def _encoding(name: str) -> str | None:
    encoding = charsets.known(name)
    if name and encoding is None:
        raise ValueError("input.encoding must be the name of a character set such as utf-8 or windows-1252")
    return encoding


@contextmanager
def _opened(given: Input, options: _Options, env: Env) -> Iterator[tuple[Rows, Fraction]]:
    inline = given.get("csv")
    if (inline is None) == (given.get("url") is None):
        raise ValueError("input must have either csv, a string with the CSV itself, or url, the URL of one")
    if inline is None:
        with _called(given, env) as stream:
            yield _rows_of(stream, options)
    elif isinstance(inline, str):
        rows = csv_rows.from_string(inline, delimiter=options.delimiter)
        yield rows, lambda: rows.characters / max(1, len(inline))
    else:
        raise ValueError("input.csv must be a string with the CSV itself")


@contextmanager
def _called(given: Input, env: Env) -> Iterator[HttpResponseStream]:
    url = string(given, "url", example="https://example.com/table.csv", longest=MAX_URL_CHARS)
    limits = Limits(
        connect_timeout_seconds=10,
        exchange_timeout_seconds=_TIMEOUT_SECONDS,
        silence_timeout_seconds=_SILENCE_SECONDS,
        max_response_bytes=_MAX_CSV_BYTES,
        max_received_bytes=_MAX_RECEIVED_BYTES,
    )
    origin = parse(url, rules=limits.rules).origin
    env.log.info("Reading a CSV from %s", origin)
    with open_stream("GET", url, limits=limits) as stream:
        if 300 <= stream.status < 400:
            raise ValueError(f"{origin} answered {stream.status}, a redirect; give the address that it leads to")
        if stream.status != 200:
            raise ValueError(f"{origin} answered {stream.status}; it must answer 200 with the CSV")
        yield stream


def _rows_of(stream: HttpResponseStream, options: _Options) -> tuple[Rows, Fraction]:
    taken = 0

    def chunks() -> Iterator[bytes]:
        nonlocal taken
        for chunk in stream.chunks():
            taken += len(chunk)
            yield chunk
        if stream.truncated:
            raise ValueError(f"the CSV is larger than {_MAX_CSV_BYTES:,} bytes (unpacked); give it in parts")

    def fraction() -> float | None:
        return taken / size if size else None

    # Content-Length is the compressed size, and the fraction counts decompressed bytes.
    length = stream.headers.get("content-length", "") if "content-encoding" not in stream.headers else ""
    size = int(length) if length.isdecimal() and len(length) < 16 else 0
    encoding = options.encoding or charsets.declared_in(stream.headers.get("content-type", ""))
    return csv_rows.from_bytes(chunks(), encoding=encoding, delimiter=options.delimiter), fraction


def _reporting(rows: Rows, fraction: Fraction, env: Env) -> Iterator[list[str]]:
    """Returns the rows, and reports progress at intervals."""
    reported = time.monotonic()
    for number, row in enumerate(rows, start=1):
        if number % _BATCH_ROWS == 0 and time.monotonic() - reported >= _SECONDS_BETWEEN_REPORTS:
            reported = time.monotonic()
            env.progress(min(1.0, fraction() or 0.0), f"{number} rows read")
        yield row


@dataclass
class _Table:
    """The columns of a CSV; the first row creates them.

    They count rows in batches, so that a frequent value is parsed once a batch.
    """

    options: _Options
    columns: list[Column] = field(default_factory=list)
    rows: int = 0
    ragged: int = 0
    examples: list[dict[str, int]] = field(default_factory=list)
    waiting: list[list[str]] = field(default_factory=list)
    seen_characters: int = 0

    def add(self, row: list[str], rows: Rows) -> None:
        """Add the latest row."""
        if not self.columns:
            self.columns = _columns(row, self.options)
            if self.options.header:
                return
        self.rows += 1
        if len(row) != len(self.columns):
            row = self._evened(row, rows.line)
        self.waiting.append(row)
        if len(self.waiting) >= _BATCH_ROWS or rows.characters - self.seen_characters >= _BATCH_CHARACTERS:
            self.seen_characters = rows.characters
            self.count_batch()

    def count_batch(self) -> None:
        """Count the rows of the current batch."""
        for column, cells in zip(self.columns, zip(*self.waiting, strict=True), strict=False):
            for cell, times in Counter(cells).items():
                column.add(cell, times)
        self.waiting.clear()

    def _evened(self, row: list[str], line: int) -> list[str]:
        """Count a ragged row. Returns it at the length of the others: missing cells are blank, surplus ones dropped."""
        self.ragged += 1
        if len(self.examples) < _RAGGED_EXAMPLES:
            self.examples.append({"line": line, "cells": len(row), "expected": len(self.columns)})
        return (row + [""] * len(self.columns))[: len(self.columns)]


def _columns(first: list[str], options: _Options) -> list[Column]:
    if len(first) > _MAX_COLUMNS:
        raise ValueError(f"the CSV has {len(first)} columns; at most {_MAX_COLUMNS} are described")
    names = _names(first) if options.header else [f"column_{n}" for n in range(1, len(first) + 1)]
    capacity = max(50, min(1_000, _VALUES_COUNTED // len(first)))
    return [Column(name, decimal=options.decimal, capacity=capacity) for name in names]


def _names(first: list[str]) -> list[str]:
    """Returns the header's names. A blank one is named by its position, and a repeated one is numbered."""
    # The names of a thousand columns must leave space in the output for their summaries.
    longest = max(30, min(100, 30_000 // len(first)))
    names: dict[str, None] = {}
    for index, cell in enumerate(first, start=1):
        name = cell.strip()[:longest] or f"column_{index}"
        names[next(each for n in count(1) if (each := name if n == 1 else f"{name}_{n}") not in names)] = None
    return list(names)


def _fitting(table: _Table, rows: Rows, top: int) -> dict[str, Any]:
    """Returns the summary, with fewer top values if it is larger than a job's output may be."""
    while len(json.dumps(summary := _summary(table, rows, top))) > _MAX_JSON_BYTES and top:
        top //= 2
    return summary


def _summary(table: _Table, rows: Rows, top: int) -> dict[str, Any]:
    return {
        "rows": table.rows,
        "columns": [column.summary(top) for column in table.columns],
        "delimiter": rows.delimiter,
        "encoding": rows.encoding,
        "undecodable_characters": rows.undecodable,
        "ragged_rows": table.ragged,
        "ragged_examples": table.examples,
    }
