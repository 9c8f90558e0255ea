"""Each page of the dashboard has a picture, and the docs show it."""

from __future__ import annotations

import pytest

from harness.system import ROOT
from tests.dashboard_pages import PICTURES, pages, picture

PAGE = ROOT / "docs" / "reference" / "dashboard.md"


@pytest.mark.parametrize("page", pages())
def test_each_page_of_the_dashboard_has_a_picture_in_the_docs(page: str) -> None:
    assert picture(page).exists(), "`make pictures` takes the pictures of all pages"
    assert f"](../images/{picture(page).name})" in PAGE.read_text()


def test_no_picture_is_of_a_page_that_does_not_exist() -> None:
    assert {file.stem for file in PICTURES.glob("*.png")} == set(pages())


def test_the_pages_are_those_of_the_frame() -> None:
    assert pages()["overview"] == "#/"
    assert pages()["job"] == "#/jobs/{id}"
    assert len(pages()) > 10
