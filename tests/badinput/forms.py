"""Forms that can't be made, and values that don't fit one."""

# ruff: noqa: E501  (tables read best with one row a line)

from __future__ import annotations

from libecs.language.form import make_form
from libecs.language.template import read_workflow
from libecs.language.variable_types import typed
from tests.badinput.row import Row


def form(name: str, entry: str, column: int, *says: str, line: int = 3, code: str = "E_EXPRESSION") -> Row:
    """Return a row for one public variable; its entries begin in column 15 of line 3."""
    text = f"name: w\ndefaults:\n  a: !public {{{entry}}}\nroles: []\n"
    return whole(name, text, f"{line}:{column}", *says, code=code)


def whole(name: str, text: str, place: str, *says: str, code: str = "E_TEMPLATE") -> Row:
    """Return a row for a whole template."""
    return Row(
        name=name,
        run=lambda: make_form([read_workflow(text, "w.yaml")]),
        code=code,
        place=f"w.yaml:{place}",
        says=says,
        source=text,
    )


def value(name: str, text: str, kind: str, *says: str) -> Row:
    """Return a row for a text that is no value of a type."""
    return Row(name=name, run=lambda: typed(text, kind), code="E_INVALID", says=says, budget_s=0.05, source=text[:4000])


ROWS: tuple[Row, ...] = (
    form(
        "a condition of another language", "value: x, visibleif: 'b === 1'", 37, "`b` can't stand here", "write $$name"
    ),
    form("a condition with one equals sign", "value: x, visibleif: \"$$b = 'x'\"", 41, "`=` has no meaning", "==="),
    form("a condition that calls", "value: x, enabledif: 'alert(1)'", 37, "`alert` can't stand here"),
    form(
        "a condition that is cut off",
        "value: x, enabledif: '$$b ==='",
        44,
        "the condition ends too early",
        "expected a",
    ),
    form("a condition that is never closed", "value: x, visibleif: '(($$b)'", 37, "is not closed", "write `)`"),
    form("a condition in two lines", 'value: x, visibleif: "$$b &&\n   && $$c"', 4, "`&&` can't stand here", line=4),
    form(
        "a condition that is a list", "value: x, visibleif: [a]", 36, "must be text, and is a list", code="E_TEMPLATE"
    ),
    form("a label that is a list", "value: x, label: [a]", 32, "must be text, and is a list", code="E_TEMPLATE"),
    form("an index with a fraction", "value: x, index: 1.5", 32, "must be an integer", "'1.5'", code="E_TEMPLATE"),
    form(
        "a choice that is a mapping",
        "value: x, values: [{a: b}]",
        34,
        "a value of variable 'a' must be text",
        code="E_TEMPLATE",
    ),
    form("a wrong default", "value: '{{ x y }}'", 28, "`y` can't stand here"),
    whole(
        "a variable in defaults and in vars",
        "name: w\ndefaults: {a: !public 1}\nvars: {a: !public 2}\nroles: []\n",
        "3:11",
        "the public variable 'a' stands twice, in lines 2 and 3",
        "remove !public from one",
    ),
    whole(
        "a variable in two roles",
        "name: w\nroles:\n  - {name: r, vars: {a: !public 1}, roles: []}\n  - {name: s, vars: {a: !public 2}, roles: []}\n",
        "4:25",
        "the public variable 'a' stands twice, in lines 3 and 4",
        "keep one of them",
    ),
    value("a number in words", "many", "number", "`many` is not a number", "such as 12 or 0.5"),
    value("a number in hexadecimal", "0x10", "number", "`0x10` is not a number"),
    value("a number that is no finite one", "1e999", "number", "`1e999` is not a number"),
    value("a number of 100 000 digits", "9" * 100_000, "number", "is not a number", "such as 12 or 0.5"),
    value("not a number", "NaN", "number", "`NaN` is not a number"),
    value("a bool in capitals", "True", "bool", "`True` is not true or false", "write true or false"),
    value("a bool of a shell", "yes", "bool", "`yes` is not true or false"),
    value("a list without quotes", "[a, b]", "list", "`[a, b]` is not a list", 'a JSON list, such as ["a", "b"]'),
    value("a map for a list", "{}", "list", "`{}` is not a list"),
    value("100 000 brackets", "[" * 100_000, "list", "is not a list", "a JSON list"),
    value("a list for a map", "[]", "map", "`[]` is not a map", "a JSON object"),
    value("a map of no JSON", '{"a": NaN}', "map", "is not a map", "a JSON object"),
    value("a bell", "\a", "number", "`\ufffd` is not a number"),
)
