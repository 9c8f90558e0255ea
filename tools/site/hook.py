"""A hook of MkDocs for the site of docs/ (`make docs`).

The site also has the pages that lie beside the code. Links lead where they lead in the repository, and nothing is
loaded from another server.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent.parent
#: Pages outside docs/ that the site has below project/.
PAGES = (
    *("CHANGELOG.md", "CONTRIBUTING.md", "bench/README.md", "bench/RESULTS.md", "bench/NOTES.md"),
    *("chaos/README.md", "chaos/RESULTS.md", "chaos/THREATS.md"),
)
_WORKER = "assets/javascripts/iframe-worker.js"
#: Code in a row of a table. GitHub wants its strokes escaped, and MkDocs shows the escape.
_CODE_IN_ROW = re.compile(r"(?<=\|)[^\n]*`[^`\n]*\\\|[^\n]*(?=\|$)", re.MULTILINE)
_LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages beside the code, and our own copy of the script that the plugin `offline` would load."""
    for page in PAGES:
        files.append(File.generated(config, f"project/{page}", abs_src_path=str(ROOT / page)))
    files.append(File.generated(config, _WORKER, abs_src_path=str(Path(__file__).with_name("iframe_worker.js"))))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Returns a page whose links lead to pages of the site, or to files of the repository."""
    here = page.file.src_uri
    path = here.removeprefix("project/") if here.startswith("project/") else f"docs/{here}"

    def lead(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link[1]))
        if target.startswith("docs/"):
            target = target.removeprefix("docs/")
        elif target in PAGES:
            target = f"project/{target}"
        else:
            return f"]({config.extra['repository']}/blob/main/{target}{link[2] or ''})"
        return f"]({posixpath.relpath(target, posixpath.dirname(here) or '.')}{link[2] or ''})"

    return _LINK.sub(lead, _CODE_IN_ROW.sub(lambda row: re.sub(r"`[^`]*`", _unescaped, row[0]), markdown))


def _unescaped(code: re.Match[str]) -> str:
    return code[0].replace(r"\|", "|")
