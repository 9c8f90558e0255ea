"""The figures of faults in the pages are those of `chaos/RESULTS.md`."""

from __future__ import annotations

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


_MEASURED = _measured()


def _shown(page: str, count: int) -> list[list[str]]:
    """Returns the rows of a page that name a fault. They are so many, so none is left out because of its name."""
    found = [row for row in _rows(page) if row[0] in _MEASURED]
    assert len(found) == count
    return found


def test_the_page_on_recovery_has_both_brokers_figures() -> None:
    for fault, promised, recovered in _shown("docs/explain/recovery.md", 5):
        assert (promised, recovered.split(", ")) == _MEASURED[fault]


def test_the_page_on_high_availability_has_a_figure_of_each_fault() -> None:
    for fault, recovered, promised in _shown("docs/how-to/high_availability.md", 6):
        assert promised == _MEASURED[fault][0]
        assert recovered.split(";")[0].removesuffix(" after the promotion") in _MEASURED[fault][1]
