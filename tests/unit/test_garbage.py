"""While a process starts it collects no garbage; from then on it does."""

from __future__ import annotations

import gc

import pytest

from ava.garbage import uncollected


def _import_what_fails() -> None:
    with uncollected():
        assert not gc.isenabled()
        raise ImportError


def test_no_garbage_is_collected_in_the_block_and_again_after_it_even_if_it_fails() -> None:
    try:
        with pytest.raises(ImportError):
            _import_what_fails()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 1_000
    finally:
        gc.unfreeze()
