"""What `make check` finds wrong in a page, and that wrapping its lines changes no word."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import pages
from tools.pages import anchors, pages_of_docs, wrapped, wrong_code, wrong_links


def _page(folder: Path, markdown: str) -> Path:
    page = folder / "page.md"
    page.write_text(markdown)
    return page


def test_wrapping_a_page_changes_no_word_and_wrapping_again_changes_nothing() -> None:
    for page in pages_of_docs():
        markdown = page.read_text()
        assert wrapped(markdown).split() == markdown.split(), page
        assert wrapped(wrapped(markdown)) == wrapped(markdown), page


def test_wrapping_leaves_code_tables_and_links_as_they_are() -> None:
    code = "    make run     # " + "x" * 120
    table = "| " + "cell " * 40 + "|"
    item = "1. " + "word " * 30 + "`a command` - [a link](page.md#heading)"
    markdown = wrapped(f"# A heading\n\n{code}\n\n{table}\n\n{item}\n")
    assert code in markdown
    assert table in markdown
    lines = markdown.split("\n\n")[-1].strip().split("\n")
    assert len(lines) == 2
    assert lines[1].startswith("   word")
    assert lines[1].endswith("word `a command` - [a link](page.md#heading)")


def test_no_line_begins_with_a_mark_that_it_had_in_the_middle() -> None:
    markdown = wrapped("- " + "word " * 19 + "+ " + "word " * 19 + "2. " + "word " * 30)
    assert not any(line.lstrip().startswith(("+", "2.")) for line in markdown.split("\n"))


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


def test_anchors_are_those_of_the_site_and_of_github() -> None:
    assert anchors("# The `ava` command\n\n## Why, and [how](x.md)?\n\n## Why, and how?\n") == {
        "the-ava-command",
        "why-and-how",
        "why-and-how-1",
    }


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


def test_a_page_that_is_too_long_is_found(tmp_path: Path) -> None:
    page = _page(tmp_path, "word " * (pages.MAX_PAGE_WORDS + 1))
    assert any("3001 words" in each for each in pages.too_long(page))
    assert any("characters" in each for each in pages.too_long(page))


def test_the_pages_of_this_project_have_no_problem() -> None:
    assert list(pages.problems()) == []


def test_the_figures_of_a_page_are_its_words(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = _page(tmp_path, "# A page\n\nOne sentence is here. Another one, too.\n\n- An item of five words.\n")
    pages.print_figures([page])
    printed = capsys.readouterr().out
    assert "1 pages, 16 words" in printed
    assert "longest paragraph: 7 words" in printed
    assert "longest sentence: 6 words" in printed
