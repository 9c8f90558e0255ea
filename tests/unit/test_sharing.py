"""The folder that processes share for their counters: it exists while they live."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ava.metrics.sharing import shared_counters


def test_the_folder_exists_while_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    with shared_counters():
        (folder,) = tmp_path.iterdir()
        assert os.environ["PROMETHEUS_MULTIPROC_DIR"] == str(folder)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_process_is_deleted_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    (tmp_path / f"ava-counters-{2**22 + 1}-left").mkdir()
    (tmp_path / f"ava-counters-{os.getppid()}-lives").mkdir()
    with shared_counters():
        assert len(list(tmp_path.glob("ava-counters-*"))) == 2
    assert [folder.name for folder in tmp_path.iterdir()] == [f"ava-counters-{os.getppid()}-lives"]
