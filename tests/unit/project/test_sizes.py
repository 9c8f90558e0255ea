"""The size check: what it counts, and when it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import size


@pytest.mark.parametrize(
    ("source", "python", "sql"),
    [
        ('"""A docstring."""\n# A comment.\n\n\nx = 1\n', 3, 0),
        ("name = 1\n", 3, 0),
        ("a_much_longer_name = (\n    1\n)\n", 5, 0),
        ('f(\n    "one two three four five six seven eight"\n)\n', 5, 0),
        ('QUERY = "SELECT a, b FROM t"\n', 2, 8),
        # An f-string is one string in every version of Python.
        ('x = f"{a + b} and {c!r}"\n', 3, 0),
    ],
)
def test_tokens_do_not_depend_on_layout_names_or_comments(tmp_path: Path, source: str, python: int, sql: int) -> None:
    module = tmp_path / "module.py"
    module.write_text(source)
    assert size.tokens(module) == (python, sql)


def test_a_figure_above_its_ceiling_or_far_below_it_is_one_line_that_names_it() -> None:
    assert list(size.problems({"ava.modules": 100}, {"ava.modules": 100})) == []
    assert list(size.problems({"ava.modules": 100}, {"ava.modules": 98})) == []
    (above,) = size.problems({"ava.modules": 100}, {"ava.modules": 101})
    assert "ava.modules is 101" in above
    assert "100 in sizes.toml" in above
    (below,) = size.problems({"ava.modules": 100}, {"ava.modules": 97})
    assert "--lower" in below


def test_lowering_never_raises_a_ceiling_and_keeps_its_reason() -> None:
    content = "[ava]\nmodules = 600  # why\nsql_tokens = 100\n\n[language]\nphrases_per_10000_words = 30"
    figures = dict.fromkeys(size.FIGURES, 200)
    assert size.lowered(content, figures) == (
        "[ava]\nmodules = 201  # why\nsql_tokens = 100\n\n[language]\nphrases_per_10000_words = 30"
    )
