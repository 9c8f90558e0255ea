"""The two kinds of defects: in the text of a statement, and in the source of a function that decides."""

from __future__ import annotations

import ast
import importlib
import inspect
import operator
import re
import textwrap
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType

from ava.store.statements import all_statements


def _replaced(sql: str, old: str, new: str) -> str:
    """Return a text with each occurrence of `old` replaced, whatever the white space between its words."""
    pattern = r"\s+".join(map(re.escape, old.split()))
    return re.sub(pattern, lambda _: new, sql)


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A defect of statements: the recorder sends the changed text."""

    name: str
    #: The last parts of the names of the statements.
    statements: Sequence[str]
    #: The text that is replaced, whatever its white space, and what replaces it.
    old: str
    new: str

    def change(self, names: Collection[str], sql: str) -> str:
        """Return the text of statements, with the defect if it is one of these."""
        if not any(name.rpartition(".")[2] in self.statements for name in names):
            return sql
        return _replaced(sql, self.old, self.new)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Change nothing in this process. Raises `ValueError` if it leaves one of its statements as it is."""
        unchanged = set(self.statements) - {name.rpartition(".")[2] for name in self.changed}
        if unchanged:
            raise ValueError(f"{self.name}: {sorted(unchanged)} do not contain {self.old!r}")
        yield

    @property
    def changed(self) -> list[str]:
        """Return the names of the statements that it changes."""
        return [name for name, sql in all_statements().items() if self.change([name], str(sql)) != str(sql)]


@dataclass(frozen=True, kw_only=True)
class FunctionMutant:
    """A defect of one function of `ava`: its code is replaced in place, so that each module which imported it sees it.

    Only the body counts: a default of a parameter and a decorator are evaluated when the module is imported.
    """

    name: str
    #: The module and the function's name in it, as in `ava.domain.jobs.retry:Retry.delay_seconds`.
    function: str
    #: The source that is replaced, whatever its white space, and what replaces it.
    old: str
    new: str

    def change(self, names: Collection[str], sql: str) -> str:
        """Return the statement unchanged."""
        return sql

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Run with the defect. Raises `ValueError` if it changes nothing."""
        if not self.changed:
            raise ValueError(f"{self.name}: {self.function} does not contain {self.old!r} in its body")
        function = self._function
        code = function.__code__
        function.__code__ = self._changed_code()
        try:
            yield
        finally:
            function.__code__ = code

    @property
    def changed(self) -> list[str]:
        """Return the name of the function if its body is another one with the defect."""
        source = textwrap.dedent(inspect.getsource(self._function))
        return [] if _body(source) == _body(_replaced(source, self.old, self.new)) else [self.function]

    @property
    def _function(self) -> FunctionType:
        module, _, name = self.function.partition(":")
        found = operator.attrgetter(name)(importlib.import_module(module))
        if not isinstance(found, FunctionType) or hasattr(found, "__wrapped__"):
            raise TypeError(f"{self.function} is no plain function, so that its code cannot be replaced")
        return found

    def _changed_code(self) -> CodeType:
        """Compile the function within its module, because a method needs its class's variables and flags."""
        function = self._function
        lines, first = inspect.getsourcelines(function)
        module = inspect.getsource(importlib.import_module(function.__module__)).splitlines(keepends=True)
        before, after = module[: first - 1], module[first - 1 + len(lines) :]
        changed = _replaced("".join(lines), self.old, self.new)
        compiled = compile("".join([*before, changed, *after]), function.__code__.co_filename, "exec")
        return next(code for code in _codes(compiled) if code.co_qualname == function.__qualname__)


def _body(source: str) -> list[str]:
    """Return the statements of a function, without their positions, comments and docstring."""
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    skipped = ast.get_docstring(function) is not None
    return [ast.dump(statement) for statement in function.body[skipped:]]


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)
