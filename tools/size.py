"""`python -m tools.size`: compare the size of the project with the ceilings of `sizes.toml`; fail above one of them.

It counts units that neither long lines nor short names change: tokens of Python without comments, docstrings and blank
lines, tokens of SQL, words of Markdown, modules. A figure more than 2 % below its ceiling fails too, so that a deletion
lowers the ceiling; `--lower` does that. A ceiling rises only by hand, with the reason in that file.
"""

from __future__ import annotations

import argparse
import ast
import io
import math
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

from tools import language

ROOT = Path(__file__).parent.parent
CEILINGS = ROOT / "sizes.toml"
#: A figure may be this share below its ceiling.
_MAX_SLACK = 0.02
#: `--lower` leaves this share above the figure, so that the next small repair fits.
_SLACK_OF_LOWER = 0.005

_SQL = re.compile(
    r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|CREATE (TABLE|INDEX|FUNCTION)|RETURNING|JOIN|WHERE)\b"
)
_WORD = re.compile(r"\w+|[^\w\s]")
_WITHOUT_SIZE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
#: From Python 3.12 on an f-string is several tokens. It counts as one string in every version.
_FSTRING_START, _FSTRING_END = getattr(tokenize, "FSTRING_START", -1), getattr(tokenize, "FSTRING_END", -1)
_LABORATORY = ("bench", "chaos", "harness", "tools")
_SATELLITES = ("clients", "examples", "workers")


@cache
def files(*folders: str) -> tuple[Path, ...]:
    """Return the files of folders that git tracks, and the new ones that it does not ignore."""
    listed = subprocess.run(
        ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *folders),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return tuple(sorted({path for path in paths if path.is_file() and not path.is_symlink()}))


@cache
def tokens(path: Path) -> tuple[int, int]:
    """Return the tokens of Python and of SQL in a `.py` or `.sql` file. A sentence counts a quarter of its words."""
    source = path.read_text()
    if path.suffix == ".sql":
        return 0, len(_WORD.findall(source))
    docstring_lines = set(_docstring_lines(ast.parse(source)))
    python = sql = 0
    for token in _tokens(source):
        if token.type != tokenize.STRING:
            python += token.type not in _WITHOUT_SIZE
        elif token.start[0] in docstring_lines:
            continue
        elif _SQL.search(token.string):
            sql += len(_WORD.findall(token.string))
        else:
            python += max(1, len(token.string.split()) // 4)
    return python, sql


def _docstring_lines(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                yield from range(first.lineno, (first.end_lineno or first.lineno) + 1)


def _tokens(source: str) -> Iterator[tokenize.TokenInfo]:
    lines, depth, start = source.splitlines(keepends=True), 0, (0, 0)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == _FSTRING_START:
            start = start if depth else token.start
            depth += 1
        elif token.type == _FSTRING_END:
            depth -= 1
            if not depth:
                string = _between(lines, start, token.end)
                yield tokenize.TokenInfo(tokenize.STRING, string, start, token.end, token.line)
        elif not depth:
            yield token


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    if start[0] == end[0]:
        return lines[start[0] - 1][start[1] : end[1]]
    between = lines[start[0] : end[0] - 1]
    return "".join((lines[start[0] - 1][start[1] :], *between, lines[end[0] - 1][: end[1]]))


def _of(suffix: str, paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.suffix == suffix]


def _python(*folders: str) -> int:
    return sum(tokens(path)[0] for path in _of(".py", files(*folders)))


def _sql(*folders: str) -> int:
    return sum(tokens(path)[1] for path in files(*folders) if path.suffix in (".py", ".sql"))


def _words(paths: Iterable[Path]) -> int:
    return sum(len(path.read_text().split()) for path in paths)


def _lines_of_dashboard() -> int:
    own = (path for path in files("ava/api/static") if not {"libraries", "swagger-ui"} & set(path.parts))
    return sum(path.read_text().count("\n") for path in own if path.suffix in (".js", ".css"))


def _pages_beside_code() -> list[Path]:
    return _of(".md", files("ava", "tests", "harness", "tools", *_SATELLITES))


#: Each figure by its name in `sizes.toml`.
FIGURES: dict[str, Callable[[], int]] = {
    "ava.python_tokens": lambda: _python("ava"),
    "ava.sql_tokens": lambda: _sql("ava"),
    "ava.modules": lambda: len(_of(".py", files("ava"))),
    "dashboard.lines": _lines_of_dashboard,
    "tests.python_tokens": lambda: _python("tests"),
    "laboratory.python_tokens": lambda: _python(*_LABORATORY),
    "satellites.python_tokens": lambda: _python(*_SATELLITES),
    "docs.words": lambda: _words(_of(".md", files("docs"))),
    "docs.words_of_longest_page": lambda: max(_words([page]) for page in _of(".md", files("docs"))),
    "notes.words": lambda: _words([*_of(".md", files("bench", "chaos")), ROOT / "CHANGELOG.md"]),
    "readmes.words": lambda: _words(_pages_beside_code()),
}
#: Figures that may be far below their ceilings.
BOUNDS: dict[str, Callable[[], int]] = {"language.phrases_per_10000_words": language.density}


def problems(ceilings: dict[str, int], figures: dict[str, int]) -> Iterator[str]:
    """Return a line for each figure that is above its ceiling, or too far below it."""
    for name, figure in figures.items():
        ceiling = ceilings.get(name)
        if ceiling is None:
            yield f"{name} is {figure:,} and has no ceiling in sizes.toml"
        elif figure > ceiling:
            yield f"{name} is {figure:,}, above its ceiling of {ceiling:,} in sizes.toml: delete something"
        elif name in FIGURES and figure < ceiling * (1 - _MAX_SLACK):
            yield f"{name} is {figure:,}, far below {ceiling:,} in sizes.toml: run `python -m tools.size --lower`"


def lowered(content: str, figures: dict[str, int]) -> str:
    """Return the content of `sizes.toml` with each ceiling lowered to its figure and a little more; none rises."""
    section, lines = "", []
    for line in content.split("\n"):
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section = match[1]
        elif (match := re.match(r"(\w+) = ([\d_]+)", line)) and (name := f"{section}.{match[1]}") in FIGURES:
            lower = math.ceil(figures[name] * (1 + _SLACK_OF_LOWER))
            line = f"{match[1]} = {min(lower, int(match[2])):_}{line[match.end() :]}"  # noqa: PLW2901 - the changed line
        lines.append(line)
    return "\n".join(lines)


def ceilings() -> dict[str, int]:
    """Return the ceilings of `sizes.toml` by `section.name`."""
    sections = tomllib.loads(CEILINGS.read_text())
    return {f"{section}.{name}": value for section, values in sections.items() for name, value in values.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lower", action="store_true", help="lower the ceilings of sizes.toml to today's figures")
    lower = parser.parse_args().lower
    figures = {name: count() for name, count in (FIGURES | BOUNDS).items()}
    if lower:
        CEILINGS.write_text(lowered(CEILINGS.read_text(), figures))
    for name, figure in figures.items():
        print(f"{name:34}{figure:>10,} of {ceilings().get(name, 0):>10,}")
    found = list(problems(ceilings(), figures))
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
