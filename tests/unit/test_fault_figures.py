"""The figures of faults in the pages are those of `chaos/RESULTS.md`."""

from __future__ import annotations

import pytest

from tools.pages import ROOT


def _rows(page: str) -> list[list[str]]:
    lines = (ROOT / page).read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def _measured() -> dict[str, tuple[str, list[str]]]:
    """Returns of each fault what is promised, and its recovery on each broker that it was tried on."""
    found: dict[str, tuple[str, list[str]]] = {}
    for row in _rows("chaos/RESULTS.md"):
        if row[0] in ("redis", "rabbitmq"):
            fault, recovery, promised = row[1], row[7], row[8]
            found.setdefault(fault, (promised, []))[1].append(recovery)
    return found


def test_the_page_on_recovery_has_both_brokers_figures() -> None:
    measured = _measured()
    shown = {row[0]: (row[1], row[2].split(", ")) for row in _rows("docs/explain/recovery.md") if row[0] in measured}
    assert len(shown) == 5
    assert shown == {fault: measured[fault] for fault in shown}


@pytest.mark.parametrize("row", _rows("docs/how-to/high_availability.md")[-6:], ids=lambda row: row[0])
def test_the_page_on_high_availability_has_the_figure_of_each_fault(row: list[str]) -> None:
    promised, recovered = _measured()[row[0]]
    assert row[2] == promised
    assert row[1].split(";")[0].removesuffix(" after the promotion") in recovered
