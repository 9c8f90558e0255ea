"""The known name that a mistyped one is probably meant to be."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

#: Characters of a name that are compared, because the time of a comparison grows with their square; and names.
_MAX_CHARACTERS = 100
_MAX_NAMES = 500


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns a question with the known name that is the most similar, after a space; empty if none is similar.

    At most 500 names are compared.
    """
    if len(name) > _MAX_CHARACTERS:
        return ""
    # Imported here, because few programs need it.
    import difflib

    names = [each for each in islice(known, _MAX_NAMES) if len(each) <= _MAX_CHARACTERS]
    similar = difflib.get_close_matches(name, names, n=1)
    return f" Did you mean {similar[0]}?" if similar else ""
