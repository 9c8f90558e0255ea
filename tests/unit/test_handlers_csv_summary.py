"""The csv_summary handler: small tables to the cell, strange ones, hostile ones, and large ones in bounded memory."""

from __future__ import annotations

import gzip
import json
import socket
import tracemalloc
from typing import Any

import pytest

from ava.errors import AddressRefused, OutboundFailed
from ava.node.outcome import encode_output
from examples.csv_summary.handler import csv_summary
from harness.servers.peer import Serve, answering, ok, read_request
from tests.unit.handlers import Run

pytestmark = pytest.mark.usefixtures("private_allowed")


def summary(csv: str, **options: Any) -> dict[str, Any]:
    output = csv_summary({"csv": csv, **options}, Run().env)
    encode_output(output)
    return output


def column(csv: str, **options: Any) -> dict[str, Any]:
    """Returns the summary of the first column."""
    first: dict[str, Any] = summary(csv, **options)["columns"][0]
    return first


def of(values: str, **options: Any) -> dict[str, Any]:
    """Returns the summary of a column of these values."""
    return column("\n".join(["c", *values.split()]), **options)


# What is found -----------------------------------------------------------------------------------------------------


def test_a_table_is_described_column_by_column() -> None:
    run = Run()
    output = csv_summary({"csv": "name,age,since\nAda,36,2025-01-02\nBob,,2024-12-31\nAda,40,\n"}, run.env)
    assert {key: value for key, value in output.items() if key != "columns"} == {
        "rows": 3,
        "delimiter": ",",
        "encoding": "utf-8",
        "undecodable_characters": 0,
        "ragged_rows": 0,
        "ragged_examples": [],
    }
    name, age, since = output["columns"]
    assert name == {
        "name": "name",
        "type": "text",
        "types": {"text": 3},
        "values": 3,
        "missing": 0,
        "distinct": 2,
        "top": [{"value": "Ada", "count": 2}, {"value": "Bob", "count": 1}],
        "top_may_undercount_by": 0,
        "min_length": 3,
        "max_length": 3,
    }
    assert (age["type"], age["missing"], age["min"], age["max"], age["mean"]) == ("integer", 1, 36, 40, 38)
    assert (since["type"], since["min"], since["max"]) == ("date", "2024-12-31", "2025-01-02")
    assert run.lines == ["Read 3 rows of 3 columns"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ("1 -2 +3 0", "integer"),
        ("1 2.5 .5 3. 1e3 -1E-3", "number"),
        ("12345678901234567890", "number"),
        ("true FALSE Yes no", "boolean"),
        ("2025-01-02 2025-12-31", "date"),
        ("2025-01-02T03:04 2025-01-02T03:04:05.123Z 2025-01-02T03:04:05+02:00 2025-01-02", "datetime"),
        ("00501 02134", "text"),
        ("2025-02-30 2025-13-01", "text"),
        ("1_000 ١٢ inf 1e999 0x10", "text"),
        ("1 two", "mixed"),
        ("NA n/a NULL none NaN - #N/A", "empty"),
    ],
)
def test_the_type_of_a_column_is_that_of_its_values(values: str, kind: str) -> None:
    assert of(values)["type"] == kind


def test_a_mixed_column_says_how_many_values_are_of_which_type_and_keeps_its_numbers() -> None:
    found = of("1 2 3 unknown NA")
    assert found["types"] == {"integer": 3, "text": 1}
    assert (found["missing"], found["min"], found["max"], found["mean"]) == (1, 1, 3, 2)


# How it is written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_out(delimiter: str) -> None:
    rows = [("name", "note", "amount"), ("Ada", "one, two; three", "1"), ("Bob", '"a | b"', "2")]
    output = summary("\n".join(delimiter.join(f'"{c}"' if c.count(" ") else c for c in row) for row in rows))
    assert (output["delimiter"], len(output["columns"])) == (delimiter, 3)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_is_one(end: str) -> None:
    output = summary(end.join(["a,b", "1,2", "", '"x\ny",4', ""]))
    assert (output["rows"], output["ragged_rows"]) == (2, 0)


def test_quotes_hold_delimiters_line_ends_and_quotes() -> None:
    assert column('a,b\n"x, ""y""\nz",1\n')["top"][0]["value"] == 'x, "y"\nz'


@pytest.mark.parametrize(
    ("data", "headers", "encoding"),
    [
        ("é,b\n".encode(), [], "utf-8"),
        ("\ufeffé,b\n".encode(), [], "utf-8-sig"),
        ("\ufeffé,b\n".encode("utf-16-le"), [], "utf-16"),
        ("\ufeffé,b\n".encode("utf-16-be"), [], "utf-16"),
        ("\ufeffé,b\n".encode("utf-32-le"), [], "utf-32"),
        ("é,b\n".encode("cp1252"), [], "cp1252"),
        ("é,b\n".encode("cp850"), ["Content-Type: text/csv; charset=cp850"], "cp850"),
        ("é,b\n".encode(), ["Content-Type: text/csv; charset=nonsense"], "utf-8"),
    ],
)
def test_the_encoding_is_found_out(serve: Serve, data: bytes, headers: list[str], encoding: str) -> None:
    output = csv_summary({"url": serve(answering(ok(data, *headers))).url}, Run().env)
    assert (output["encoding"], output["columns"][0]["name"]) == (encoding, "é")


# By URL ------------------------------------------------------------------------------------------------------------


def test_a_csv_is_read_from_a_url_and_no_log_line_holds_its_path(serve: Serve) -> None:
    run = Run()
    peer = serve(answering(ok(b"a,b\n1,2\n")))
    assert csv_summary({"url": f"{peer.url}/hunter2.csv?key=hunter2"}, run.env)["rows"] == 1
    assert run.lines[0] == f"Reading a CSV from {peer.url}"
    assert "hunter2" not in "".join(run.lines)


def test_a_large_csv_is_summed_up_in_bounded_memory_with_progress(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("examples.csv_summary.handler._SECONDS_BETWEEN_REPORTS", 0)
    rows = 20_000

    def talk(sock: socket.socket) -> None:
        read_request(sock)
        head = "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n"
        sock.sendall(head.format(4 + rows * 108).encode() + b"a,b\n")
        for first in range(0, rows, 1000):
            block = (f"{n:08d}{'x' * 90}y,{n % 7:07d}\n" for n in range(first, first + 1000))
            sock.sendall("".join(block).encode())

    run = Run()
    tracemalloc.start()
    output = csv_summary({"url": serve(talk).url, "top": 1}, run.env)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert output["rows"] == rows
    assert output["columns"][0]["distinct"] is None
    assert output["columns"][1]["top"] == [{"value": "0000000", "count": 2858}]
    assert peak < 5_000_000
    fractions = [fraction for fraction, _ in run.progress]
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] < 0.1
    assert 0.9 < fractions[-1] <= 1
    assert run.progress[0][1] == "1000 rows read"


@pytest.mark.parametrize(
    ("answer", "kind", "sentence"),
    [
        (b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n", ValueError, "answered 404; it must answer 200 with the CSV"),
        (b"HTTP/1.1 302 X\r\nContent-Length: 0\r\n\r\n", ValueError, "answered 302, a redirect; give the address"),
        (ok(b"PK\x03\x04\x14\x00"), ValueError, "this is no CSV, but an Excel workbook or a zip file; save it as CSV"),
        (ok(b"\x1f\x8b\x08"), ValueError, "a gzip file; unpack it"),
        (ok(b"\n <!doctype html>"), ValueError, "a web page; give the address of the file itself"),
        (ok(b""), ValueError, "the CSV is empty"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\na,b\n1,2\n", OutboundFailed, "broke off"),
    ],
)
def test_an_answer_that_is_no_csv_fails_with_a_sentence_that_helps(
    serve: Serve, answer: bytes, kind: type[Exception], sentence: str
) -> None:
    with pytest.raises(kind) as error:
        csv_summary({"url": f"{serve(answering(answer)).url}/hunter2"}, Run().env)
    assert sentence in str(error.value)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_csv_beyond_the_most_bytes_is_refused_and_not_described_in_part(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, is_packed: bool
) -> None:
    monkeypatch.setattr("examples.csv_summary.handler._MAX_CSV_BYTES", 100_000)
    for rows, fits in ((9_000, True), (10_000, False)):
        data = b"a,b\n" + b"1234,56789\n" * rows
        answer = ok(gzip.compress(data), "Content-Encoding: gzip") if is_packed else ok(data)
        url = serve(answering(answer)).url
        if fits:
            assert csv_summary({"url": url}, Run().env)["rows"] == rows
        else:
            with pytest.raises(ValueError, match=r"larger than 100,000 bytes \(unpacked\); give it in parts"):
                csv_summary({"url": url}, Run().env)


@pytest.mark.usefixtures("private_refused")
def test_a_private_address_is_refused_unless_allowed(serve: Serve) -> None:
    peer = serve(answering(ok(b"a,b\n1,2\n")))
    with pytest.raises(AddressRefused):
        csv_summary({"url": peer.url}, Run().env)
    assert peer.connections == 0


# Hostile tables ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("csv", "sentence"),
    [
        ("a,b\n1," + "x" * 1_100_000, "a line longer than 1 MiB"),
        ("a,b\n1," + "x" * 200_000, "line 2 of the CSV: field larger than field limit (131072); perhaps a quote"),
        ('a,b\n1,"' + "x\n" * 100_000, "perhaps a quote is not closed"),
        ("a,b\n" + ('"' + "y" * 60_000 + '\n",') * 100, "the row is longer than 4 MiB"),
        (",".join("x" * 1_001), "the CSV has 1001 columns; at most 1000 are described"),
        ("\n\n  \n".replace(" ", ""), "the CSV is empty"),
        ("", "the CSV is empty"),
        ("\ufeff", "the CSV is empty"),
    ],
)
def test_what_cannot_be_read_fails_with_a_sentence_that_helps(csv: str, sentence: str) -> None:
    with pytest.raises(ValueError) as error:
        summary(csv)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    "csv",
    [
        "a\x00b,c\n\x00,1\n",
        "\ud800,b\n\udfff,1\n",
        '"""\n',
        ",,,\n,,,\n",
        "a\n" + "9" * 100_000 + "\n",
        "a\n1e99999\n-1e999\n",
        "\x0b\x0c\x1c\x85\u2028,b\n1,2\n",
    ],
    ids=lambda text: ascii(text)[:50],
)
def test_strange_characters_are_described_like_others(csv: str) -> None:
    assert summary(csv)["columns"]


@pytest.mark.parametrize("character", ["x", "\x01"])
def test_the_output_always_fits_a_job(character: str) -> None:
    widths = range(1000)
    header = ",".join(f"{n}{character * 150}" for n in widths)
    rows = "\n".join(",".join(f"{n}{character * 110}" for _ in widths) for n in range(4))
    output = summary(f"{header}\n{rows}\n", top=100)
    assert len(json.dumps(output)) < 1_048_576
    assert len(output["columns"]) == 1000


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "input must have either csv, a text with the CSV itself, or url"),
        ({"csv": "a", "url": "http://x.example"}, "input must have either csv"),
        ({"csv": 5}, "input.csv must be a text with the CSV itself"),
        ({"url": 5}, "input.url must be a text, not a number"),
        ({"csv": "a", "delimiter": ""}, 'input.delimiter must be one character such as ";"'),
        ({"csv": "a", "decimal": ";"}, 'input.decimal must be "." or ","'),
        ({"csv": "a", "header": 1}, "input.header must be true (the first row holds the names) or false"),
        ({"csv": "a", "encoding": "../x"}, "input.encoding must be the name of a character set"),
        ({"csv": "a", "top": 101}, "input.top must be a whole number from 0 to 100"),
        ({"cvs": "a"}, "input.cvs is not known; this worker takes csv, url, delimiter"),
    ],
)
def test_a_wrong_input_fails_with_a_sentence_that_helps(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as error:
        csv_summary(given, Run().env)
    assert str(error.value).startswith(sentence)
