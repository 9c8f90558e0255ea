"""The gzip of a response is decoded in bounded pieces."""

import gzip
import itertools
import tracemalloc
import zlib

import pytest

from ava.outbound.http import Decoder


def decoded(data: bytes, *, encoding: str = "gzip", step: int = 1000) -> bytes:
    decoder = Decoder(encoding)
    pieces = [piece for i in range(0, len(data), step) for piece in decoder.decode(data[i : i + step], 4096)]
    decoder.finish()
    assert all(len(piece) <= 4096 for piece in pieces)
    return b"".join(pieces)


@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_gzip_is_decoded_wherever_it_is_cut(step: int) -> None:
    content = b"".join(b"%d," % i for i in range(3000))
    assert decoded(gzip.compress(content), step=step) == content
    assert decoded(gzip.compress(content) + gzip.compress(b"more") + b"\0" * 9, step=step) == content + b"more"


def test_other_encodings_pass_unchanged() -> None:
    assert decoded(b"abc", encoding="br") == decoded(b"abc", encoding="") == b"abc"


def test_an_empty_response_is_valid_gzip() -> None:
    assert decoded(b"") == b""


def test_truncated_or_invalid_gzip_is_an_error() -> None:
    whole = gzip.compress(b"abc" * 100)
    for broken in (whole[:-5], b"not gzip at all", whole[:-8] + bytes(8)):
        with pytest.raises(zlib.error):
            decoded(broken)


def test_a_gzip_bomb_stays_small_in_memory() -> None:
    bomb = zlib.compress(bytes(100_000_000), level=9, wbits=31)
    tracemalloc.start()
    sizes = (len(piece) for piece in Decoder("gzip").decode(bomb, 65_536))
    total = sum(itertools.islice(sizes, 1500))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total > 90_000_000
    assert peak < 1_000_000
