"""The functions that expressions may call, as tables. Here are the pure ones: strings, json, util, uid, and those that
are built into the language.

Functions that need more than their arguments (config, inventory, runtime, dpl, integrations) are tables of the same
kind, made where that knowledge is; `FunctionTable.extended` puts them together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import attrs

from libecs.errors import ExpressionError, UsageError
from libecs.language.builtins import BUILTINS
from libecs.language.expression import Scope, unknown_function
from libecs.language.signature import Function as Function
from libecs.language.signature import Kind as Kind
from libecs.language.signature import check_arguments
from libecs.language.values import (
    INT_MAX,
    INT_MIN,
    Value,
    a_type,
    check_json_length,
    fault,
    from_json,
    to_json,
)

ALIASES: Final[Mapping[str, str]] = {
    "Atoi": "strings.Atoi",
    "Itoa": "strings.Itoa",
    "TrimQuotes": "strings.TrimQuotes",
    "TrimSpace": "strings.TrimSpace",
    "ToUpper": "strings.ToUpper",
    "ToLower": "strings.ToLower",
    "IsTruthy": "strings.IsTruthy",
    "IsFalsy": "strings.IsFalsy",
    "PrefixedOverride": "util.PrefixedOverride",
    "Dump": "util.Dump",
    "Nullable": "util.Nullable",
    "SuffixInRange": "util.SuffixInRange",
    "FromJson": "json.Unmarshal",
    "ToJson": "json.Marshal",
    "NewID": "uid.New",
    "GetConfig": "config.Get",
    "GetConfigLegacy": "config.GetLegacy",
    "ResolveConfigPath": "config.ResolvePath",
    "DetectorForHost": "inventory.DetectorForHost",
    "DetectorsForHosts": "inventory.DetectorsForHosts",
    "CRUCardsForHost": "inventory.CRUCardsForHost",
    "EndpointsForCRUCard": "inventory.EndpointsForCRUCard",
    "GetRuntimeConfig": "runtime.Get",
    "GenerateDplSubworkflow": "dpl.Generate",
    "GenerateDplSubworkflowFromUri": "dpl.GenerateFromUri",
}
"""Names of old templates, without a prefix, to today's. Lint finds them; they work wherever today's name does."""


@attrs.frozen
class FunctionTable:
    """Functions by their dotted names: "strings.Atoi", "len"."""

    _functions: Mapping[str, Function]

    def __contains__(self, path: object) -> bool:
        return isinstance(path, tuple) and self._find(path) is not None

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        """Go through the paths of all functions, aliases of old templates included."""
        for name in self._functions:
            yield tuple(name.split("."))
        for alias, name in ALIASES.items():
            if name in self._functions and alias not in self._functions:
                yield (alias,)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def call(self, path: tuple[str, ...], args: list[Value], scope: Scope) -> Value:
        """Call a function.

        Raises:
            ExpressionError: there is none, or the arguments don't fit; without a place, the expression adds it.
        """
        function = self._find(path)
        if function is None:
            raise unknown_function(path, self)
        check_arguments(".".join(path), function, args)
        return function.run(scope, *args) if function.scoped else function.run(*args)

    def extended(self, functions: Mapping[str, Function]) -> FunctionTable:
        """Return a table with more functions.

        Raises:
            UsageError: one of them is there already.
        """
        if twice := sorted(self._functions.keys() & functions.keys()):
            raise UsageError(f"function {twice[0]} is defined twice", hint="two integrations can't share a name")
        return FunctionTable({**self._functions, **functions})

    def replaced(self, functions: Mapping[str, Function]) -> FunctionTable:
        """Return a table in which these functions take the places of others, or come to them."""
        return FunctionTable({**self._functions, **functions})

    def function(self, name: str) -> Function:
        """Return a function by its dotted name. Raises `KeyError`."""
        return self._functions[name]

    def _find(self, path: tuple[str, ...]) -> Function | None:
        name = ".".join(path)
        return self._functions.get(name) or self._functions.get(ALIASES.get(name, ""))


@attrs.frozen
class TableScope:
    """A scope of fixed variables and a table: the simplest one, for tests, rules and text outside of a role."""

    variables: Mapping[str, Value]
    functions: FunctionTable

    def lookup(self, name: str) -> Value:
        """Return a variable, or raise `KeyError`."""
        return self.variables[name]

    def names(self) -> Iterator[str]:
        """Go through all variables."""
        return iter(self.variables)

    def call(self, path: tuple[str, ...], args: list[Value]) -> Value:
        """Call a function of the table."""
        return self.functions.call(path, args, self)

    def spend(self, steps: int) -> None:
        """Take no note: each expression has its own limit."""


def pure_functions(new_id: Callable[[], str]) -> FunctionTable:
    """Return strings, json, util, uid and the built-ins. `new_id` gives the ids of uid.New(), none twice."""
    text: tuple[Kind, ...] = ("string",)
    return FunctionTable(
        {
            "len": Function(length, ("any",)),
            "strings.Atoi": Function(atoi, text),
            "strings.Itoa": Function(str, ("int",)),
            "strings.TrimQuotes": Function(lambda s: s.strip('"'), text),
            "strings.TrimSpace": Function(lambda s: s.strip(), text),
            "strings.ToUpper": Function(lambda s: s.upper(), text),
            "strings.ToLower": Function(lambda s: s.lower(), text),
            "strings.IsTruthy": Function(is_truthy, text),
            "strings.IsFalsy": Function(is_falsy, text),
            "json.Unmarshal": Function(unmarshal, text),
            "json.Deserialize": Function(unmarshal, text),
            "json.Marshal": Function(to_json, ("any",)),
            "json.Serialize": Function(to_json, ("any",)),
            "json.Sort": Function(sort, ("any",)),
            "util.PrefixedOverride": Function(prefixed_override, ("string", "string"), scoped=True),
            "util.Nullable": Function(lambda x: "" if x is None else x, ("any",)),
            "util.SuffixInRange": Function(suffix_in_range, ("string", "string", "string", "string")),
            "util.Dump": Function(refuse_dump, ("string", "string")),
            "uid.New": Function(new_id),
            **BUILTINS,
        }
    )


def length(value: Value) -> int:
    """Return the number of characters, items or keys."""
    if isinstance(value, (str, list, dict)):
        return len(value)
    raise fault(f"len: {a_type(value)} has no length", hint="it counts strings, lists and maps")


def atoi(text: str) -> int:
    """Return the integer that `text` spells in decimal, 0 if it spells none of 64 bits."""
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text):
        return 0
    number = int(text)
    return number if INT_MIN <= number <= INT_MAX else 0


def is_truthy(text: str) -> bool:
    """Return whether `text` says yes: true, yes, y, 1, on, ok, whatever the case."""
    return text.strip().lower() in ("true", "yes", "y", "1", "on", "ok")


def is_falsy(text: str) -> bool:
    """Return whether `text` says no: empty, false, no, n, 0, off, none, whatever the case."""
    return text.strip().lower() in ("", "false", "no", "n", "0", "off", "none")


def unmarshal(text: str) -> Value:
    """Return the value of a JSON text; nil if it is none, as in AliECS. Only too long a text is an error."""
    check_json_length(text)
    try:
        return from_json(text)
    except ExpressionError:
        return None


def sort(value: Value) -> Value:
    """Return a list of strings sorted by their characters; what is no such list is returned as it is."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return sorted(value, key=str)
    return value


def prefixed_override(scope: Scope, name: str, prefix: str) -> str:
    """Return the variable `<prefix>_<name>`, else `name`, else "". Blank and "none" count as not set."""
    for candidate in (f"{prefix}_{name}", name):
        try:
            value = scope.lookup(candidate)
        except KeyError:
            continue
        if not isinstance(value, str):
            raise fault(f"util.PrefixedOverride: the variable {candidate!r} is {a_type(value)}, not a string")
        if value.strip() and value != "none":
            return value
    return ""


def suffix_in_range(text: str, prefix: str, low: str, high: str) -> str:
    """Return "true" if `text` is `prefix` and an integer from `low` to `high`, both included, else "false"."""
    bounds = []
    for bound in (low, high):
        if not _INTEGER.fullmatch(bound):
            raise fault(f"util.SuffixInRange: the bound {bound!r} is no integer")
        bounds.append(int(bound))
    suffix = text.removeprefix(prefix)
    if not text.startswith(prefix) or not _INTEGER.fullmatch(suffix):
        return "false"
    return "true" if bounds[0] <= int(suffix) <= bounds[1] else "false"


def refuse_dump(text: str, file: str) -> str:
    """Refuse util.Dump, which would write a file where templates are expanded."""
    del text
    raise fault(
        f"util.Dump is off: a template may not write {file!r} on this machine", hint="remove it from the template"
    )


_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}")
