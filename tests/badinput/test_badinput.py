"""Bad input is refused: at its place, for its cause, with what to do, in time, and in words for people."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import libecs.config
import libecs.language
import libecs.workflow
from libecs.errors import EcsError, TemplateError
from libecs.language import expression, grammar, matcher
from tests.badinput import conditions, configuration, expansion, expressions, files, forms, late, scripts, shapes
from tests.badinput.row import Row

GROUPS = {
    "expression": expressions.ROWS,
    "condition": conditions.ROWS,
    "yaml": files.ROWS,
    "template": shapes.ROWS,
    "form": forms.ROWS,
    "expansion": expansion.ROWS,
    "late": late.ROWS,
    "configuration": configuration.ROWS,
    "script": scripts.ROWS,
}
ROWS = [pytest.param(row, id=f"{group}-{row.name}") for group, rows in GROUPS.items() for row in rows]
ATTEMPTS = 20
REFERENCE_S = 0.0215
"""CPU time of `reference` on the machine for which the times of rows are meant."""
NOT_FOR_PEOPLE = re.compile(
    r"Traceback|<class|<function|<lambda|object at 0x|frozenset\(|dict_"
    r"|Token\(|Tree\(|Scalar\(|Mapping\(|Mark\(|\bNone\b"
    r"|\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|recursion|RecursionError|KeyError|TypeError|ValueError|AttributeError|errno"
    r"|NoneType|unhashable|codec can't|[\x00-\x08\x0b-\x1f\x7f]"
)
LONGEST = 3000
"""Characters of a whole message."""


def caches() -> Iterator[functools._lru_cache_wrapper[object]]:
    """Go through what remembers compiled input, but not the grammar's own tables."""
    for module in (expression, matcher, grammar):
        for name, found in vars(module).items():
            if hasattr(found, "cache_clear") and name != "_parser":
                yield found


def reference() -> None:
    """Do what takes as long as the machine and its other users make it."""
    found: dict[str, list[int]] = {}
    for number in range(30_000):
        found[str(number % 997)] = [number, *found.get(str(number % 31), ())][:5]


def slowness() -> float:
    """Return how many times slower this machine is now than the one of reference; 1 if it is faster."""
    begin = time.process_time()
    reference()
    return max(1.0, (time.process_time() - begin) / REFERENCE_S)


def refused(row: Row) -> tuple[EcsError, float]:
    """Return the error of a row and the CPU seconds until it came, as on the machine of reference.

    Between attempts it is measured how slow this machine is at the moment.
    """
    best, factor, caught = float("inf"), 1.0, None
    for _ in range(ATTEMPTS):
        for cache in caches():
            cache.cache_clear()
        begin = time.process_time()
        try:
            row.run()
        except EcsError as error:
            caught = error
        best = min(best, (time.process_time() - begin) / factor)
        if caught is None or best <= row.budget_s or row.slow:
            break
        factor = slowness()
    assert caught is not None, "it was taken"
    return caught, best


@pytest.fixture(scope="module", autouse=True)
def grammar_is_made() -> None:
    """The grammar's tables are made once in a process: that is not the cost of any input."""
    grammar.parse("1")


def test_the_table_is_large_and_its_names_are_unique() -> None:
    names = [param.id for param in ROWS]

    assert len(names) >= 200
    assert len(set(names)) == len(names)
    assert min(len(rows) for rows in GROUPS.values()) >= 8


@pytest.mark.parametrize("row", ROWS)
def test_bad_input_is_refused(row: Row) -> None:
    error, seconds = refused(row)

    text = str(error)
    assert error.code == row.code, text
    if row.place:
        assert isinstance(error, TemplateError)
        told = f"{error.file}:{error.line}:{error.column}" if error.file else f":{error.column}"
        assert told == row.place, text
    path = getattr(error, "path", "")
    assert path if row.path == "*" else path == row.path, text
    for fragment in row.says:
        assert fragment in text
    if not row.slow:
        assert seconds <= row.budget_s, f"{seconds * 1000:.0f} ms of CPU time"
    check_words(error, row)


def check_words(error: EcsError, row: Row) -> None:
    """Check that an error is written for people."""
    shown = error.shown()
    lines = shown.splitlines()
    assert len(lines[0]) <= 100, lines[0]
    assert len(shown) <= LONGEST, f"{len(shown)} characters"
    told = "\n".join(line for line in lines if line.strip() != error_excerpt(error))
    for match in NOT_FOR_PEOPLE.finditer(told):
        assert match.group() in row.source, f"{match.group()!r} in {shown}"


def error_excerpt(error: EcsError) -> str:
    """Return the line of the file that is shown: that is the author's, whatever it holds."""
    return error.excerpt.strip() if isinstance(error, TemplateError) else ""


def raises() -> dict[tuple[str, int, int], str]:
    """Return every `raise` of the floors that read input: (file, first line, last line) to its text."""
    found = {}
    packages: tuple[ModuleType, ...] = (libecs.language, importlib.import_module("libecs.workflow"), libecs.config)
    for package in packages:
        for path in Path(package.__path__[0]).resolve().glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Raise):
                    found[str(path), node.lineno, node.end_lineno or node.lineno] = ast.unparse(node)
    return found


def lines_of(error: BaseException | None) -> Iterator[tuple[str, int]]:
    """Go through the lines that an error, and what it was made of, came by."""
    seen: set[int] = set()
    pending = [error]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        for frame, line in traceback.walk_tb(one.__traceback__):
            yield str(Path(frame.f_code.co_filename).resolve()), line
        pending += [one.__cause__, one.__context__]


def test_nearly_every_raise_is_reached_by_a_row() -> None:
    reached: set[tuple[str, int]] = set()
    for rows in GROUPS.values():
        for row in rows:
            try:
                row.run()
            except EcsError as error:
                reached.update(lines_of(error))

    sites = raises()
    missed = [
        f"{Path(file).name}:{first} {text[:90]}"
        for (file, first, last), text in sites.items()
        if not any((file, line) in reached for line in range(first, last + 1))
    ]
    assert len(missed) <= len(sites) // 10, "\n".join(missed)
