"""Prints how often words that this project avoids occur in ava/ and docs/, as information: no count is a failure."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

WORDS = ("whoever", "nobody", "told", "hears", "let go")
ROOT = Path(__file__).parent.parent

if __name__ == "__main__":
    content = "\n".join(path.read_text() for pattern in ("ava/**/*.py", "docs/**/*.md") for path in ROOT.glob(pattern))
    words = re.findall(rf"\b({'|'.join(WORDS)})\b", content, re.IGNORECASE)
    found = Counter(word.lower() for word in words)
    print("Words to avoid, in ava/ and docs/:", ", ".join(f"{word} {found[word]}" for word in WORDS))
