"""The hook of the docs' site: neighbouring examples are tabs, and each page is listed and written as Markdown."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from harness.system import ROOT

_PAGE = """# A page

```sh
curl "$AVA_URL"
```

```python
client.jobs.list()

client.close()
```

[Limits](../reference/limits.md)

```python
one = 1
```

```python
two = 2
```
"""


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The hook without MkDocs, which only `make docs` installs."""
    for name in ("mkdocs", "mkdocs.structure", "mkdocs.structure.files"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys.modules["mkdocs.structure.files"], "File", object, raising=False)
    monkeypatch.delitem(sys.modules, "tools.site.hook", raising=False)
    return import_module("tools.site.hook")


@pytest.fixture
def config(tmp_path: Path) -> Any:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2])
    extra = {"repository": "https://example.com"}
    return SimpleNamespace(site_name="Docs", site_description="All.", site_dir=str(tmp_path), nav=nav, extra=extra)


def test_examples_in_different_languages_are_tabs_and_steps_in_one_language_are_not(hook: Any, config: Any) -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="how-to/page.md"))
    shown = hook.on_page_markdown(_PAGE, page, config)
    assert '=== "curl"\n\n    ```sh\n    curl "$AVA_URL"\n    ```\n\n=== "Python"\n\n    ```python\n    client' in shown
    assert "    client.jobs.list()\n\n    client.close()\n    ```\n" in shown
    assert "\n```python\none = 1\n```\n\n```python\ntwo = 2\n```\n" in shown


def test_the_markdown_beside_the_html_has_no_tabs(hook: Any, config: Any) -> None:
    hook.on_page_markdown(_PAGE, SimpleNamespace(file=SimpleNamespace(src_uri="how-to/page.md")), config)
    assert Path(config.site_dir, "how-to/page.md").read_text() == _PAGE


def test_llms_txt_lists_each_page_with_its_first_sentence(hook: Any, config: Any) -> None:
    hook.on_env(None, config)
    listed = Path(config.site_dir, "llms.txt").read_text()
    pages = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if f"]({page})" not in listed] == []
    assert "- [Quickstart](start/quickstart.md): From nothing to your own handler in five minutes.\n" in listed
