"""The csv_summary handler: a small table to the cell, and a large one in bounded memory."""

from __future__ import annotations

import json
import socket
import tracemalloc
from typing import Any

import pytest

from ava.errors import OutboundFailed
from ava.node.outcome import encode_output
from examples.csv_summary.handler import csv_summary
from harness.servers.peer import Serve, answering, ok, read_request
from tests.unit.handlers import Run

pytestmark = pytest.mark.usefixtures("private_allowed")


def summary(csv: str, **options: Any) -> dict[str, Any]:
    output = csv_summary({"csv": csv, **options}, Run().env)
    encode_output(output)
    return output


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
    ("response", "kind", "sentence"),
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
    serve: Serve, response: bytes, kind: type[Exception], sentence: str
) -> None:
    with pytest.raises(kind) as error:
        csv_summary({"url": f"{serve(answering(response)).url}/hunter2"}, Run().env)
    assert sentence in str(error.value)
    assert "hunter2" not in str(error.value)


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
        ({}, "input must have either csv, a string with the CSV itself, or url"),
        ({"csv": "a", "top": 101}, "input.top must be a whole number from 0 to 100"),
        ({"cvs": "a"}, "input.cvs is unknown; this worker takes csv, url, delimiter"),
        ({"csv": ""}, "the CSV is empty"),
        ({"csv": "a,b\n1," + "x" * 1_100_000}, "a line longer than 1 MiB"),
    ],
)
def test_a_wrong_input_fails_with_a_sentence_that_helps(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as error:
        csv_summary(given, Run().env)
    assert sentence in str(error.value)
