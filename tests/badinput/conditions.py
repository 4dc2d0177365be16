"""Conditions of forms that are wrong."""

from __future__ import annotations

from libecs.language.condition import parse_condition
from libecs.language.marks import Mark, Source
from tests.badinput.row import Row


def row(number: int, source: str, column: int, reason: str, hint: str = "") -> Row:
    """Return a row; the condition stands in a file of one line, behind `visibleif: `."""
    line = f"visibleif: {source}"
    mark = Mark("f.yaml", 1, 12, Source("f.yaml", (line,)))
    return Row(
        name=f"{number:02} {source[:40]!r}",
        run=lambda: parse_condition(source, mark),
        code="E_EXPRESSION",
        place=f"f.yaml:1:{11 + column}",
        says=(reason, hint),
        budget_s=0.05,
        source=source,
    )


# (condition, column, what is said, what to do)
TABLE: tuple[tuple[str, int, str, str], ...] = (
    ("", 1, "the condition is empty", "leave the key out if there is none"),
    ("$$a = 'x'", 5, "the character `=` has no meaning here", "compare by ==="),
    ("$$a & $$b", 5, "the character `&` has no meaning here", "write &&"),
    ("$$a | $$b", 5, "the character `|` has no meaning here", "write ||"),
    ("$$a > 3", 5, "the character `>` has no meaning here", "texts are compared by === and !== only"),
    ("$$a ; $$b", 5, "the character `;` has no meaning here", "a condition is one expression"),
    ("$a === 'x'", 1, "the character `$` has no meaning here", "a variable is $$ and its name"),
    ("`${$$a}`", 1, "the character ``` has no meaning here", 'write "text"'),
    ("$$a ? 1 : 2", 5, "the character `?` has no meaning here", ""),
    ("$$a + $$b", 5, "the character `+` has no meaning here", ""),
    ("$$a['x']", 4, "the character `[` has no meaning here", ""),
    ("$$a, alert(1)", 4, "the character `,` has no meaning here", ""),
    ("a === 'x'", 1, "`a` can't stand here", 'write $$name for a variable, and "a" for a text'),
    ("$$a and $$b", 5, "`and` can't stand here", "write &&"),
    ("not $$a", 1, "`not` can't stand here", "write !"),
    ("$$a === null", 9, "`null` can't stand here", 'compare with ""'),
    ("$$a === True", 9, "`True` can't stand here", "write true"),
    ("alert(1)", 1, "`alert` can't stand here", "write $$name for a variable"),
    ("window.location", 1, "`window` can't stand here", "write $$name for a variable"),
    ("new Date()", 1, "`new` can't stand here", "write $$name for a variable"),
    ("constructor", 1, "`constructor` can't stand here", "write $$name for a variable"),
    ("$$a.constructor('return 1')()", 4, "`.constructor` is not known here", ".includes(…) and .indexOf(…)"),
    ("$$a.__proto__", 4, "`.__proto__` is not known here", ".includes(…) and .indexOf(…)"),
    ("$$a.length", 4, "`.length` is not known here", ".includes(…) and .indexOf(…)"),
    ("$$a.includes", 4, "`.includes` asks a text", 'write $$name.includes("text")'),
    ("1.includes('1')", 1, "`1.includes` is no number", "15 digits and 6 decimals"),
    ("$$a.includes('x').indexOf('y')", 18, "a result has no methods", ""),
    ("$$a.includes('x', 'y')", 17, "the character `,` has no meaning here", ""),
    ("$$a === 'x", 9, "the text that begins here has no closing '", ""),
    ('$$a === "x', 9, 'the text that begins here has no closing "', ""),
    ("$$a === '\\x41'", 10, "unknown escape \\x", "write \\\\ for a backslash"),
    ("$$a === '\\ud83d'", 9, "the text holds half a character", ""),
    ("$$a ===", 8, "the condition ends too early", "expected a value"),
    ("=== 'x'", 1, "`===` can't stand here", "expected a value"),
    ("$$a $$b", 5, "`$$b` can't stand here", "expected `&&`, `||` or the end"),
    ("$$a == $$b == $$c", 12, "three values are compared at once", "join two comparisons by &&"),
    ("($$a", 1, "the bracket that begins here is not closed", "write `)` behind its part"),
    ("($$a $$b)", 6, "`$$b` can't stand here", "expected `&&`, `||` or `)`"),
    ("$$a)", 4, "`)` can't stand here", "expected `&&`, `||` or the end"),
    ("()", 2, "`)` can't stand here", "expected a value"),
    ("-$$a", 1, "`-` can't stand here", "expected a value"),
    ("010", 1, "`010` is no number", "15 digits and 6 decimals"),
    ("1e999", 1, "`1e999` is no number", "15 digits and 6 decimals"),
    ("9" * 400, 1, "is no number", "15 digits and 6 decimals"),
    ("!" * 33 + "$$a", 33, "the condition has more than 32 levels inside each other", ""),
    ("(" * 2000 + "$$a", 33, "the condition has more than 32 levels inside each other", ""),
    ("$$a && " * 1000, 1, "the condition has 7000 characters, more than 4096", ""),
    ("$$" + "a" * 5000, 1, "the condition has 5002 characters, more than 4096", ""),
    ("$$a\u200b", 4, "the character U+200B has no meaning here", ""),
    ("＄＄a", 1, "the character `＄` has no meaning here", ""),
)

ROWS: tuple[Row, ...] = tuple(row(number, *told) for number, told in enumerate(TABLE))
