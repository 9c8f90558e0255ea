"""`python -m tools.pages`: checks the pages of these docs, and prints how long they are; `--wrap FILE …` wraps lines.

It checks the links and anchors of every page of the project, and of docs/ and README.md the code blocks and the length
of lines. `tools/size.py` bounds the words.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
#: Characters of a line; a table's row, a heading and a line that cannot be broken may be longer.
MAX_LINE_CHARACTERS = 100

_LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
_ITEM = re.compile(r"(\s*)([-*]|\d+\.)\s+")
#: What would begin a list, a heading or a quotation at the start of a line.
_MARK = re.compile(r" (?=(?:[-+*#>|]|\d+[.)])(?: |$))")
_SENTENCE_END = re.compile(r"(?<=[.!?])[)*\"]*\s+(?=[A-Z`*\[\"(])")
_JOINED = "\0"


@dataclass(frozen=True)
class Block:
    """Lines of a page that belong together; `language` is that of a code block, None of prose."""

    kind: str
    lines: list[str]
    first: int
    language: str | None = None


def pages_of_project() -> list[Path]:
    """Returns every page whose links are checked."""
    capacities = ("*.md", "docs/**/*.md", "bench/*.md", "chaos/*.md", "clients/**/*.md", "ava/**/README.md")
    foreign = {"static", "node_modules"}
    return sorted({page for capacity in capacities for page in ROOT.glob(capacity) if not foreign & set(page.parts)})


def pages_of_docs() -> list[Path]:
    """Returns the pages that users read."""
    return [*sorted(DOCS.glob("**/*.md")), ROOT / "README.md"]


def blocks(markdown: str) -> Iterator[Block]:
    """Returns a page's blocks: `code`, `table`, `heading`, `item`, `prose` and `blank`."""
    lines = markdown.split("\n")
    number, is_in_list = 0, False
    while number < len(lines):
        block = _block_at(lines, number, is_in_list=is_in_list)
        if block.kind != "blank":
            is_in_list = block.kind == "item" or (is_in_list and block.lines[0].startswith(" "))
        yield block
        number += len(block.lines)


def _block_at(lines: list[str], first: int, *, is_in_list: bool) -> Block:
    line = lines[first]
    if line.strip().startswith("```"):
        end = next(n for n in range(first + 1, len(lines)) if lines[n].strip() == "```")
        return Block("code", lines[first : end + 1], first, line.strip()[3:])
    if not line.strip():
        return Block("blank", [line], first)
    if line.startswith("    ") and not is_in_list:
        return _block_while(lines, first, "code", lambda each: each.startswith("    "))
    for kind, mark in (("heading", "#"), ("table", "|"), ("comment", "<!--"), ("comment", "!["), ("comment", "<")):
        if line.lstrip().startswith(mark):
            return Block(kind, [line], first)
    kind = "item" if _ITEM.match(line) else "prose"
    return _block_while(lines, first, kind, _goes_on)


def _block_while(lines: list[str], first: int, kind: str, goes_on: Callable[[str], bool]) -> Block:
    end = first + 1
    while end < len(lines) and goes_on(lines[end]):
        end += 1
    return Block(kind, lines[first:end], first)


def _goes_on(line: str) -> bool:
    return bool(line.strip()) and not (line.lstrip().startswith(("```", "|", "#", "<!--")) or _ITEM.match(line))


def wrapped(markdown: str) -> str:
    """Returns the page with the lines of its prose filled up to the most characters of a line."""
    return "\n".join(line for block in blocks(markdown) for line in _wrapped_lines(block))


def _wrapped_lines(block: Block) -> list[str]:
    if block.kind not in ("item", "prose"):
        return block.lines
    start = _ITEM.match(block.lines[0])
    indent = re.match(r"\s*", block.lines[0]).group()  # type: ignore[union-attr]
    head = start.group() if start else indent
    prose = " ".join(line.strip() for line in block.lines)[len(head.lstrip()) :]
    prose = re.sub(r"`[^`]{1,96}`", lambda code: code.group().replace(" ", _JOINED), prose)
    prose = _MARK.sub(_JOINED, prose)
    filled = textwrap.fill(
        prose,
        MAX_LINE_CHARACTERS,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return filled.replace(_JOINED, " ").split("\n")


def anchors(markdown: str) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub and the site make them."""
    found: set[str] = set()
    for block in blocks(markdown):
        if block.kind == "heading":
            title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", block.lines[0].lstrip("# "))
            anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            found.add(next(each for each in _numbered(anchor) if each not in found))
    return found


def _numbered(anchor: str) -> Iterator[str]:
    yield anchor
    for number in range(1, 100):
        yield f"{anchor}-{number}"


def wrong_links(page: Path) -> Iterator[str]:
    """Returns a sentence for each link of a page that leads nowhere."""
    for block in blocks(page.read_text()):
        for link, anchor in _LINK.findall("\n".join(block.lines)) if block.kind != "code" else ():
            if ":" in link or link.startswith("/"):
                continue
            target = page.parent / link if link else page
            if not target.exists():
                yield f"line {block.first + 1}: {link} does not exist"
            elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text()):
                yield f"line {block.first + 1}: {link} has no heading #{anchor}"


def wrong_code(page: Path) -> Iterator[str]:
    """Returns a sentence for each code block of a page that its language cannot read."""
    for block in blocks(page.read_text()):
        if block.kind == "code" and block.language:
            code = textwrap.dedent("\n".join(block.lines[1:-1])) + "\n"
            if problem := _problem_of(block.language, code):
                yield f"line {block.first + 1}: {problem}"


def _problem_of(language: str, code: str) -> str | None:
    try:
        if language == "python":
            compile(code, "page", "exec")
        elif language == "json" and "…" not in code:
            json.loads(code)
        elif language == "toml":
            tomllib.loads(code)
        elif language == "yaml":
            list(yaml.safe_load_all(code))
        elif language in ("sh", "bash"):
            subprocess.run(("bash", "-n"), input=code, text=True, check=True, capture_output=True)
    except (SyntaxError, ValueError, yaml.YAMLError) as problem:
        return f"{language}: {problem}"
    except subprocess.CalledProcessError as problem:
        return f"{language}: {problem.stderr.strip()}"
    return None


def too_long(page: Path) -> Iterator[str]:
    """Returns a sentence for each line of a page that is too long."""
    markdown = page.read_text()
    for block in blocks(markdown):
        for number, line in enumerate(block.lines if block.kind in ("item", "prose") else ()):
            if len(line) > MAX_LINE_CHARACTERS and line not in _wrapped_lines(block):
                where = f"line {block.first + number + 1}"
                yield f"{where}: {len(line)} characters; `python -m tools.pages --wrap FILE` wraps them"


def not_in_site(page: Path) -> Iterator[str]:
    """Returns a sentence if the navigation of the site lacks a page."""
    if page.is_relative_to(DOCS) and str(page.relative_to(DOCS)) not in (ROOT / "mkdocs.yml").read_text():
        yield "mkdocs.yml does not name it"


def paragraphs(markdown: str) -> list[str]:
    """Returns the paragraphs and list items of a page."""
    return [" ".join(block.lines) for block in blocks(markdown) if block.kind in ("item", "prose")]


def sentences(markdown: str) -> list[str]:
    """Returns the sentences of a page's paragraphs."""
    return [each for paragraph in paragraphs(markdown) for each in _SENTENCE_END.split(paragraph)]


def print_figures(pages: list[Path]) -> None:
    """Print how long the pages are, and which are the longest."""
    sources = {_name(page): page.read_text() for page in pages}
    total = sum(len(markdown.split()) for markdown in sources.values())
    print(f"{len(sources)} pages, {total:,} words")
    for what, parts in (("page", lambda markdown: [markdown]), ("paragraph", paragraphs), ("sentence", sentences)):
        words, name, part = max(
            (len(part.split()), name, part) for name, markdown in sources.items() for part in parts(markdown)
        )
        print(f"longest {what}: {words:,} words, {name}" + (f": {part.strip()[:60]}…" if what != "page" else ""))


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT)) if page.is_relative_to(ROOT) else page.name


def problems() -> Iterator[str]:
    """Returns a line for each thing that is wrong with a page."""
    for page in pages_of_project():
        yield from (f"{_name(page)}: {each}" for each in wrong_links(page))
    for page in pages_of_docs():
        for check in (wrong_code, too_long, not_in_site):
            yield from (f"{_name(page)}: {each}" for each in check(page))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wrap", nargs="+", type=Path, metavar="FILE", help="wrap the lines of these pages")
    for page in parser.parse_args().wrap or ():
        page.write_text(wrapped(page.read_text()))
    found = list(problems())
    print(*found, sep="\n", end="\n" if found else "")
    print_figures([page for page in pages_of_docs() if page.is_relative_to(DOCS)])
    return 1 if found else 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
