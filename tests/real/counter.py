"""Count the roles of a workflow template a second way, with nothing of libecs.

It reads YAML with PyYAML and evaluates the constructs that `readout-dataflow` of 2022 and 2026 uses, and no more. It
follows spec/aliecs.md 4.3 to 4.5 and 5: stages, layers of variables, transparent iterators, empty aggregators going
away, names that must exist even where they would not be reached.
"""

from __future__ import annotations

import itertools
import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FALSY = {"", "false", "no", "n", "0", "off", "none"}
TRUTHY = {"true", "1"}
TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<number>\d+)|(?P<name>[A-Za-z_]\w*)"""
    r"""|(?P<sign>==|!=|&&|\|\||[?:!()+,.>]))"""
)
ESCAPE = re.compile(r"\\(.)")

Scope = Mapping[str, str]
Functions = Mapping[str, Callable[..., Any]]


class CountError(Exception):
    """The template can't be expanded. `kind`: name, generate, template, lookup or syntax. `path`: role path."""

    def __init__(self, kind: str, message: str, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.kind, self.message, self.path = kind, message, path


# --- expressions -----------------------------------------------------------------------------------------------------


class Expression:
    """One `{{ }}`, parsed into nested tuples by recursive descent."""

    def __init__(self, text: str) -> None:
        self.text, self.tokens, at = text, [], 0
        text = text.rstrip()
        while at < len(text):
            match = TOKEN.match(text, at)
            if not match:
                raise CountError("syntax", f"can't read {text[at:]!r} in {text!r}")
            kind = match.lastgroup or ""
            self.tokens.append((kind, match.group(kind)))
            at = match.end()
        self.at = 0
        self.tree = self._choice()
        if self.at != len(self.tokens):
            raise CountError("syntax", f"{self.tokens[self.at][1]!r} is too much in {text!r}")

    def _next(self, *signs: str) -> str | None:
        if self.at < len(self.tokens) and self.tokens[self.at][0] != "text" and self.tokens[self.at][1] in signs:
            self.at += 1
            return self.tokens[self.at - 1][1]
        return None

    def _need(self, sign: str) -> None:
        if not self._next(sign):
            raise CountError("syntax", f"{sign!r} is missing in {self.text!r}")

    def _choice(self) -> tuple[Any, ...]:
        condition = self._binary(0)
        if not self._next("?"):
            return condition
        yes = self._choice()
        self._need(":")
        return ("choice", condition, yes, self._choice())

    LEVELS = (("||", "or"), ("&&", "and"), ("==", "!=", ">", "in", "contains"), ("+",))

    def _binary(self, level: int) -> tuple[Any, ...]:
        if level == len(self.LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while sign := self._next(*self.LEVELS[level]):
            left = (sign, left, self._binary(level + 1))
        return left

    def _unary(self) -> tuple[Any, ...]:
        if self._next("!"):
            return ("not", self._unary())
        if self._next("("):
            inside = self._choice()
            self._need(")")
            return inside
        if self.at == len(self.tokens):
            raise CountError("syntax", f"{self.text!r} ends too early")
        kind, text = self.tokens[self.at]
        self.at += 1
        if kind == "text":
            return ("value", ESCAPE.sub(r"\1", text[1:-1]))
        if kind == "number":
            return ("value", int(text))
        if kind != "name":
            raise CountError("syntax", f"{text!r} is out of place in {self.text!r}")
        while self._next("."):
            text += "." + self.tokens[self.at][1]
            self.at += 1
        if not self._next("("):
            return ("name", text)
        arguments = []
        while not self._next(")"):
            arguments.append(self._choice())
            self._next(",")
        node: tuple[Any, ...] = ("call", text, tuple(arguments))
        if self._next("."):
            node = ("member", node, self.tokens[self.at][1])
            self.at += 1
        return node

    def names(self) -> Iterator[tuple[str, str]]:
        """Give each (kind, name) of variables and functions, also those that would not be reached."""
        todo: list[Any] = [self.tree]
        while todo:
            node = todo.pop()
            if not isinstance(node, tuple) or not node:
                continue
            if node[0] in ("name", "call"):
                yield node[0], node[1]
            if node[0] not in ("name", "value"):
                todo += [part for part in node[1:] if isinstance(part, tuple)]
                todo += [part for group in node[1:] if isinstance(group, tuple) for part in group]


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "+": operator.add,
    "in": lambda left, right: left in right,
    "contains": operator.contains,
}


def evaluate(node: tuple[Any, ...], scope: Scope, functions: Functions) -> Any:
    """Evaluate a tree of Expression; what short-circuits is not touched."""
    kind = node[0]
    if kind == "value":
        return node[1]
    if kind == "name":
        return scope[node[1]]
    if kind == "call":
        return functions[node[1]](*[evaluate(argument, scope, functions) for argument in node[2]])
    if kind == "member":
        return evaluate(node[1], scope, functions)[node[2]]
    if kind == "choice":
        return evaluate(node[2] if evaluate(node[1], scope, functions) else node[3], scope, functions)
    left = evaluate(node[1], scope, functions)
    if kind == "not":
        return not left
    if kind in ("||", "or") and left:
        return True
    if kind in ("&&", "and") and not left:
        return False
    right = evaluate(node[2], scope, functions)
    if kind in ("||", "or", "&&", "and"):
        return bool(right)
    return BINARY[kind](left, right)


def as_text(value: Any) -> str:
    """Give the text that stands for a value between texts."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return compact(value) if isinstance(value, list) else str(value)


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


# --- templates -------------------------------------------------------------------------------------------------------


@dataclass
class Public:
    """A mapping tagged !public."""

    content: dict[str, Any]


def read(text: str) -> dict[str, Any]:
    """Read a template: every scalar is its text, mappings tagged !public are Public. A tab may end a line."""
    text = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"

    def convert(node: yaml.Node | None) -> Any:
        if isinstance(node, yaml.MappingNode):
            content = {key.value: convert(value) for key, value in node.value}
            return Public(content) if node.tag == "!public" else content
        if isinstance(node, yaml.SequenceNode):
            return [convert(item) for item in node.value]
        return node.value if node else {}

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    return dict(convert(yaml.compose(text, Loader=loader)))


@cache
def read_file(file: Path) -> dict[str, Any]:
    return read(file.read_text())


@dataclass
class Role:
    """One role that is left in the tree."""

    path: str
    kind: str
    vars: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)


@dataclass
class Place:
    """Where a role stands: what its children inherit."""

    path: str
    defaults: dict[str, str]
    vars: dict[str, str]
    parent: Place | None


class Counter:
    """Counts the roles of one workflow. Templates may be replaced by text: `replaced` maps file name to text."""

    def __init__(
        self,
        repo: Path,
        variables: Mapping[str, str],
        kv: Mapping[str, Any],
        integrations: Mapping[str, str] | None = None,
        replaced: Mapping[str, dict[str, Any]] | None = None,
        environment_id: str = "env",
    ) -> None:
        self.repo, self.kv, self.replaced = repo, kv, replaced or {}
        self.user = {"environment_id": environment_id, **variables}
        self.integrations = integrations or {}
        self.fresh = itertools.count(1)
        self.hosts = {
            host: detector
            for detector, content in self._leaf("o2", "hardware", "detectors").items()
            for host in content["flps"]
        }

    def _leaf(self, *keys: str) -> Any:
        node: Any = self.kv
        for key in keys:
            if not isinstance(node, Mapping) or key not in node:
                raise CountError("lookup", f"no {'/'.join(keys)}")
            node = node[key]
        return node

    def _resolve(self, component: str, run_type: str, role: str, entry: str) -> str:
        for candidate in ((run_type, role), ("ANY", role), (run_type, "any"), ("ANY", "any")):
            try:
                self._leaf("o2", "components", component, *candidate, entry)
            except CountError:
                continue
            return "/".join((component, *candidate, entry))
        raise CountError("lookup", f"no {component} {run_type} {role} {entry}")

    def _detector(self, host: str) -> str:
        if host not in self.hosts:
            raise CountError("lookup", f"no host {host}")
        return str(self.hosts[host])

    def _functions(self, scope: Scope, place: Place | None) -> dict[str, Callable[..., Any]]:
        def overridden(name: str, prefix: str) -> str:
            for value in (scope.get(f"{prefix}_{name}", ""), scope.get(name, "")):
                if value.strip() and value != "none":
                    return value
            return ""

        def refused(name: str) -> Callable[..., Any]:
            def refuse(*_: str) -> str:
                raise CountError("generate", name)

            return refuse

        def up(n: int) -> dict[str, str]:
            at = place
            for _ in range(n - 1):
                at = at.parent if at else None
            if not at:
                raise CountError("lookup", f"no Up({n})")
            return {"Path": at.path}

        table: dict[str, Callable[..., Any]] = {
            "strings.IsFalsy": lambda s: s.strip().lower() in FALSY,
            "strings.ToLower": str.lower,
            "strings.TrimSpace": str.strip,
            "json.Unmarshal": json.loads,
            "json.Marshal": compact,
            "json.Sort": sorted,
            "util.PrefixedOverride": overridden,
            "uid.New": lambda: f"uid{next(self.fresh)}",
            "inventory.DetectorForHost": self._detector,
            "inventory.DetectorsForHosts": lambda s: compact(sorted({self._detector(host) for host in json.loads(s)})),
            "config.Resolve": self._resolve,
            "runtime.Get": lambda component, key: (
                self._leaf("o2", "runtime", *component.split("/"), key) if key else ""
            ),
            "Parent": lambda: up(1),
            "Up": up,
            "dpl.Generate": refused("dpl.Generate"),
            "dpl.GenerateFromUri": refused("dpl.GenerateFromUri"),
            "dpl.GenerateFromUriOrFallbackToTemplate": refused("dpl.GenerateFromUriOrFallbackToTemplate"),
        }
        for old, new in (
            ("ToLower", "strings.ToLower"),
            ("TrimSpace", "strings.TrimSpace"),
            ("PrefixedOverride", "util.PrefixedOverride"),
            ("NewID", "uid.New"),
            ("DetectorForHost", "inventory.DetectorForHost"),
            ("DetectorsForHosts", "inventory.DetectorsForHosts"),
            ("GetRuntimeConfig", "runtime.Get"),
            ("GenerateDplSubworkflow", "dpl.Generate"),
        ):
            table[old] = table[new]
        for name, value in self.integrations.items():
            table[name] = lambda value=value: value
        return table

    PARSED: dict[str, Expression] = {}  # noqa: RUF012  (texts repeat across hosts and scenarios; they never change)

    def _text(self, text: str, scope: Scope, place: Place | None, path: str) -> str:
        """Evaluate every tag of a text; the first }} closes."""
        if "{{" not in text:
            return text
        functions, out, rest = self._functions(scope, place), "", text
        try:
            while "{{" in rest:
                before, rest = rest.split("{{", 1)
                if "}}" not in rest:
                    raise CountError("syntax", f"an open {{{{ in {text!r}")
                inside, rest = rest.split("}}", 1)
                expression = self.PARSED.get(inside) or self.PARSED.setdefault(inside, Expression(inside))
                for kind, name in expression.names():
                    if name not in (scope if kind == "name" else functions):
                        raise CountError("name", f"unknown {name}")
                out += before + as_text(evaluate(expression.tree, scope, functions))
        except CountError as error:
            raise CountError(error.kind, error.message, error.path or path) from error
        return out + rest

    def roles(self, workflow: str) -> list[Role]:
        """Give the roles that are left, parents first, in the order of the template."""
        base = self.kv.get("o2", {}).get("runtime", {}).get("aliecs", {})
        environment = Place("", dict(base.get("defaults", {})), dict(base.get("vars", {})), None)
        return self._role(self._template(workflow), environment, {}, is_root=True)

    def _template(self, name: str) -> dict[str, Any]:
        if not name:
            raise CountError("template", "a template without a name")
        file = self.repo / "workflows" / f"{name}.yaml"
        if name in self.replaced:
            return dict(self.replaced[name])
        if not file.is_file():
            raise CountError("template", f"no workflow {name}")
        return read_file(file)

    def _layer(self, content: Any, scope: Scope, place: Place | None, path: str) -> dict[str, str]:
        layer = {}
        for name, value in (content or {}).items():
            plain = value.content.get("value", "") if isinstance(value, Public) else value
            if isinstance(plain, str):  # a mapping without !public, or a list, is dropped
                layer[name] = self._text(plain, scope, place, path)
        return layer

    def _scope(self, place: Place, local: Scope) -> dict[str, str]:
        return {**place.defaults, **place.vars, **self.user, **local}

    def _role(self, node: dict[str, Any], parent: Place, local: Scope, *, is_root: bool = False) -> list[Role]:
        if "for" in node:
            return self._copies(node, parent, local)
        above = None if is_root else parent
        raw = f"{parent.path}.{node['name']}" if parent.path else node["name"]
        scope = self._scope(parent, local)
        if self._text(node.get("enabled", "true"), scope, above, raw).strip().lower() not in TRUTHY:
            return []
        defaults = self._layer(node.get("defaults"), scope, above, raw)
        inner = Place("", {**parent.defaults, **defaults}, parent.vars, above)
        variables = {**self._layer(node.get("vars"), self._scope(inner, local), above, raw), **local}
        place = Place("", inner.defaults, {**parent.vars, **variables}, above)
        scope = self._scope(place, local)
        name = self._text(node["name"], scope, above, raw)
        place.path = f"{parent.path}.{name}" if parent.path else name
        for text in self._loose_ends(node):
            self._text(text, scope, above, place.path)
        role = Role(place.path, "aggregator", variables, defaults)
        if "task" in node or "call" in node:
            role.kind = "task" if "task" in node else "call"
            return [role]
        if "include" in node:
            try:
                included = self._template(self._text(node["include"], scope, above, place.path))
            except CountError as error:
                raise CountError(error.kind, error.message, error.path or place.path) from error
            outer = Place(parent.path, place.defaults, place.vars, parent.parent)
            return self._role({**included, "name": name}, outer, {})
        children = [each for child in node["roles"] for each in self._role(child, place, {})]
        return [role, *children] if children else []

    def _loose_ends(self, node: dict[str, Any]) -> Iterator[str]:
        """Give the other texts of a role that are evaluated on load."""
        for part in ("task", "call"):
            content = node.get(part) or {}
            yield from (content[key] for key in ("load", "func", "timeout", "trigger", "await") if key in content)
        yield from (constraint["value"] for constraint in node.get("constraints") or [])
        yield from (channel["target"] for channel in node.get("connect") or [])
        yield from (channel["global"] for channel in node.get("bind") or [] if "global" in channel)

    def _copies(self, node: dict[str, Any], parent: Place, local: Scope) -> list[Role]:
        loop = node["for"]
        template = {key: value for key, value in node.items() if key != "for"}
        values = json.loads(self._text(loop["range"], self._scope(parent, local), parent, parent.path))
        return [each for value in values for each in self._role(template, parent, {**local, loop["var"]: value})]
