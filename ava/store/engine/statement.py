"""The type of the store's statements, each as it is sent to PostgreSQL."""

from __future__ import annotations


class Statement(str):
    """A whole statement with named parameters, `%(name)s`, as a constant of its module.

    `python -m ava.store.statements` prints every one. It is a `str`, so running it costs nothing more.
    """

    __slots__ = ()
