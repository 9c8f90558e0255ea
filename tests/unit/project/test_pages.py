"""What `make check` finds wrong in a page, and that wrapping its lines changes no word."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.pages import pages_of_docs, wrapped, wrong_code, wrong_links


def _page(folder: Path, markdown: str) -> Path:
    page = folder / "page.md"
    page.write_text(markdown)
    return page


def test_wrapping_a_page_changes_no_word_and_wrapping_again_changes_nothing() -> None:
    for page in pages_of_docs():
        markdown = page.read_text()
        assert wrapped(markdown).split() == markdown.split(), page
        assert wrapped(wrapped(markdown)) == wrapped(markdown), page


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("[a](gone.md)", "gone.md does not exist"),
        ("[a](#gone)", "has no heading #gone"),
        ("[a](page.md#a-heading-1)", None),
        ("[a](https://example.com/#gone)", None),
        ("```\n[a](gone.md)\n```", None),
    ],
)
def test_a_link_that_leads_nowhere_is_found(link: str, problem: str | None, tmp_path: Path) -> None:
    page = _page(tmp_path, f"# A heading\n\n{link}\n\n## A heading\n")
    found = list(wrong_links(page))
    assert len(found) == (problem is not None)
    assert all(problem in each for each in found if problem)


@pytest.mark.parametrize(
    ("language", "code", "is_wrong"),
    [
        ("python", "def f(:", True),
        ("python", "f(…)", True),
        ("python", "f(1)", False),
        ("json", "{'a': 1}", True),
        ("json", '{"a": …}', False),
        ("toml", "a = ", True),
        ("yaml", "a: [", True),
        ("sh", "if true; then", True),
        ("go", "anything", False),
    ],
)
def test_a_code_block_that_its_language_cannot_read_is_found(
    language: str, code: str, is_wrong: bool, tmp_path: Path
) -> None:
    assert bool(list(wrong_code(_page(tmp_path, f"```{language}\n{code}\n```\n")))) is is_wrong
