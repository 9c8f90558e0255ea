"""The head of a request on its way to the parser."""

from __future__ import annotations

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.http.parser import RequestParser

from ava.api.server.request_body import RequestHead, exceeded_limit
from ava.domain.limits import table as limits
from ava.domain.limits.table import Limit

FIRST = b"GET / HTTP/1.1\r\n"


def test_a_head_in_one_piece_goes_to_the_parser_as_it_is() -> None:
    head = FIRST + b"Host: x\r\n\r\nand a body"
    assert RequestHead().add(head) == head


def test_the_rest_of_a_head_in_many_pieces_goes_to_the_parser_at_once() -> None:
    head, sent = RequestHead(), FIRST + b"Host: x\r\nX-A: " + b"a" * 100 + b"\r\n\r\n"
    given = [head.add(sent[index : index + 1]) for index in range(len(sent))]
    assert b"".join(given) == sent
    # The parser checks the request line as it comes.
    assert [piece for piece in given if piece][len(FIRST) :] == [sent[len(FIRST) :]]


@pytest.mark.parametrize("split", range(1, 5))
def test_the_end_of_a_head_may_be_in_two_pieces(split: int) -> None:
    head, end = RequestHead(), b"\r\n\r\n"
    head.add(FIRST)
    held = head.add(b"Host: x" + end[: split % 4])
    assert held + head.add(end[split % 4 :]) == b"Host: x" + end


def test_a_line_that_ends_with_lf_alone_goes_to_the_parser_which_refuses_it() -> None:
    head = RequestHead()
    head.add(FIRST)
    assert head.add(b"Host: x\nX-A: a") == b"Host: x\nX-A: a"


def test_what_follows_the_bytes_that_the_parser_has_already_goes_to_it() -> None:
    # Of a request that came with the one before it, the parser has the first bytes.
    assert RequestHead().add(b"\n\r\n") == b"\n\r\n"
    assert RequestHead().add(b"\r\n") == b"\r\n"


@pytest.mark.parametrize(
    ("piece", "limit"),
    [
        (b"a" * 1_000, limits.HEADER_FIELD_BYTES),
        (b"a" * 4_097, limits.HEADER_FIELD_BYTES),
        (b"X-B: b\r\n" * 5, limits.HEADER_FIELDS),
    ],
)
def test_fields_that_are_too_long_or_too_many_are_refused_before_the_end(piece: bytes, limit: Limit) -> None:
    head = RequestHead()
    head.add(FIRST + b"X-A: ")
    with pytest.raises(LimitRequestHeaders) as refusal:
        list(map(head.add, [piece] * 10))
    assert exceeded_limit(refusal.value) is limit


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        (b"X-A: " + b"a" * 4_097 + b"\r\n", limits.HEADER_FIELD_BYTES),
        (b"X-A: a\r\n" * 41, limits.HEADER_FIELDS),
        # The parser has found the number first.
        (b"X-A: a\r\n" * 40 + b"X-A: " + b"a" * 4_097 + b"\r\n", limits.HEADER_FIELDS),
    ],
)
def test_the_limit_of_a_head_that_the_parser_refuses_is_known(fields: bytes, limit: Limit) -> None:
    config = Config()
    config.set("limit_request_fields", limits.HEADER_FIELDS.value)
    config.set("limit_request_field_size", limits.HEADER_FIELD_BYTES.value)
    parser = RequestParser(config, iter([FIRST + fields + b"\r\n"]), ("127.0.0.1", 1))
    with pytest.raises(LimitRequestHeaders) as refusal:
        next(parser)
    assert exceeded_limit(refusal.value) is limit


def test_the_end_of_the_connection_gives_the_parser_what_is_held() -> None:
    head = RequestHead()
    head.add(FIRST)
    assert head.add(b"Host: ") == b""
    assert head.take() == b"Host: "
    assert head.take() == b""


def test_a_field_that_is_too_long_is_refused_with_the_piece_that_ends_it() -> None:
    head = RequestHead()
    head.add(FIRST + b"X-A: " + b"a" * 4_000)
    with pytest.raises(LimitRequestHeaders):
        head.add(b"a" * 100 + b"\r\nX-B: ")
