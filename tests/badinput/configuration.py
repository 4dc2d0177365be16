"""Configuration that is wrong: payloads, paths, the inventory, trees and files of keys and values, addresses."""

# ruff: noqa: E501  (tables read best with one row a line)

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from libecs.config.inventory import Inventory, host_list
from libecs.config.path import component_path, parse_path, resolve, run_type, runtime_key
from libecs.config.tree import Tree
from libecs.io.integrations_file import functions_of_file
from libecs.io.kv_file import read_kv_file
from libecs.io.overlay import overlay
from libecs.language.duration import parse_duration
from libecs.language.functions import pure_functions
from libecs.language.signature import Function
from libecs.workflow.address import parse_address
from libecs.workflow.calls import check_call
from libecs.workflow.expand import expand
from libecs.workflow.hooks import parse_moment
from libecs.workflow.source import TextSource, parse_reference
from tests.badinput.row import Row

_ids = count(1)


def payload(name: str, text: str, *says: str, code: str = "E_TEMPLATE", place: str = "", **entries: str) -> Row:
    """Return a row for a payload, `c/ANY/any/e`, that a template asks for; `entries` lie beside it."""
    tree = Tree.of({"o2": {"components": {"c": {"ANY": {"any": {"e": text, **entries}}}}}})
    workflow = "name: w\nvars: {x: \"{{ config.Get('c/ANY/any/e') }}\", v: a}\nroles: [{name: r, task: {load: t}}]\n"
    files = {"workflows/w.yaml": workflow, "tasks/t.yaml": "name: t\ncommand: {value: x}\n"}
    return Row(
        name=f"payload, {name}",
        run=lambda: expand(TextSource(files=files), "w", {"name": "a"}, tree, ids=lambda: f"id{next(_ids)}"),
        code=code,
        place=place,
        path="w",
        says=says,
        source=text[:4000],
    )


def text(name: str, read: Callable[[str], object], source: str, *says: str, code: str = "E_INVALID") -> Row:
    """Return a row for a text and what reads it."""
    return Row(name=name, run=lambda: read(source), code=code, says=says, budget_s=0.05, source=source[:4000])


def tree(name: str, nested: Mapping[Any, Any], *says: str) -> Row:
    """Return a row for a tree of keys and values."""
    return Row(
        name=f"tree, {name}", run=lambda: Tree.of(nested), code="E_INVALID", says=says, source=str(nested)[:4000]
    )


def kv_file(name: str, content: bytes | None, *says: str, code: str = "E_TEMPLATE") -> Row:
    """Return a row for a file of keys and values; None: there is none."""
    return Row(
        name=f"kv file, {name}", run=in_file(content, read_kv_file), code=code, says=says, source=repr(content)[:4000]
    )


def integrations(name: str, content: bytes, *says: str, code: str = "E_TEMPLATE") -> Row:
    """Return a row for a file of what calls give."""
    return Row(
        name=f"integrations, {name}",
        run=in_file(content, functions_of_file),
        code=code,
        says=says,
        source=repr(content),
    )


def in_file(content: bytes | None, read: Callable[[Path], object]) -> Callable[[], object]:
    """Return the reading of a file with this content."""

    def run() -> object:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "f.yaml"
            if content is not None:
                path.write_bytes(content)
            return read(path)

    return run


def inventory(name: str, ask: Callable[[Inventory], object], nested: Mapping[str, Any], *says: str, code: str) -> Row:
    """Return a row for a question to the inventory."""
    return Row(name=f"inventory, {name}", run=lambda: ask(Inventory(Tree.of(nested))), code=code, says=says)


def deep(levels: int) -> dict[str, Any]:
    """Return mappings inside each other."""
    nested: dict[str, Any] = {}
    for _ in range(levels):
        nested = {"a": nested}
    return nested


def laid_over(base: str, over: str) -> Callable[[], object]:
    """Return the laying of one task template over another."""
    return lambda: overlay(base, "t.yaml", over, "over.yaml")


CARDS = {"o2": {"hardware": {"flps": {"h1": {"cards": '{"0": {"serial": "1", "endpoint": "0"}}'}}}}}
HINT = "a path is component/RUNTYPE/role/entry"
PAYLOADS: tuple[Row, ...] = (
    payload("an open expression", "a: {{ name", "{{ is never closed"),
    payload("an open statement", "a\nb: {% if", "{% is never closed"),
    payload("an open comment", "{# hello", "{# is never closed"),
    payload("an empty expression", "{{ }}", "the expression is empty"),
    payload("an unknown variable", "a\n  {{ nobody }}", "unknown variable 'nobody'"),
    payload("an unknown function", "{{ strings.Nope() }}", "unknown function strings.Nope()"),
    payload("a filter of Jinja", "{{ name | default('x') }}", "unknown function default()"),
    payload("an attempt to break out", "{{ ''.__class__.__mro__ }}", "a string has no '__class__'"),
    payload("a class of Jinja", "{{ cycler.__init__.__globals__ }}", "unknown variable 'cycler'"),
    payload("an unknown statement", "{% macro x() %}{% endmacro %}", "unknown statement 'macro x()'", "known are include"),
    payload("an import", "{% import 'os' %}", "unknown statement", "known are include"),
    payload("an include without quotes", "{% include x %}", "unknown statement 'include x'"),
    payload("an include that is not there", "{% include 'x' %}", "includes 'x', but there is no c/ANY/any/x"),
    payload("an include that climbs", "{% include '../../../x' %}", "there is no c/ANY/any/../../../x"),
    payload("an include of itself", "{% include 'e' %}", "includes go round in a circle: c/ANY/any/e -> c/ANY/any/e"),
    payload("a circle of includes", "{% include 'f' %}", "includes go round in a circle", f="{% include 'e' %}"),
    payload("20 includes", "{% include 'i0' %}", "includes are nested deeper than 16", **{f"i{n}": f"{{% include 'i{n + 1}' %}}" for n in range(20)}),
    payload("an if without an end", "{% if true %}x", "`if` has no `endif`"),
    payload("a for without an end", "{% for x in [1] %}x", "`for` has no `endfor`"),
    payload("an end without a beginning", "x{% endif %}", "unknown statement 'endif'"),
    payload("a raw without an end", "{% raw %}{{ x }}", "`raw` has no `endraw`"),
    payload("a for of a text", "{% for x in name %}{{ x }}{% endfor %}", "`for` needs a list or a map: 'name' is none"),
    payload("a for of three names", "{% for a, b, c in [[1]] %}x{% endfor %}", "`for` has 3 names, more than 2"),
    payload("a for of pairs that are none", "{% for a, b in [1] %}x{% endfor %}", "needs a map, or a list of lists of 2"),
    payload("a condition that is a text", "{% if name %}x{% endif %}", ""),
    payload("an elif behind else", "{% if true %}x{% else %}y{% elif true %}z{% endif %}", "unknown statement 'elif true'"),
    payload("40 ifs inside each other", "{% if true %}" * 40 + "{% endif %}" * 40, "more than 32 statements inside each other"),
    payload("a loop in a loop in a loop", "{% for a in 1..1000 %}{% for b in 1..1000 %}{% for c in 1..1000 %}x{% endfor %}{% endfor %}{% endfor %}", "more than 100000 pieces are gone through"),
    payload("includes that double", "{% include 'f' %}" * 9, "payload grows beyond", f="{% include 'g' %}" * 9, g="{% include 'h' %}" * 9, h="x" * 40_000),
    payload("100 000 open braces", "{{" * 100_000, "is never closed"),
    payload("a power without end", "{{ 9**9**9 }}", "is not a finite number"),
)  # fmt: skip

PATHS: tuple[Row, ...] = (
    text("path, empty", parse_path, "", "bad configuration path '': 1 of 4 parts", HINT),
    text("path, three parts", parse_path, "qc/ANY/any", "3 of 4 parts", HINT),
    text("path, an empty entry", parse_path, "qc/ANY/any/", "entry '' is not possible", HINT),
    text("path, an empty role", parse_path, "qc/ANY//x", "role '' is not possible", HINT),
    text("path, a blank", parse_path, "qc/ANY/any/ctp qc", "entry 'ctp qc' is not possible", HINT),
    text("path, that climbs", parse_path, "qc/ANY/any/../../x", "is not possible", HINT),
    text("path, a NUL", parse_path, "qc/ANY/any/x\0", "is not possible", HINT),
    text("path, a revision", parse_path, "qc/ANY/any/x@1", "entry 'x@1' is not possible", HINT),
    text("path, a dot", parse_path, "qc/ANY/any/x.yaml", "entry 'x.yaml' is not possible", HINT),
    text("path, another alphabet", parse_path, "qс/ANY/any/x", "component 'qс' is not possible", HINT),
    text("path, 100 000 characters", parse_path, "a" * 100_000, "1 of 4 parts", HINT),
    text("path, small letters", parse_path, "qc/physics/any/x", "unknown run type 'physics'", "known run types: NONE"),
    text("path, an unknown run type", run_type, "FOO", "unknown run type 'FOO'", "known run types: NONE"),
    Row(
        name="path, a part that is none",
        run=lambda: component_path("a b", "ANY", "any", "x"),
        code="E_INVALID",
        says=("bad configuration path 'a b/ANY/any/x': component 'a b'", HINT),
    ),
    Row(
        name="path, that leads nowhere",
        run=lambda: resolve(parse_path("qc/PHYSICS/a/x"), lambda key: False),
        code="E_NOT_FOUND",
        says=(
            "could not resolve configuration path qc/PHYSICS/a/x",
            "none of these exists: qc/PHYSICS/a/x, qc/ANY/a/x",
        ),
    ),
    text("runtime key, empty", lambda key: runtime_key("a", key), "", "a runtime value needs a component and a key"),
    text("duration, empty", parse_duration, "", "not a duration: ''", "10s, 1m30s or 250ms"),
    text("duration, without a unit", parse_duration, "30", "not a duration: '30'", "add a unit: 30s for seconds"),
    text("duration, negative", parse_duration, "-1s", "a duration can't be negative: '-1s'"),
    text("duration, an unknown unit", parse_duration, "3d", "not a duration: '3d'", "with units"),
    text("duration, 100 000 digits", parse_duration, "1" * 100_000, "not a duration"),
    text("moment, empty", parse_moment, "", "'' is no moment", "write a name and maybe a weight"),
    text("moment, a huge weight", parse_moment, "before_X+99999999999", "is no moment", "write a name"),
    text("call, a name", check_call, "dcs", "`func` is 'dcs', which is no call", "integration.Method(arguments)"),
    text("call, without brackets", check_call, "dcs.Run", "which is no call", "integration.Method(arguments)"),
    text("call, two of them", check_call, "a.B(); c.D()", "`func` is 'a.B(); c.D()'", "integration.Method(arguments)"),
    text("call, cut off", check_call, "a.B(", "the expression ends too early"),
    text("call, of 100 000 characters", check_call, "a.B('" + "x" * 100_000 + "')", "more than 16384", "cut it into"),
    text("reference, empty", lambda one: parse_reference(one, "tasks", ""), "", "'' names no template", "write a name"),
    text("reference, that climbs", lambda one: parse_reference(one, "tasks", ""), "../x", "names no template"),
    text("reference, two revisions", lambda one: parse_reference(one, "tasks", ""), "x@1@2", "names no template"),
    text("reference, no revision", lambda one: parse_reference(one, "tasks", ""), "x@", "names no template"),
    text("address, two revisions", parse_address, "a.b/c/d@1@2", "has more than one revision", "repository@revision"),
    text("address, no revision", parse_address, "a.b/c/d@", "has no revision behind the @"),
    text("address, an option as revision", parse_address, "a.b/c/d@--upload-pack=x", "has no revision behind the @"),
    text("address, two parts", parse_address, "a.b/c", "needs three parts: host/user/repository"),
    text("address, no host", parse_address, "a/b/c", "'a' is no host", "a folder begins with / or ./"),
    text("address, an option", parse_address, "-x.y/b/c", "is no host/user/repository"),
    text("address, a command", parse_address, "ext::sh -c id", "is no host/user/repository"),
    text("address, hidden", parse_address, "a.b/../c", "is no host/user/repository"),
    text("address, empty parts", parse_address, "a.b//c/d", "is no host/user/repository"),
    text("address, two colons", parse_address, "git@a.b:c:d/e", ""),
)

TREES: tuple[Row, ...] = (
    tree("a list", {"a": ["x"]}, "key 'a' is a list", "give JSON as text, in quotes"),
    tree("a number as key", {"a": {1: "x"}}, "key 1 in 'a/' is no text", 'write it in quotes: "1"'),
    tree("nothing as key", {None: "x"}, "is no text", "write it in quotes"),
    tree("a key that is folder and value", {"a": "x", "a/b": "y"}, "key 'a' has a value and is a folder too, of 'a/b'"),
    tree("a key twice", {"a": {"b": "x"}, "a/b": "y"}, "key 'a/b' stands there twice"),
    tree("70 levels", deep(70), "key-value tree deeper than 64"),
    Row(name="tree, a key that is not known", run=lambda: Tree(complete=False).get("a/b"), code="E_MISSING", says=("missing configuration keys: a/b",)),
    Row(name="tree, a folder that is not known", run=lambda: Tree(complete=False).list("a"), code="E_MISSING", says=("missing configuration keys: a/",)),
    Row(name="functions, one twice", run=lambda: pure_functions(str).extended({"len": Function(len)}), code="E_USAGE", says=("function len is defined twice", "two integrations can't share a name")),
    kv_file("that is not there", None, "there is no file", code="E_NOT_FOUND"),
    kv_file("a list", b"- a\n", "a tree of keys and values must be a mapping", "and is a list"),
    kv_file("a text", b"hello\n", "must be a mapping", "and is text"),
    kv_file("a list as value", b"a: {b: [1]}\n", "f.yaml:1:8: the value of 'b' is a list", "a value is a text"),
    kv_file("a key twice", b"a: 1\na: 2\n", "f.yaml:2:1: the key 'a' stands twice, in lines 1 and 2"),
    kv_file("a key by two ways", b"a: {b: 1}\na/b: 2\n", "key 'a/b' stands there twice", code="E_INVALID"),
    kv_file("a folder that is a value", b"a: 1\na/b: 2\n", "has a value and is a folder too", code="E_INVALID"),
    kv_file("not UTF-8", b"a: \xff\n", "f.yaml:1:4: byte 0xff is not UTF-8", "save the file as UTF-8"),
    kv_file("a NUL", b"a: \0\n", "f.yaml:1:4: the character NUL is not allowed in YAML"),
    kv_file("a tab", b"a:\n\tb: 1\n", "f.yaml:2:1: found character that cannot start any token", "no tabs"),
    kv_file("a Python object", b"a: !!python/object:os.system [id]\n", "the tag `!!python/object:os.system` is not known"),
    kv_file("10 MB", b"a: " + b"x" * 10_000_000, "10000003 bytes"),
    integrations("a list", b"- a\n", "must be a mapping", "and is a list"),
    integrations("a name without a method", b"dcs: {value: x}\n", "'dcs' names no function", "integration.Method: value"),
    integrations("an unknown key", b"dcs.Run: {vlaue: x}\n", "dcs.Run: unknown key 'vlaue'", "value, delay, error"),
    integrations("a delay in words", b"dcs.Run: {delay: soon}\n", "dcs.Run: not a duration: 'soon'"),
    inventory("an unknown detector", lambda one: one.hosts("XYZ"), {}, "there is no detector 'XYZ'", "known: none", code="E_NOT_FOUND"),
    inventory("a host of no detector", lambda one: one.detector_for_host("h"), {}, "host 'h' belongs to no detector", "add a key", code="E_NOT_FOUND"),
    inventory("a host without cards", lambda one: one.cards("h"), {}, "no cards of host 'h' are known", code="E_NOT_FOUND"),
    inventory("an unknown card", lambda one: one.endpoints_for_cru_card("h1", "9"), CARDS, "host 'h1' has no card '9'", "its cards: 1", code="E_NOT_FOUND"),
    inventory("cards that are a list", lambda one: one.cards("h"), {"o2": {"hardware": {"flps": {"h": {"cards": "[1]"}}}}}, "is not JSON of the form", code="E_INVALID"),
    inventory("cards of 100 000 brackets", lambda one: one.cards("h"), {"o2": {"hardware": {"flps": {"h": {"cards": "[" * 100_000}}}}}, "is not JSON of the form", code="E_INVALID"),
    text("hosts, no JSON", host_list, "a, b", "not a JSON list of host names: 'a, b'", '["flp001", "flp002"]'),
    text("hosts, numbers", host_list, "[1]", "not a JSON list of host names: '[1]'"),
    text("hosts, 100 000 brackets", host_list, "[" * 100_000, "not a JSON list of host names"),
    Row(name="overlay, no YAML", run=laid_over("name: t\n", "a: [\n"), code="E_INVALID", says=("over.yaml is no YAML",)),
    Row(name="overlay, a list", run=laid_over("name: t\n", "- a\n"), code="E_INVALID", says=("over.yaml is no task template", "one below the other")),
    Row(name="overlay, a command in one line", run=laid_over("name: t\ncommand: {value: x}\n", "user: a\n"), code="E_INVALID", says=("`command` is no block of keys",)),
)  # fmt: skip

ROWS: tuple[Row, ...] = PAYLOADS + PATHS + TREES
