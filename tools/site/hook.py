"""A hook of MkDocs for the site of docs/ (`make docs`).

The site also has the pages that lie beside the code, and those that `reference.py` writes from it. Links lead where
they lead in the repository, and nothing is loaded from another server. Neighbouring examples for curl, Python and
TypeScript are tabs. Each page is also there as Markdown (`start/quickstart.md` beside `start/quickstart.html`), and
`llms.txt` lists these for language models (https://llmstxt.org).
"""

from __future__ import annotations

import posixpath
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent.parent
# MkDocs loads this file by its path.
sys.path.insert(0, str(ROOT))

from tools.site import reference  # noqa: E402 - it is found by the path above

DOCS = ROOT / "docs"
#: Pages outside docs/ that the site has below project/.
PAGES = (
    *("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "bench/README.md", "bench/RESULTS.md", "bench/NOTES.md"),
    *("chaos/README.md", "chaos/RESULTS.md", "chaos/THREATS.md"),
    *("ava/README.md", "ava/dispatcher/feed/README.md", "ava/node/README.md"),
    *("ava/store/jobs/transitions/README.md", "ava/store/containments/README.md"),
)
#: The pages that are written from the code, by their paths below docs/.
_WRITTEN = reference.pages()
_WORKER = "assets/javascripts/iframe-worker.js"
#: Code in a row of a table. GitHub wants its strokes escaped, and MkDocs shows the escape.
_CODE_IN_ROW = re.compile(r"(?<=\|)[^\n]*`[^`\n]*\\\|[^\n]*(?=\|$)", re.MULTILINE)
#: A link, whose words remain.
_LINKED = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
#: The title of an example's tab, by the language of its block.
_TABS = {"sh": "curl", "python": "Python", "ts": "TypeScript"}
_EXAMPLE = rf"```({'|'.join(_TABS)})\n(?:(?!```).*\n)*```\n"
_EXAMPLES = re.compile(rf"^{_EXAMPLE}(?:\n{_EXAMPLE})+", re.MULTILINE)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages beside the code and from it, and our copy of the script that the plugin `offline` would load."""
    for page in PAGES:
        files.append(File.generated(config, f"project/{page}", abs_src_path=str(ROOT / page)))
    for path, markdown in _WRITTEN.items():
        files.append(File.generated(config, path, content=markdown))
    files.append(File.generated(config, _WORKER, abs_src_path=str(Path(__file__).with_name("iframe_worker.js"))))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Write a page's Markdown beside its HTML. Returns it with tabs for the examples that follow each other."""
    markdown = _with_links(markdown, page, config)
    target = Path(config.site_dir, page.file.src_uri)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(markdown)
    return _EXAMPLES.sub(_in_tabs, markdown)


def _with_links(markdown: str, page: Any, config: Any) -> str:
    """Returns a page whose links lead to pages of the site, or to files of the repository."""
    here = page.file.src_uri
    path = here.removeprefix("project/") if here.startswith("project/") else f"docs/{here}"

    def lead(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link[1]))
        if target in reference.SOURCES:
            target = reference.SOURCES[target]
        elif target.startswith("docs/"):
            target = target.removeprefix("docs/")
        elif target in PAGES:
            target = f"project/{target}"
        else:
            return f"]({config.extra['repository']}/blob/main/{target}{link[2] or ''})"
        return f"]({posixpath.relpath(target, posixpath.dirname(here) or '.')}{link[2] or ''})"

    return _LINK.sub(lead, _CODE_IN_ROW.sub(lambda row: re.sub(r"`[^`]*`", _unescaped, row[0]), markdown))


def _in_tabs(examples: re.Match[str]) -> str:
    """Returns examples as tabs, unless two have the same language and so are steps."""
    found = [(example[1], example[0]) for example in re.finditer(_EXAMPLE, examples[0])]
    if len({language for language, _ in found}) < len(found):
        return examples[0]
    return "\n".join(f'=== "{_TABS[language]}"\n\n{textwrap.indent(code, "    ")}' for language, code in found)


def on_env(env: Any, config: Any, **_: Any) -> Any:
    """Write `llms.txt`: the pages in the order of the navigation, each with its first sentence."""
    lines = [f"# {config.site_name}", "", f"> {config.site_description}"]
    for section in config.nav:
        ((title, inside),) = section.items()
        lines += ["", f"## {title}", "", *_entries(title, inside)]
    Path(config.site_dir).mkdir(parents=True, exist_ok=True)
    Path(config.site_dir, "llms.txt").write_text("\n".join(lines) + "\n")
    return env


def _entries(title: str, inside: Any) -> Iterator[str]:
    """Yield a line for each page of a part of the navigation."""
    if isinstance(inside, str):
        root, name = (ROOT, inside.removeprefix("project/")) if inside.startswith("project/") else (DOCS, inside)
        sentence = _first_sentence(_WRITTEN.get(inside) or (root / name).read_text())
        yield f"- [{title}]({inside})" + (f": {sentence}" if sentence else "")
        return
    for entry in inside:
        for name, below in entry.items():
            yield from _entries(name, below)


def _first_sentence(markdown: str) -> str:
    prose = (block for block in markdown.split("\n\n") if block.strip()[:1].isalpha() or block.startswith("`"))
    prose_line = _LINKED.sub(r"\1", " ".join(next(prose, "").split()))
    return re.split(r"(?<=[.?!:]) (?=[A-Z`])", prose_line)[0].rstrip(":")


def _unescaped(code: re.Match[str]) -> str:
    return code[0].replace(r"\|", "|")
