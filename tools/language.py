"""`python -m tools.language [PATH …]`: print each phrase of code and pages that is no plain English.

Plain English names the component and lets it act. These phrases avoid the subject ("what waits", "those that") or are
vague ("is over", "goes on"). `make check` counts them per 10,000 words (`sizes.toml`).
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parent.parent
_PATHS = ("docs", "README.md", "CHANGELOG.md", "ava")
_PHRASE = re.compile(
    r"""\b(?:(?<!\?)what\s+(?!is\s+the\b|are\s+the\b|happens\b|if\b|about\b|do\s+you\b|does\b|did\b)
    |(?:whose|those|that\s+of|(?:one|none)\s+(?:that|of)|(?:is|are|was)\s+over|go(?:es)?\s+on|comes?|at\s+once|beside
    |so\s+(?:many|much)|of\s+(?:its|their|one's)\s+own|anew|likewise|alone|as\s+well|meanwhile|moments?|texts?|else
    |looks?|kept|says|somebody|nobody|whoever|anybody|(?:by|of|in|for|to|from|with|after|at)\s+(?:which|what|whom))\b)""",
    re.IGNORECASE | re.VERBOSE,
)
_SQL = re.compile(r"\b(SELECT|UPDATE|INSERT|DELETE|WHERE|FROM|JOIN|CREATE|RETURNING|EXISTS|AND|AS|ELSE|LIMIT|SET)\b")
_CODE = re.compile(r"^```.*?^```|^ {4}[^\n]*$|`[^`]*`|\]\([^)\s]*\)|https?://\S+", re.DOTALL | re.MULTILINE)
_JAVASCRIPT = re.compile(r"""(?:^|\s)//\s(.*)|"([^"]* [^"]*)"|'([^']* [^']*)'|`([^`]* [^`]*)`""")
#: A string with fewer spaces is a name and not a message.
_MIN_SPACES = 3


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Return the comments, docstrings, messages and paragraphs of a file, each with the number of its first line."""
    if path.suffix not in (".md", ".sql", ".js", ".py") or "swagger-ui" in path.parts:
        return
    content = path.read_text()
    lines = list(enumerate(content.splitlines(), 1))
    if path.suffix == ".md":
        yield 1, _CODE.sub(lambda code: re.sub(r"[^\n]", " ", code[0]), content)
    elif path.suffix == ".sql":
        yield from _joined((number, line.strip("- ")) for number, line in lines if line.lstrip().startswith("--"))
    elif path.suffix == ".js":
        for number, line in lines:
            yield from ((number, re.sub(r"\$\{[^}]*\}", "X", "".join(parts))) for parts in _JAVASCRIPT.findall(line))
    else:
        tokens = tokenize.generate_tokens(io.StringIO(content).readline)
        comments = ((each.start[0], each.string.lstrip("#: ")) for each in tokens if each.type == tokenize.COMMENT)
        yield from _joined((number, each) for number, each in comments if not re.match(r"noqa|type:|fmt:", each))
        yield from _strings(ast.parse(content))


def _strings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    nodes = list(ast.walk(tree))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        is_message = (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.count(" ") >= _MIN_SPACES
        )
        if is_message and (id(node) in docstrings or not _SQL.search(node.value)):
            yield node.lineno, node.value


def _joined(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Join lines that follow each other, because a phrase may wrap."""
    for _, run in groupby(enumerate(lines), lambda item: item[1][0] - item[0]):
        numbered = [line for _, line in run]
        yield numbered[0][0], "\n".join(line for _, line in numbered)


def _files(paths: tuple[str, ...]) -> list[Path]:
    named = [ROOT / path for path in paths]
    return sorted(
        {file for path in named for file in ([path] if path.is_file() else path.rglob("*.*")) if file.is_file()}
    )


def density(paths: tuple[str, ...] = _PATHS) -> int:
    """Return the phrases per 10,000 words."""
    found = [text for path in _files(paths) for _, text in prose(path)]
    return round(
        sum(len(_PHRASE.findall(text)) for text in found) * 10_000 / max(1, sum(len(text.split()) for text in found))
    )


def main() -> None:
    """Print each phrase with its file, line and surroundings."""
    for path in _files(tuple(sys.argv[1:]) or _PATHS):
        for number, text in prose(path):
            for match in _PHRASE.finditer(text):
                around = " ".join(text[max(0, match.start() - 40) : match.end() + 40].split())
                print(f"{path.relative_to(ROOT)}:{number + text.count(chr(10), 0, match.start())}: {around}")


if __name__ == "__main__":
    main()
