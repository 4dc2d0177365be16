"""What holds for all workflows: how many roles there are, what they see, and that nothing but an EcsError comes out."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from libecs.config.path import candidates, parse_path, resolve
from libecs.config.payload import process
from libecs.config.tree import Tree
from libecs.errors import EcsError, Missing, NotFound
from libecs.language.functions import TableScope, pure_functions
from libecs.language.variables import Base, Stack
from libecs.workflow.channels import Endpoint
from libecs.workflow.channels import resolve as resolve_channels
from libecs.workflow.expand import ExpansionLimits, expand
from libecs.workflow.launch import Launcher, task_specials
from libecs.workflow.role import RoleKind, Workflow
from libecs.workflow.services import _Evaluator
from libecs.workflow.source import TextSource

TASKS = {
    "tasks/d.yaml": "{name: d, command: {value: d}, bind: [{name: in, type: pull}], properties: {p: '{{ i0 }}'}}",
    "tasks/f.yaml": "{name: f, control: {mode: fairmq}, command: {value: f}}",
    "tasks/b.yaml": "{name: b, control: {mode: basic}, command: {value: 'run {{ task_hostname }}'}}",
}


def grown(root: Mapping[str, Any], others: Mapping[str, str] | None = None, **options: Any) -> Workflow:
    files = {**TASKS, **(others or {}), "workflows/w.yaml": json.dumps({"name": "w", **root})}  # JSON is YAML
    ids = itertools.count()
    tree = options.pop("tree", Tree())
    return expand(TextSource(files=files), "w", {"v": "1"}, tree, ids=lambda: str(next(ids)), **options)


# --- iterators

_SIZES = st.lists(st.integers(0, 4), min_size=1, max_size=3)


@given(_SIZES, st.booleans())
def test_there_are_as_many_roles_as_the_product_of_the_iterators(sizes: list[int], listed: bool) -> None:
    role: dict[str, Any] = {"name": "leaf", "task": {"load": "d"}}
    for depth, size in reversed(list(enumerate(sizes))):
        loop: dict[str, Any] = {"begin": "1", "end": str(size)}
        if listed:
            loop = {"range": json.dumps([str(i + 1) for i in range(size)])}
        role = {"name": f"l{depth}-{{{{ i{depth} }}}}", "for": {**loop, "var": f"i{depth}"}, "roles": [role]}
    fixed = {"name": "fixed", "vars": {"i0": "0"}, "task": {"load": "d"}}

    workflow = grown({"roles": [role, fixed]})

    leaves = [role for role in workflow.roles if role.name == "leaf"]
    product = 1
    for size in sizes:
        product *= size
    assert len(leaves) == product
    assert len({role.path for role in workflow.roles}) == len(workflow.roles)
    launcher = Launcher(workflow)
    for index, found in enumerate(workflow.roles):
        if found.name == "leaf":  # locals are seen below, and are those of the path
            seen = launcher.variables(index)
            path = "w." + ".".join(f"l{depth}-{seen[f'i{depth}']}" for depth in range(len(sizes))) + ".leaf"
            assert found.path == path
    order = [found.path for found in leaves]
    assert order == sorted(order, key=lambda path: [int(part.partition("-")[2] or 0) for part in path.split(".")])


@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12))
def test_an_iterator_makes_few_roles_or_none_at_all(begin: int, end: int) -> None:
    loop = {"begin": str(begin), "end": str(end), "var": "i0"}
    root = {"roles": [{"name": "t{{ i0 }}", "for": loop, "task": {"load": "b"}}, {"name": "x", "task": {"load": "b"}}]}
    try:
        workflow = grown(root, limits=ExpansionLimits(copies=20))
    except EcsError:
        assert end - begin >= 20
    else:
        assert len(workflow.roles) == 2 + max(end - begin + 1, 0)


# --- variables

_NAMES = st.sampled_from("abc")
_TABLES = st.dictionaries(_NAMES, st.sampled_from(["1", "2", "3"]), max_size=3)


@given(st.lists(st.tuples(_TABLES, _TABLES), min_size=1, max_size=4), _TABLES, _TABLES, _TABLES, _NAMES)
def test_the_nearest_of_the_strongest_layer_wins(
    roles: list[tuple[dict[str, str], dict[str, str]]],
    user: dict[str, str],
    base_vars: dict[str, str],
    base_defaults: dict[str, str],
    name: str,
) -> None:
    stack = Stack(Base(user=user, vars=base_vars, defaults=base_defaults))
    for number, (defaults, variables) in enumerate(roles):
        stack = stack.child(f"r{number}", defaults=defaults, vars=variables)
    runtime = {"r0": {"a": "run"}}

    upwards = [*reversed(roles)]
    strongest = [
        *(["run"] if name == "a" else []),
        *(table[name] for table in [user] if name in table),
        *(table[name] for _, table in upwards if name in table),
        *(table[name] for table in [base_vars] if name in table),
        *(table[name] for table, _ in upwards if name in table),
        *(table[name] for table in [base_defaults] if name in table),
    ]

    assert [origin.value for origin in stack.explain(name, runtime)] == strongest
    assert stack.consolidated(runtime).get(name) == (strongest[0] if strongest else None)
    assert stack.get(name) == next(iter(strongest[1:] if name == "a" else strongest), None)


# --- configuration

_PLACES = st.lists(st.sampled_from(["c/PHYSICS/r/e", "c/ANY/r/e", "c/PHYSICS/any/e", "c/ANY/any/e", "c/ANY/x/e"]))


@given(_PLACES, st.sampled_from(["c/PHYSICS/r/e", "c/ANY/r/e", "c/NONE/r/e", "c/PHYSICS/any/e", "d/ANY/any/e"]))
def test_a_path_stands_for_its_best_candidate(present: list[str], asked: str) -> None:
    path = parse_path(asked)
    tree = Tree({f"o2/components/{place}": "" for place in present})
    found = [candidate for candidate in candidates(path) if candidate.key in tree.leaves]

    assert candidates(path)[0] == path
    assert all(candidate.component == path.component and candidate.entry == path.entry for candidate in found)
    try:
        assert resolve(path, tree.has) == found[0]
    except NotFound:
        assert not found


_PIECES = ["{{ x }}", "{{ l }}", "{{", "}}", "{%", "%}", "{#", "#}", "a", " ", "\n", "{% if x == 'a' %}", "{% else %}"]
_PIECES += [
    "{% elif 1 > 2 %}",
    "{% endif %}",
    "{% for i in l %}",
    "{% for i, j in m %}",
    "{{ i }}",
    "{% empty %}",
    "{%-",
]
_PIECES += [
    "{% endfor %}",
    "{% set y = 1 %}",
    "{{ y }}",
    "{% include 'e' %}",
    "{% include 'page' %}",
    "{% raw %}",
    "-%}",
]


@given(st.lists(st.sampled_from(_PIECES), max_size=12).map("".join) | st.text("{}%#- if", max_size=20))
def test_any_payload_gives_text_or_an_ecs_error(payload: str) -> None:
    scope = TableScope({"x": "a", "l": ["1", "2"], "m": {"k": "v"}}, pure_functions(lambda: ""))
    keys = {"o2/components/c/ANY/any/page": payload, "o2/components/c/ANY/any/e": "entry {{ x }}"}
    try:
        text = process("o2/components/c/ANY/any/page", keys.get, _Evaluator(scope))
    except EcsError as error:
        assert str(error)
    else:
        assert isinstance(text, str)
        if "{" not in payload:
            assert text == payload


# --- anything

_WILD = [
    *("x d b f w other r0 true false 0 -1 30s 1m ::g w.r0:in tcp://h:1 ipc://x a.b() testplugin.Noop()".split()),
    *("before_START_ACTIVITY enter_RUNNING+5 other@1 o/workflows/x {{".split()),
    *("", '["a","b"]', "9" * 25, "é\u2028", "testplugin.Call(v, 'x')"),
]
_TAGS = [
    *("v", "nobody", "v + 1", "Parent().Path", "Up(3).Name", "This().Path", "uid.New()", "json.Unmarshal(v)"),
    *("runtime.Set('c', 'k', v)", "runtime.Get('c', 'k')", "config.Get('c/ANY/any/e')", "let y = v; y"),
    *("repeat('x', 1000)", "dpl.GenerateFromUriOrFallbackToTemplate('other')", "inventory.DetectorForHost('h')"),
]
_TEXTS = st.sampled_from([*_WILD, *(f"{{{{ {tag} }}}}" for tag in _TAGS)])
_SCALARS = st.one_of(_TEXTS, st.integers(-2, 5), st.none(), st.booleans(), st.floats(allow_nan=False))
_ANYTHING = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_TEXTS, inner, max_size=2), max_leaves=4
)
_KEYS_ASKED = [f"{{{{ runtime.Get('c', '{key}') }}}}" for key in ("k", "k2")]
_KEYS_ASKED += ["{{ config.Get(config.Resolve('c', 'PHYSICS', 'r', 'e')) }}", "{{ inventory.DetectorForHost('h') }}"]
_VARIABLES = st.dictionaries(
    st.sampled_from(["a", "b"]), st.sampled_from(["1", "{{ v }}", "{{ v + i0 }}", *_KEYS_ASKED]), max_size=2
)


@st.composite
def _sensible(draw: st.DrawFn, depth: int = 2, number: int = 0) -> dict[str, Any]:
    """Return a role that works."""
    role: dict[str, Any] = {"name": f"r{number}", "defaults": draw(_VARIABLES), "vars": draw(_VARIABLES)}
    kind = draw(st.sampled_from(["roles", "roles", "task", "task", "hook", "call", "include"] if depth else ["task"]))
    if draw(st.integers(0, 3)) == 0:
        role["name"] += "-{{ i0 }}"
        role["for"] = draw(
            st.sampled_from([{"begin": "1", "end": "2"}, {"range": '["a","b"]'}, {"begin": "{{ v }}", "end": "1"}])
        ) | {"var": "i0"}
    if draw(st.integers(0, 3)) == 0:
        role["enabled"] = draw(st.sampled_from(["{{ v == '1' }}", "false", True]))
    if draw(st.integers(0, 3)) == 0:
        role["constraints"] = [{"attribute": "machine_id", "value": draw(st.sampled_from(["h", "{{ This().Path }}"]))}]
    if kind == "roles":
        role["roles"] = [draw(_sensible(depth - 1, i)) for i in range(draw(st.integers(1, 3)))]
    elif kind == "task":
        role["task"] = {"load": draw(st.sampled_from("dbf")), "critical": draw(st.booleans())}
        role["bind"] = draw(st.sampled_from([[], [{"name": "o", "type": "push", "addressing": "ipc"}]]))
    elif kind == "hook":
        role["task"] = {"load": "b", "trigger": "before_CONFIGURE-5"}
    elif kind == "call":
        role["call"] = {"func": "testplugin.Noop()", "trigger": "enter_RUNNING", "return": "x"}
    else:
        role["include"] = "other"
    return role


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Return all (container, key) of a tree."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, value in items for place in [(node, key), *_places(value)]]


@st.composite
def _roots(draw: st.DrawFn, mutations: int = 0) -> dict[str, Any]:
    """Return a workflow that works, with some places of it changed into anything."""
    count = draw(st.integers(1, 3))
    root = {"vars": {"i0": "0"}, "roles": [draw(_sensible(2, i)) for i in range(count)]}
    for _ in range(draw(st.integers(0, mutations))):
        container, key = draw(st.sampled_from(_places(root)))
        if draw(st.booleans()) or isinstance(container, list):
            container[key] = draw(_ANYTHING)
        else:
            container[draw(st.sampled_from(_KEYS))] = draw(_ANYTHING)
    return root


_KEYS = [
    *("name enabled defaults vars constraints connect bind for start_after roles task call include min".split()),
    *("load trigger await timeout critical func return range begin end var attribute value type target global".split()),
]
_OTHER = {"workflows/other.yaml": "{name: other, roles: [{name: r0, task: {load: d}}]}"}
_WHOLE = Tree(
    {
        "o2/components/c/ANY/any/e": "{% if v == '1' %}d{% endif %}",
        "o2/runtime/c/k": "d",
        "o2/runtime/c/k2": "2",
        "o2/hardware/detectors/TPC/flps/h/x": "",
    }
)


def _checked(workflow: Workflow) -> None:
    """Check what holds for every workflow, and use it as the engine does."""
    assert len({role.path for role in workflow.roles}) == len(workflow.roles)
    endpoints = {}
    for index, role in enumerate(workflow.roles):
        assert role.parent < index
        assert (role.kind is RoleKind.TASK) == (role.task is not None)
        assert (role.kind is RoleKind.CALL) == (role.call is not None)
        if role.task is not None:
            assert role.task.class_name in workflow.classes
            endpoints.update(
                {(role.path, channel.name): Endpoint(bind="tcp://*:1", connect="tcp://h:1") for channel in role.bind}
            )
    launcher = Launcher(workflow)
    told = resolve_channels(workflow, endpoints)
    for index, role in enumerate(workflow.roles):
        specials = task_specials(role, task_id="7", host="h", environment_id="e")
        try:
            if role.task is not None:
                launcher.command(index, specials)
                launcher.properties(index, specials, {}, told.get(role.path, {}))
            if role.call is not None:
                launcher.call(index, "e")
        except EcsError as error:
            assert str(error)


@settings(max_examples=60)
@given(_roots(mutations=3))
def test_any_template_gives_a_workflow_or_an_ecs_error(root: dict[str, Any]) -> None:
    try:
        workflow = grown(root, _OTHER, tree=_WHOLE)
    except EcsError as error:
        assert str(error)
        return
    _checked(workflow)
    assert grown(root, _OTHER, tree=_WHOLE) == workflow


@settings(max_examples=40)
@given(_roots())
def test_a_partial_tree_leads_to_the_same_workflow_as_a_whole_one(root: dict[str, Any]) -> None:
    try:
        wanted = grown(root, _OTHER, tree=_WHOLE)
    except EcsError as error:
        assert "all are disabled" in str(error)
        return

    _checked(wanted)
    partial = Tree(complete=False)
    for _ in range(10):
        try:
            found = grown(root, _OTHER, tree=partial)
        except Missing as missing:
            known = {key: _WHOLE.leaves.get(key) for key in missing.keys if not key.endswith("/")}
            folders = [key for key in missing.keys if key.endswith("/")]
            known |= {key: text for key, text in _WHOLE.leaves.items() if key.startswith(tuple(folders))}
            partial = partial.with_known(known, folders)
        else:
            break
    assert found == wanted
